// Node, Deno and Bun: the package of the script, else the script.
#include <nlohmann/json.hpp>

#include "agent/process/command_name_rules.h"
#include "agent/process/path_name.h"
#include "agent/process/utf8.h"

namespace zerotap::command_name {
namespace {

constexpr size_t kMaxManifest = 256 * 1024;
constexpr int kMaxParents = 6;
constexpr std::string_view kModules = "/node_modules/";

const std::initializer_list<std::string_view> kExtensions = {".js",  ".mjs", ".cjs", ".ts",
                                                             ".mts", ".cts", ".tsx", ".jsx"};

bool HasScriptExtension(std::string_view name) {
  return WithoutExtension(name, kExtensions).size() < name.size();
}

// "@acme/shop" -> "shop".
std::string_view WithoutScope(std::string_view package) {
  return package.substr(package.rfind('/') + 1);
}

// The "name" of a package manifest, empty when there is none.
std::string ManifestName(const RootDirectory& files, const std::string& path) {
  std::optional<std::string> text = files.Read(path, kMaxManifest);
  if (!text) return {};
  // Only the outermost object is kept: what lies deeper is dropped while parsing.
  auto keep_top = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth <= 1;
  };
  nlohmann::json manifest = nlohmann::json::parse(*text, keep_top, /*allow_exceptions=*/false);
  if (!manifest.is_object()) return {};
  auto name = manifest.find("name");
  if (name == manifest.end() || !name->is_string()) return {};
  return ToUtf8(WithoutScope(name->get_ref<const std::string&>()), 255);
}

// The package that `directory` belongs to.
std::string PackageName(const RootDirectory& files, std::string directory) {
  for (int i = 0; i < kMaxParents && !directory.empty(); ++i) {
    std::string prefix = directory == "/" ? "" : directory;
    for (const char* manifest : {"/package.json", "/deno.json"}) {
      std::string name = ManifestName(files, prefix + manifest);
      if (!name.empty()) return name;
    }
    if (directory == "/") break;
    directory = DirectoryName(directory);
  }
  return {};
}

// The package of the program that runs, or what stands for it.
std::string ProjectName(const Command& command, const std::string& directory) {
  std::string name = PackageName(command.files, directory);
  if (name.empty()) name = WithoutScope(command.facts.Environment("npm_package_name"));
  return name;
}

std::string NameOfScript(const Command& command, std::string_view script) {
  std::string path = AbsolutePath(command.facts.working_directory, script);
  std::string name = ProjectName(command, std::string(DirectoryName(path)));
  if (!name.empty()) return name;
  return NameFromScript(path, "/", kExtensions);
}

// A script inside node_modules is a tool: of the project around it, or one installed for the whole
// host.
CommandName NameOfTool(const Command& command, const std::string& path, Arguments rest) {
  std::string_view inner = std::string_view(path).substr(path.rfind(kModules) + kModules.size());
  if (StartsWith(inner, ".bin/")) inner.remove_prefix(5);
  size_t end = inner.find('/');
  if (StartsWith(inner, "@") && end != std::string_view::npos) end = inner.find('/', end + 1);
  std::string_view package = WithoutExtension(inner.substr(0, end), kExtensions);
  if (IsOneOf(package, {"ts-node", "ts-node-dev", "ts-node-esm", "tsx", "nodemon", "babel-node",
                        "@babel/node", "esno", "vite-node", "sucrase-node", "node-dev",
                        "pm2-runtime", "pm2"})) {
    for (const std::string& argument : rest) {
      if (argument.empty() || argument.front() == '-' || !HasScriptExtension(argument)) continue;
      return {NameOfScript(command, argument), argument, false};
    }
  }
  if (IsOneOf(package, {"npm", "npx", "yarn", "pnpm", "corepack", "pm2"})) {
    return {std::string(package), path, false};
  }
  std::string project = path.substr(0, path.find(kModules));
  std::string name = ManifestName(command.files, project + "/package.json");
  // A tool of the host that serves the directory it was started in: next, http-server ...
  bool framework =
      IsOneOf(package, {"next", "nuxt", "nuxi", "@nestjs/cli", "nest", "vite", "gatsby", "astro",
                        "remix-serve", "react-scripts", "@angular/cli", "ng", "strapi", "webpack",
                        "webpack-dev-server", "nodemon"});
  if (name.empty() && framework) {
    name = ProjectName(command, command.facts.working_directory);
    if (name.empty()) name = ApplicationDirectory(command.facts.working_directory);
  }
  if (name.empty()) name = WithoutScope(package);
  return {name, path, false};
}

CommandName NameOfProgram(const Command& command, const std::string& script, Arguments rest) {
  std::string path = AbsolutePath(command.facts.working_directory, script);
  if (path.rfind(kModules) != std::string::npos) return NameOfTool(command, path, rest);
  std::string_view stem = BaseName(path);
  if (IsOneOf(stem, {"npm", "npx", "yarn", "pnpm", "yarn.js", "corepack"})) {
    return {std::string(WithoutExtension(stem, kExtensions)), script, false};
  }
  if (script == "." || script == "./" || script == "..") {
    std::string name = ProjectName(command, path);
    if (name.empty()) name = ApplicationDirectory(path);
    return {name, script, false};
  }
  return {NameOfScript(command, script), script, false};
}

// Titles that programs write over "node script.js": "next-server (v14.1.0)", "npm run dev", "node
// /srv/shop/app.js" (PM2), "nuxt", "PM2 v5.3.0: God Daemon (/home/app/.pm2)".
CommandName NameFromTitle(const Command& command) {
  std::string_view title = command.title;
  std::string_view first = title.substr(0, title.find(' '));
  if (StartsWith(title, "PM2 v")) return {"pm2", "", false};
  if (IsOneOf(first, {"npm", "npx", "yarn", "pnpm"})) return {std::string(first), "", false};
  if (IsOneOf(first, {"next-server", "next-router-worker", "next-render-worker-app",
                      "next-render-worker-pages", "nuxt", "gatsby"})) {
    std::string name = ProjectName(command, command.facts.working_directory);
    if (name.empty()) name = ApplicationDirectory(command.facts.working_directory);
    return {name.empty() ? std::string(first) : name, "", false};
  }
  if (RuntimeFromName(first) == RuntimeKind::kNode && first.size() < title.size()) {
    std::string script(title.substr(first.size() + 1));
    script = script.substr(0, script.find(' '));
    if (!script.empty() && script.front() != '-') return NameOfProgram(command, script, {});
  }
  return {};
}

}  // namespace

CommandName NameNode(const Command& command) {
  // PM2 runs programs under a name of their own; what they start inherits the variables, hence only
  // here.
  std::string_view managed = command.facts.Environment("name");
  if (!command.facts.Environment("pm_id").empty() && !managed.empty() && !IsGenericStem(managed)) {
    return {std::string(managed), "", false};
  }
  if (!command.title.empty()) return NameFromTitle(command);
  Arguments arguments = command.arguments;
  size_t index = FirstOperand(arguments, {"-r",
                                          "--require",
                                          "--import",
                                          "--loader",
                                          "--experimental-loader",
                                          "-C",
                                          "--conditions",
                                          "--env-file",
                                          "--env-file-if-exists",
                                          "--title",
                                          "--inspect-port",
                                          "--watch-path",
                                          "--icu-data-dir",
                                          "--diagnostic-dir",
                                          "--disable-warning",
                                          "--dns-result-order",
                                          "--input-type",
                                          "--stack-trace-limit",
                                          "--test-name-pattern",
                                          "--test-reporter"});
  for (size_t i = 0; i < index && i < arguments.size(); ++i) {
    std::string_view option = arguments[i];
    if (IsOneOf(option, {"-e", "--eval", "-p", "--print", "-pe", "-i", "--interactive"}) ||
        StartsWith(option, "--eval=") || StartsWith(option, "--print=")) {
      return {};
    }
    if (option == "--run" || StartsWith(option, "--run=")) {
      return {ProjectName(command, command.facts.working_directory), "", false};
    }
  }
  if (index < arguments.size() && arguments[index] == "inspect") ++index;
  if (index >= arguments.size()) return {};
  return NameOfProgram(command, arguments[index], arguments.subspan(index + 1));
}

CommandName NameDeno(const Command& command) {
  Arguments arguments = command.arguments;
  size_t index = FirstOperand(arguments, {});
  if (index >= arguments.size()) return {};
  if (arguments[index] == "task") {
    return {ProjectName(command, command.facts.working_directory), "", false};
  }
  if (!IsOneOf(arguments[index], {"run", "serve", "bench", "test"})) return {};
  arguments = arguments.subspan(index + 1);
  index = FirstOperand(arguments, {"-c", "--config", "--import-map", "--location", "--port",
                                   "--host", "-L", "--log-level", "--env-file"});
  if (index >= arguments.size()) return {};
  const std::string& script = arguments[index];
  // A module on the web: its path names it, its address may hold credentials.
  if (script.find("://") != std::string::npos || StartsWith(script, "jsr:") ||
      StartsWith(script, "npm:")) {
    std::string_view base =
        BaseName(std::string_view(script).substr(0, script.find_first_of("?#")));
    base = base.substr(0, base.find('@', 1));
    return {std::string(WithoutExtension(base, kExtensions)), std::string(base), false};
  }
  return {NameOfScript(command, script), script, false};
}

CommandName NameBun(const Command& command) {
  Arguments arguments = command.arguments;
  std::initializer_list<std::string_view> with_value = {
      "-r",         "--preload", "--require", "--cwd", "-c", "--config",
      "--env-file", "--port",    "--define",  "-d",    "-F", "--filter"};
  size_t index = FirstOperand(arguments, with_value);
  for (size_t i = 0; i < index && i < arguments.size(); ++i) {
    if (IsOneOf(arguments[i], {"-e", "--eval", "-p", "--print"})) return {};
  }
  if (index >= arguments.size()) return {};
  if (IsOneOf(arguments[index], {"run", "x", "start", "dev"})) {
    arguments = arguments.subspan(index + 1);
    index = FirstOperand(arguments, with_value);
    // "bun run start": a script of the package, not a file.
    if (index >= arguments.size() || (!HasScriptExtension(arguments[index]) &&
                                      arguments[index].find('/') == std::string::npos)) {
      std::string name = ProjectName(command, command.facts.working_directory);
      if (name.empty()) name = ApplicationDirectory(command.facts.working_directory);
      return {name, "", false};
    }
  }
  return NameOfProgram(command, arguments[index], arguments.subspan(index + 1));
}

}  // namespace zerotap::command_name
