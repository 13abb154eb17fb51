// Python: the script, the module, or the application that a server program was told to load.
#include <algorithm>

#include "agent/process/command_name_rules.h"
#include "agent/process/path_name.h"

namespace zerotap::command_name {
namespace {

const std::initializer_list<std::string_view> kExtensions = {".py", ".pyc", ".pyw", ".pyz", ".pex"};

bool IsIdentifier(std::string_view text) {
  return !text.empty() && !(text.front() >= '0' && text.front() <= '9') &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '_' || c >= 0x80;
         });
}

bool IsModule(std::string_view text) {
  while (true) {
    size_t dot = text.find('.');
    if (!IsIdentifier(text.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

// "shop.main:app", "shop:create_app()".
bool IsModuleWithObject(std::string_view text) {
  size_t colon = text.find(':');
  if (colon == std::string_view::npos || !IsModule(text.substr(0, colon))) return false;
  std::string_view object = text.substr(colon + 1);
  return IsModule(object.substr(0, object.find('(')));
}

// The directory that a server program loads the application from.
std::string ApplicationRoot(const Command& command, Arguments rest) {
  std::string_view given = OptionValue(rest, {"--app-dir", "--chdir", "--pythonpath", "--workdir"});
  return AbsolutePath(command.facts.working_directory, given);
}

// gunicorn, uvicorn, hypercorn, daphne, granian, waitress: the application is module:object, or a
// bare module in the last place.
std::string NameOfServed(const Command& command, Arguments rest) {
  std::string directory = ApplicationRoot(command, rest);
  for (const std::string& argument : rest) {
    if (IsModuleWithObject(argument)) return NameFromModule(argument, directory);
  }
  for (size_t i = rest.size(); i-- > 0;) {
    bool is_value = i > 0 && !rest[i - 1].empty() && rest[i - 1].front() == '-' &&
                    rest[i - 1].find('=') == std::string::npos;
    if (!is_value && IsModule(rest[i])) return NameFromModule(rest[i], directory);
  }
  return ApplicationDirectory(directory);
}

// flask --app shop run: a module, or a path of a file, either with ":factory".
std::string NameOfFlask(const Command& command, Arguments rest) {
  std::string_view app = OptionValue(rest, {"--app", "-A"});
  if (app.empty()) app = command.facts.Environment("FLASK_APP");
  app = app.substr(0, app.find(':'));
  if (EndsWith(app, ".py") || app.find('/') != std::string_view::npos) {
    return NameFromScript(app, command.facts.working_directory, kExtensions);
  }
  if (IsModule(app)) return NameFromModule(app, command.facts.working_directory);
  return ApplicationDirectory(command.facts.working_directory);
}

std::string NameOfDjango(const Command& command, Arguments rest, std::string_view manage_script) {
  std::string_view settings = OptionValue(rest, {"--settings"});
  if (settings.empty()) settings = command.facts.Environment("DJANGO_SETTINGS_MODULE");
  std::string_view package = settings.substr(0, settings.find('.'));
  if (!package.empty() && package != "settings" && !IsGenericStem(package)) {
    return std::string(package);
  }
  std::string script = AbsolutePath(command.facts.working_directory, manage_script);
  return ApplicationDirectory(std::string(DirectoryName(script)));
}

std::string NameOfUwsgi(const Command& command, Arguments rest) {
  std::string_view module = OptionValue(rest, {"--module", "-w", "--wsgi"});
  if (module.empty()) module = command.facts.Environment("UWSGI_MODULE");
  if (!module.empty()) return NameFromModule(module, ApplicationRoot(command, rest));
  std::string_view file = OptionValue(rest, {"--wsgi-file", "--file", "--ini", "--yaml", "--json"});
  if (file.empty() && !rest.empty() && rest[0].front() != '-') file = rest[0];
  if (file.empty()) return {};
  file = file.substr(0, file.find(':'));
  std::string name = NameFromScript(file, command.facts.working_directory,
                                    {".py", ".ini", ".yaml", ".yml", ".json", ".xml"});
  if (name == "uwsgi") name = ApplicationDirectory(ApplicationRoot(command, rest));
  return name;
}

// What a well-known program, started as a script or with -m, runs. Empty: it is no such program.
CommandName NameOfLauncher(const Command& command, std::string_view launcher,
                           const std::string& script, Arguments rest) {
  if (IsOneOf(launcher, {"gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "waitress",
                         "waitress-serve", "gevent_websocket"})) {
    std::string_view name = launcher == "gunicorn" ? OptionValue(rest, {"-n", "--name"}) : "";
    if (!name.empty()) return {std::string(name), script, false};
    return {NameOfServed(command, rest), script, false};
  }
  if (launcher == "flask") return {NameOfFlask(command, rest), script, false};
  if (IsOneOf(launcher, {"manage", "django-admin", "django"})) {
    return {NameOfDjango(command, rest, launcher == "manage" ? std::string_view(script) : ""),
            script, false};
  }
  if (launcher == "celery") {
    std::string_view app = OptionValue(rest, {"-A", "--app"});
    if (!app.empty()) return {NameFromModule(app, command.facts.working_directory), script, false};
  }
  if (IsOneOf(launcher, {"streamlit", "fastapi", "chainlit", "bokeh", "sanic", "faust", "locust",
                         "debugpy", "pdb", "cProfile", "coverage", "pyinstrument", "scalene",
                         "kernprof", "ddtrace-run", "opentelemetry-instrument"})) {
    for (size_t i = 0; i < rest.size(); ++i) {
      if (rest[i] == "-m" && i + 1 < rest.size()) {
        return {NameFromModule(rest[i + 1], command.facts.working_directory), script, false};
      }
      if (EndsWith(rest[i], ".py")) {
        return {NameFromScript(rest[i], command.facts.working_directory, kExtensions), rest[i],
                false};
      }
    }
    if (launcher == "sanic") return {NameOfServed(command, rest), script, false};
    if (launcher == "fastapi")
      return {ApplicationDirectory(command.facts.working_directory), script, false};
  }
  return {};
}

// Titles: "gunicorn: worker [shop.wsgi:application]", "[celeryd: celery@host:MainProcess] -active-
// (-A shop worker)".
CommandName NameFromTitle(const Command& command) {
  std::string_view title = command.title;
  if (StartsWith(title, "gunicorn:")) {
    std::string_view application = Bracketed(title);
    if (IsModuleWithObject(application) ||
        (IsModule(application) && application.find('.') != std::string_view::npos)) {
      return {NameFromModule(application, command.facts.working_directory), "", false};
    }
    return {application.empty() ? "gunicorn" : std::string(application), "", false};
  }
  if (StartsWith(title, "[celery")) {
    size_t found = title.find("-A ");
    if (found == std::string_view::npos) return {"celery", "", false};
    std::string_view app = title.substr(found + 3);
    app = app.substr(0, app.find_first_of(" )"));
    return {NameFromModule(app, command.facts.working_directory), "", false};
  }
  return {};
}

bool IsHelper(Arguments arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--multiprocessing-fork" || StartsWith(argument, "from multiprocessing.")) {
      return true;
    }
  }
  return false;
}

CommandName NameOfModule(const Command& command, const std::string& module, Arguments rest) {
  std::string shown = "-m " + module;
  CommandName launched =
      NameOfLauncher(command, std::string_view(module).substr(0, module.find('.')), shown, rest);
  if (!launched.name.empty()) return launched;
  if (!StartsWith(module, "http.")) {
    return {NameFromModule(module, command.facts.working_directory), shown, false};
  }
  return {module, shown, false};  // http.server: "http" alone would say nothing
}

CommandName NameOfScript(const Command& command, const std::string& script, Arguments rest) {
  std::string_view stem = WithoutExtension(BaseName(script), kExtensions);
  CommandName launched = NameOfLauncher(command, stem, script, rest);
  if (!launched.name.empty()) return launched;
  std::string path = AbsolutePath(command.facts.working_directory, script);
  // python .../site-packages/uvicorn/__main__.py
  if (stem == "__main__") {
    std::string package(BaseName(DirectoryName(path)));
    launched = NameOfLauncher(command, package, script, rest);
    if (!launched.name.empty()) return launched;
  }
  return {NameFromScript(path, "/", kExtensions), script, false};
}

}  // namespace

CommandName NamePython(const Command& command) {
  if (!command.title.empty()) return NameFromTitle(command);
  Arguments arguments = command.arguments;
  if (IsHelper(arguments)) return {"python", "", true};
  std::string_view executable = BaseName(command.facts.executable);
  if (StartsWith(executable, "uwsgi")) return {NameOfUwsgi(command, arguments), "", false};
  // A program that embeds or freezes Python is called by its own name.
  if (RuntimeFromName(executable) != RuntimeKind::kPython) return {};

  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view option = arguments[i];
    if (option.size() < 2 || option.front() != '-') {
      if (option.empty() || option == "-") return {};
      return NameOfScript(command, arguments[i], arguments.subspan(i + 1));
    }
    if (option == "--check-hash-based-pycs") ++i;
    if (option[1] == '-') continue;
    // Single-letter options may be joined; c, m, W and X take the rest of the word or the next one.
    size_t taker = option.find_first_of("cmWXQ", 1);
    if (taker == std::string_view::npos) continue;
    bool attached = taker + 1 < option.size();
    if (option[taker] == 'c') return {};
    if (option[taker] == 'm') {
      if (!attached && i + 1 >= arguments.size()) return {};
      std::string module(attached ? option.substr(taker + 1) : std::string_view(arguments[i + 1]));
      return NameOfModule(command, module, arguments.subspan(attached ? i + 1 : i + 2));
    }
    if (!attached) ++i;
  }
  return {};
}

}  // namespace zerotap::command_name
