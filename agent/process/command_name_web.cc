// Ruby and PHP: the script, or the directory of the application that a server program serves.
#include "agent/process/command_name_rules.h"
#include "agent/process/path_name.h"

namespace zerotap::command_name {
namespace {

std::string OrWord(std::string name, std::string_view fallback) {
  return name.empty() ? std::string(fallback) : name;
}

// "puma 6.4.0 (tcp://0.0.0.0:3000) [shop]", "puma: cluster worker 0: 1234 [shop]", "sidekiq 7.1.0
// shop [0 of 5 busy]", "unicorn worker[0] -c config/unicorn.rb -D", "Passenger RubyApp:
// /var/www/shop (production)".
CommandName NameFromRubyTitle(const Command& command) {
  std::string_view title = command.title;
  std::string directory = ApplicationDirectory(command.facts.working_directory);
  if (StartsWith(title, "puma")) {
    return {OrWord(std::string(Bracketed(title)), directory.empty() ? "puma" : directory), "",
            false};
  }
  if (StartsWith(title, "sidekiq ")) {
    std::string_view rest = title.substr(8);
    rest.remove_prefix(std::min(rest.find(' '), rest.size()));
    rest = rest.substr(0, rest.find('['));
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    while (!rest.empty() && rest.back() == ' ') rest.remove_suffix(1);
    return {OrWord(std::string(rest), directory.empty() ? "sidekiq" : directory), "", false};
  }
  if (StartsWith(title, "Passenger RubyApp: ")) {
    std::string_view path = title.substr(19);
    path = path.substr(0, path.find(" ("));
    return {OrWord(ApplicationDirectory(path), "passenger"), "", false};
  }
  std::string_view first = title.substr(0, title.find_first_of(" :["));
  if (IsOneOf(first, {"unicorn", "unicorn_rails", "rails", "resque", "resque-2", "thin", "falcon",
                      "pitchfork", "rackup", "spring"})) {
    return {OrWord(directory, first), "", false};
  }
  return {};
}

// "php-fpm: pool shop", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)". www is the pool
// of the default configuration.
CommandName NameFromPhpTitle(std::string_view title) {
  constexpr std::string_view kPool = ": pool ";
  size_t found = title.find(kPool);
  if (!StartsWith(title, "php-fpm") || found == std::string_view::npos) return {};
  std::string_view pool = title.substr(found + kPool.size());
  pool = pool.substr(0, pool.find(' '));
  if (pool.empty() || pool == "www") return {};
  return {std::string(pool), "", false};
}

}  // namespace

CommandName NameRuby(const Command& command) {
  if (!command.title.empty()) return NameFromRubyTitle(command);
  const std::string& directory = command.facts.working_directory;
  Arguments arguments = command.arguments;
  size_t index = FirstOperand(arguments, {"-I", "-r", "-C", "-E", "-X", "--encoding",
                                          "--external-encoding", "--internal-encoding"});
  for (size_t i = 0; i < index && i < arguments.size(); ++i) {
    if (arguments[i] == "-e") return {};
  }
  if (index >= arguments.size()) return {};
  const std::string& script = arguments[index];
  std::string_view stem = WithoutExtension(BaseName(script), {".rb", ".ru"});
  // Server programs and task runners: the application is the directory they were started in.
  if (IsOneOf(stem, {"puma", "pumactl", "rails", "sidekiq", "unicorn", "unicorn_rails", "rackup",
                     "thin", "resque", "falcon", "rake", "bundle", "pitchfork", "good_job",
                     "shoryuken", "config"})) {
    std::string_view given = OptionValue(arguments, {"--dir", "--chdir"});
    std::string name = ApplicationDirectory(AbsolutePath(directory, given));
    return {OrWord(name, stem), script, false};
  }
  return {NameFromScript(script, directory, {".rb"}), script, false};
}

CommandName NamePhp(const Command& command) {
  if (!command.title.empty()) return NameFromPhpTitle(command.title);
  const std::string& directory = command.facts.working_directory;
  std::string_view executable = BaseName(command.facts.executable);
  if (RuntimeFromName(executable) != RuntimeKind::kPhp || executable == "frankenphp") return {};
  Arguments arguments = command.arguments;
  size_t index = FirstOperand(arguments, {"-d", "-c", "-t", "-S", "-f", "-z", "--define",
                                          "--docroot", "--server", "--file", "-y", "-g", "-p"});
  for (size_t i = 0; i < index && i < arguments.size(); ++i) {
    if (IsOneOf(arguments[i], {"-r", "-R", "--run"})) return {};
  }
  std::string_view script = OptionValue(arguments, {"-f", "--file"});
  if (script.empty() && index < arguments.size()) script = arguments[index];
  if (StartsWith(executable, "php-fpm")) return {};
  if (script.empty()) {
    // php -S localhost:8000 -t public
    if (OptionValue(arguments, {"-S", "--server"}).empty()) return {};
    std::string_view root = OptionValue(arguments, {"-t", "--docroot"});
    return {ApplicationDirectory(AbsolutePath(directory, root)), "", false};
  }
  std::string shown(script);
  std::string path = AbsolutePath(directory, script);
  std::string_view stem = WithoutExtension(BaseName(path), {".php", ".phar"});
  // Laravel's and Symfony's entries, and PHP's router scripts, stand in the application's
  // directory.
  if (IsOneOf(stem, {"artisan", "console", "server", "router", "spark", "yii", "cake", "hyperf"})) {
    std::string name = ApplicationDirectory(DirectoryName(path));
    // vendor/laravel/framework/.../server.php is the router of "artisan serve".
    size_t vendor = path.find("/vendor/");
    if (vendor != std::string::npos) name = ApplicationDirectory(path.substr(0, vendor));
    return {OrWord(name, stem), shown, false};
  }
  return {NameFromScript(path, "/", {".php", ".phar"}), shown, false};
}

}  // namespace zerotap::command_name
