#include "agent/process/service_name.h"

#include <algorithm>
#include <array>

#include "agent/process/path_name.h"
#include "agent/process/utf8.h"

namespace zerotap {
namespace {

constexpr size_t kMaxName = 255;

// Units that start or hold processes which are services, sessions or jobs of their own.
constexpr std::array<std::string_view, 44> kHolders{
    "user",
    "docker",
    "containerd",
    "crio",
    "podman",
    "kubelet",
    "k3s",
    "k3s-agent",
    "rke2-server",
    "rke2-agent",
    "nomad",
    "cron",
    "crond",
    "anacron",
    "atd",
    "ssh",
    "sshd",
    "getty",
    "serial-getty",
    "console-getty",
    "container-getty",
    "login",
    "supervisor",
    "supervisord",
    "runit",
    "s6",
    "monit",
    "init",
    "rc-local",
    "cloud-init",
    "cloud-final",
    "cloud-config",
    "dbus",
    "xrdp",
    "gdm",
    "gdm3",
    "lightdm",
    "sddm",
    "display-manager",
    "gitlab-runsvdir",
    "gitlab-runner",
    "screen",
    "tmux",
    "snapd",
};

// Templates whose instance, not whose name, says what runs.
constexpr std::array<std::string_view, 19> kGenericTemplates{
    "node",
    "nodejs",
    "python",
    "python3",
    "java",
    "ruby",
    "php",
    "dotnet",
    "gunicorn",
    "uvicorn",
    "uwsgi",
    "puma",
    "unicorn",
    "celery",
    "docker-compose",
    "compose",
    "docker-container",
    "podman-compose",
    "container",
};

template <size_t size>
bool Contains(const std::array<std::string_view, size>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool IsHex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Made by systemd-run without a name: run-u42, run-r0123456789abcdef..., run-p12-i34.
bool IsTransient(std::string_view name) {
  if (!StartsWith(name, "run-") || name.size() < 6) return false;
  char kind = name[4];
  std::string_view rest = name.substr(5);
  return (kind == 'u' || kind == 'r' || kind == 'p') &&
         (IsHex(rest) || rest.find_first_not_of("0123456789-i") == std::string_view::npos);
}

// "postgresql-15" of the PostgreSQL project's own packages.
bool IsPostgresUnit(std::string_view name) {
  if (!StartsWith(name, "postgresql")) return false;
  std::string_view rest = name.substr(10);
  return rest.empty() || (rest.front() == '-' &&
                          rest.find_first_not_of("0123456789.", 1) == std::string_view::npos);
}

// A name must be one line of text and must not start or end in blanks.
std::string Clean(std::string_view text) {
  std::string name = ToUtf8(text, kMaxName);
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  size_t start = name.find_first_not_of(' ');
  if (start == std::string::npos) return {};
  return name.substr(start, name.find_last_not_of(' ') - start + 1);
}

std::string_view JavaProperty(const ProcessFacts& facts) {
  constexpr std::string_view kProperty = "-Dotel.service.name=";
  if (RuntimeFromName(facts.executable) != RuntimeKind::kJava) return {};
  for (const std::string& argument : facts.arguments) {
    if (argument == "-jar") break;
    if (StartsWith(argument, kProperty)) return std::string_view(argument).substr(kProperty.size());
  }
  return {};
}

// docker run without --name leaves the id, or nothing that the process could be called by.
bool IsContainerId(std::string_view name, std::string_view id) {
  return name.size() >= 12 && StartsWith(id, name);
}

}  // namespace

std::string ServiceFromUnit(std::string_view unit) {
  std::string_view name = WithoutExtension(unit, {".service"});
  if (name.size() == unit.size()) return {};
  std::string_view instance;
  size_t at = name.find('@');
  if (at != std::string_view::npos) {
    instance = name.substr(at + 1);
    name = name.substr(0, at);
  }
  if (name.empty() || Contains(kHolders, name) || IsTransient(name) ||
      StartsWith(name, "systemd-") || StartsWith(name, "pm2-") || name == "pm2" ||
      StartsWith(name, "actions.runner.") || StartsWith(name, "session-")) {
    return {};
  }
  if (Contains(kGenericTemplates, name) && !instance.empty()) return Clean(instance);
  if (IsPostgresUnit(name)) return "postgresql";
  return Clean(name);
}

ServiceName DeriveServiceName(const ServiceNameInput& input) {
  auto named = [](std::string_view text, NameSource source, ServiceName& result) {
    result.name = Clean(text);
    result.source = source;
    return !result.name.empty();
  };
  ServiceName result;
  if (named(input.facts.Environment("OTEL_SERVICE_NAME"), NameSource::kEnvironment, result) ||
      named(input.own_attributes.Find("service.name"), NameSource::kResourceAttributes, result) ||
      named(JavaProperty(input.facts), NameSource::kJavaProperty, result) ||
      named(input.configured, NameSource::kRule, result)) {
    return result;
  }
  if (named(ServiceFromUnit(input.systemd_unit), NameSource::kSystemdUnit, result)) return result;
  std::string_view container = input.container.name;
  if (IsContainerId(container, input.container_id)) container = {};
  if (!input.container_id.empty() &&
      (named(input.container.compose_service, NameSource::kContainer, result) ||
       named(input.workload, NameSource::kContainer, result) ||
       named(container, NameSource::kContainer, result))) {
    return result;
  }
  if (named(input.command.name, NameSource::kCommand, result)) return result;
  std::string executable = Clean(BaseName(input.facts.executable));
  if (executable.empty()) executable = Clean(input.facts.comm);
  result.name = executable.empty() ? "unknown_service" : "unknown_service:" + executable;
  if (result.name.size() > kMaxName) result.name = ToUtf8(result.name, kMaxName);
  result.source = NameSource::kUnknown;
  return result;
}

}  // namespace zerotap
