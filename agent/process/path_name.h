// What paths, scripts and modules say about the name of an application: words that could be
// anyone's ("main", "app", "src") give way to the next one that means something.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace zerotap {

inline bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}
inline bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

std::string_view BaseName(std::string_view path);
std::string_view DirectoryName(std::string_view path);  // "/" for "/x", "" for "x"
// `path` seen from `working_directory`, without "." and ".." elements.
std::string AbsolutePath(std::string_view working_directory, std::string_view path);
// `name` without the first of the extensions that it has.
std::string_view WithoutExtension(std::string_view name,
                                  std::initializer_list<std::string_view> extensions);

// A script, module, class or program name that says nothing: main, app, index ...
bool IsGenericStem(std::string_view stem);
// The nearest directory name at or above `directory` that says something, empty when there is none.
// /var/www/shop/current is shop, /srv/shop/releases/20240101 too.
std::string ApplicationDirectory(std::string_view directory);
// Of a script: its name without extension, or its application directory when that name is generic.
// Empty for /dev/fd/3, /dev/stdin and the like.
std::string NameFromScript(std::string_view path, std::string_view working_directory,
                           std::initializer_list<std::string_view> extensions);
// Of a dotted module ("shop.main:app"): the first part that says something, else the application
// directory.
std::string NameFromModule(std::string_view module, std::string_view working_directory);

}  // namespace zerotap
