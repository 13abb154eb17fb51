#include "agent/process/path_name.h"

#include <algorithm>
#include <array>
#include <vector>

namespace zerotap {
namespace {

constexpr std::array<std::string_view, 22> kGenericStems{
    "main", "app",     "index",     "__main__",   "__init__", "wsgi",     "asgi", "application",
    "run",  "start",   "serve",     "manage",     "program",  "a.out",    "src",  "config",
    "core", "project", "bootstrap", "entrypoint", "default",  "launcher",
};

constexpr std::array<std::string_view, 54> kGenericDirectories{
    "app",      "apps",        "application",  "src",           "source",        "code",
    "bin",      "sbin",        "dist",         "build",         "out",           "output",
    "target",   "classes",     "release",      "releases",      "debug",         "current",
    "shared",   "public",      "public_html",  "html",          "www",           "htdocs",
    "home",     "root",        "usr",          "local",         "share",         "lib",
    "lib64",    "libs",        "opt",          "srv",           "var",           "tmp",
    "mnt",      "media",       "workspace",    "workdir",       "work",          "project",
    "projects", "site",        "cmd",          "config",        "publish",       "scripts",
    "main",     "quarkus-app", "node_modules", "site-packages", "dist-packages", "data",
};

template <size_t size>
bool Contains(const std::array<std::string_view, size>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool IsGenericDirectory(std::string_view name) {
  std::string lower = Lower(name);
  // Hidden, made by mktemp, a release's number or date, a .NET target framework.
  if (lower.empty() || lower.front() == '.' || StartsWith(lower, "tmp")) return true;
  if (lower.find_first_not_of("0123456789.-_") == std::string::npos) return true;
  if (StartsWith(lower, "net") && lower.size() > 3 && lower[3] >= '0' && lower[3] <= '9')
    return true;
  return Contains(kGenericDirectories, lower);
}

std::vector<std::string_view> Elements(std::string_view path) {
  std::vector<std::string_view> elements;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view element = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (element.empty() || element == ".") continue;
    if (element == "..") {
      if (!elements.empty()) elements.pop_back();
      continue;
    }
    elements.push_back(element);
  }
  return elements;
}

}  // namespace

std::string_view BaseName(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path.substr(path.rfind('/') + 1);
}

std::string_view DirectoryName(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {};
  return path.substr(0, std::max<size_t>(slash, 1));
}

std::string AbsolutePath(std::string_view working_directory, std::string_view path) {
  std::string joined;
  if (path.empty() || path.front() != '/') joined.append(working_directory).append("/");
  joined.append(path);
  std::string absolute;
  for (std::string_view element : Elements(joined)) absolute.append("/").append(element);
  return absolute.empty() ? "/" : absolute;
}

std::string_view WithoutExtension(std::string_view name,
                                  std::initializer_list<std::string_view> extensions) {
  for (std::string_view extension : extensions) {
    if (name.size() > extension.size() && EndsWith(name, extension)) {
      return name.substr(0, name.size() - extension.size());
    }
  }
  return name;
}

bool IsGenericStem(std::string_view stem) { return Contains(kGenericStems, Lower(stem)); }

std::string ApplicationDirectory(std::string_view directory) {
  std::vector<std::string_view> elements = Elements(directory);
  for (size_t i = elements.size(); i-- > 0;) {
    // Someone's home directory says who, not what.
    if (i == 1 && elements[0] == "home") return {};
    if (!IsGenericDirectory(elements[i])) return std::string(elements[i]);
  }
  return {};
}

std::string NameFromScript(std::string_view path, std::string_view working_directory,
                           std::initializer_list<std::string_view> extensions) {
  // A script that came through a pipe or a descriptor has no name.
  if (StartsWith(path, "/dev/") || StartsWith(path, "/proc/")) return {};
  std::string_view stem = WithoutExtension(BaseName(path), extensions);
  if (!IsGenericStem(stem)) return std::string(stem);
  std::string absolute = AbsolutePath(working_directory, path);
  std::string directory = ApplicationDirectory(DirectoryName(absolute));
  return directory.empty() ? std::string(stem) : directory;
}

std::string NameFromModule(std::string_view module, std::string_view working_directory) {
  module = module.substr(0, module.find(':'));
  std::string_view first = module.substr(0, module.find('.'));
  for (std::string_view rest = module; !rest.empty();) {
    size_t end = std::min(rest.find('.'), rest.size());
    std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!part.empty() && !IsGenericStem(part)) return std::string(part);
  }
  std::string directory = ApplicationDirectory(working_directory);
  return directory.empty() ? std::string(first) : directory;
}

}  // namespace zerotap
