#include "agent/process/resource_builder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <ctime>

#include "agent/base/hash.h"
#include "agent/process/bounded_file.h"
#include "agent/process/path_name.h"
#include "agent/process/utf8.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

std::string FirstLine(const std::string& path) {
  std::string text = ReadFileAt(AT_FDCWD, path.c_str(), 256).value_or("");
  text.resize(std::min(text.find_first_of(" \t\r\n"), text.size()));
  return ToUtf8(text);
}

// host.arch has its own words for what uname says.
std::string HostArch(std::string_view machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (StartsWith(machine, "arm")) return "arm32";
  if (machine.size() == 4 && machine.front() == 'i' && EndsWith(machine, "86")) return "x86";
  if (machine == "ppc64le") return "ppc64";
  return std::string(machine);
}

std::string_view RuntimeName(const ProcessFacts& facts, const BinaryFacts& binary) {
  switch (binary.runtime) {
    case RuntimeKind::kGo:
      return "go";
    case RuntimeKind::kNode:
      return "nodejs";
    case RuntimeKind::kDeno:
      return "deno";
    case RuntimeKind::kBun:
      return "bun";
    case RuntimeKind::kPython:
      return StartsWith(BaseName(facts.executable), "pypy") ? "pypy" : "cpython";
    case RuntimeKind::kRuby:
      return "ruby";
    case RuntimeKind::kPhp:
      return StartsWith(BaseName(facts.executable), "php-fpm") ? "fpm-fcgi" : "cli";
    case RuntimeKind::kDotnet:
      return ".NET";
    case RuntimeKind::kErlang:
      return "BEAM";
    // Java's name is a vendor's text that cannot be known from outside; the rest has no runtime.
    default:
      return {};
  }
}

bool IsVersion(std::string_view text) {
  return !text.empty() && text.front() >= '0' && text.front() <= '9' &&
         text.find_first_not_of("0123456789.") == std::string_view::npos && text.back() != '.';
}

// From the linker's record, or where the interpreter was installed: python3.11, php-fpm8.2,
// .../versions/node/v20.11.1/bin/node, ~/.pyenv/versions/3.11.7/bin/python3.11. The longer of both
// says more.
std::string RuntimeVersion(const ProcessFacts& facts, const BinaryFacts& binary) {
  if (binary.go) return binary.go->go_version;
  RuntimeKind named = RuntimeFromName(facts.executable);
  // A number in any other program's name is its own version.
  if (named != binary.runtime || named == RuntimeKind::kNative || named == RuntimeKind::kShell) {
    return {};
  }
  std::string_view path = facts.executable;
  std::string_view base = BaseName(path);
  std::string_view best = base.substr(std::min(base.find_first_of("0123456789"), base.size()));
  if (!IsVersion(best)) best = {};
  size_t versions = path.find("/versions/");
  if (versions != std::string_view::npos) {
    std::string_view rest = path.substr(versions + 10);
    for (int i = 0; i < 2 && !rest.empty(); ++i) {
      size_t end = std::min(rest.find('/'), rest.size());
      std::string_view element = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (StartsWith(element, "v")) element.remove_prefix(1);
      if (IsVersion(element) && element.size() > best.size()) best = element;
    }
  }
  return std::string(best);
}

// The program and the script, never what follows: arguments hold passwords and keys. Processes that
// wrote over their arguments are shown by their executable, since such titles hold users, databases
// and queries.
std::string CommandShown(const ProcessFacts& facts, std::string_view script) {
  std::string shown;
  bool titled = facts.arguments.size() == 1 && facts.arguments[0].find(' ') != std::string::npos;
  if (facts.arguments.empty() || titled || facts.arguments[0].empty()) {
    shown = facts.executable;
  } else {
    shown = facts.arguments[0];
  }
  if (!script.empty() && !shown.empty()) shown.append(" ").append(script);
  return shown;
}

// Attributes that say what zerotap itself saw or is: no environment variable changes them.
bool IsFixed(std::string_view key) {
  return key == semconv::kProcessPid || StartsWith(key, "telemetry.");
}

}  // namespace

HostFacts HostFacts::Read(const std::string& root) {
  std::string prefix = root == "/" ? "" : root;
  HostFacts host;
  host.name = FirstLine(prefix + "/proc/sys/kernel/hostname");
  if (host.name.empty()) host.name = FirstLine(prefix + "/etc/hostname");
  host.id = FirstLine(prefix + "/etc/machine-id");
  if (host.id.empty()) host.id = FirstLine(prefix + "/var/lib/dbus/machine-id");
  if (host.id == "uninitialized") host.id.clear();
  host.boot_id = FirstLine(prefix + "/proc/sys/kernel/random/boot_id");
  utsname system{};
  if (uname(&system) == 0) host.arch = HostArch(system.machine);
  return host;
}

std::string_view SdkLanguage(RuntimeKind kind) {
  switch (kind) {
    case RuntimeKind::kGo:
      return "go";
    case RuntimeKind::kRust:
      return "rust";
    case RuntimeKind::kNode:
    case RuntimeKind::kDeno:
    case RuntimeKind::kBun:
      return "nodejs";
    case RuntimeKind::kPython:
      return "python";
    case RuntimeKind::kJava:
      return "java";
    case RuntimeKind::kRuby:
      return "ruby";
    case RuntimeKind::kPhp:
      return "php";
    case RuntimeKind::kErlang:
      return "erlang";
    case RuntimeKind::kDotnet:
      return "dotnet";
    case RuntimeKind::kPerl:
    case RuntimeKind::kShell:
    case RuntimeKind::kNative:
      return "cpp";
  }
  return "cpp";
}

std::string FormatUtc(uint64_t unix_ns) {
  auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000u);
  std::tm utc{};
  if (gmtime_r(&seconds, &utc) == nullptr) return {};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     unix_ns / 1'000'000u % 1000);
}

ResourceBuilder::ResourceBuilder(HostFacts host, ResourceOptions options)
    : host_(std::move(host)), options_(std::move(options)) {}

// A UUID of version 8 (RFC 9562 section 5.8: contents are the application's): the same after a
// restart of zerotap, another for every other process, boot and host.
std::string ResourceBuilder::InstanceId(const ProcessFacts& facts) const {
  uint64_t seed = HashText(host_.boot_id, HashText(host_.id.empty() ? host_.name : host_.id));
  // The boot id makes ticks since the boot unique; without it the Unix time must.
  uint64_t start = host_.boot_id.empty() ? facts.start_unix_ns : facts.start_boot_ns;
  // Exec records have nanoseconds, /proc ticks of 10 ms: the same process must give the same id.
  start /= 10'000'000u;
  uint64_t high = CombineHash(CombineHash(seed, facts.pid), start);
  uint64_t low = CombineHash(high, facts.pid);
  high = (high & ~0xf000ull) | 0x8000ull;
  low = (low & ~(0xc000ull << 48)) | (0x8000ull << 48);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffffffffffffull);
}

ResourcePtr ResourceBuilder::Build(const ResourceInput& input) const {
  const ProcessFacts& facts = input.facts;
  auto resource = std::make_shared<Resource>();
  resource->service_name = input.service_name;
  resource->pid = facts.pid;
  AttributeSet& attributes = resource->attributes;

  auto extra = [&](std::string_view key) -> std::string_view {
    for (const auto& [name, value] : options_.extra_attributes) {
      if (name == key) return value;
    }
    return {};
  };
  auto add = [&](std::string_view key, std::string_view value) {
    std::string_view own = IsFixed(key) ? std::string_view() : input.own_attributes.Find(key);
    if (!own.empty()) value = own;
    if (value.empty() && !IsFixed(key)) value = extra(key);
    if (!value.empty()) attributes.Add(key, value);
  };
  attributes.Add(semconv::kServiceName, input.service_name);
  add(semconv::kServiceNamespace, input.container.compose_project);
  add(semconv::kServiceVersion, "");
  add(semconv::kServiceInstanceId, InstanceId(facts));

  std::string_view environment = input.own_attributes.Find(semconv::kDeploymentEnvironmentName);
  if (environment.empty()) environment = input.own_attributes.Find(semconv::kDeploymentEnvironment);
  if (environment.empty()) environment = extra(semconv::kDeploymentEnvironmentName);
  if (environment.empty()) environment = extra(semconv::kDeploymentEnvironment);
  if (!environment.empty()) {
    attributes.Add(semconv::kDeploymentEnvironmentName, environment);
    if (options_.legacy_attributes) attributes.Add(semconv::kDeploymentEnvironment, environment);
  }
  add(semconv::kHostName, host_.name);
  add(semconv::kHostId, host_.id);
  add(semconv::kHostArch, host_.arch);
  add(semconv::kContainerId, input.container_id);
  add(semconv::kContainerName, input.container.name);

  attributes.Add(semconv::kProcessPid, static_cast<int64_t>(facts.pid));
  add(semconv::kProcessCreationTime,
      facts.start_unix_ns == 0 ? "" : FormatUtc(facts.start_unix_ns));
  add(semconv::kProcessExecutableName, BaseName(facts.executable));
  add(semconv::kProcessExecutablePath, facts.executable);
  add(semconv::kProcessCommand, CommandShown(facts, input.script));
  add(semconv::kProcessOwner, facts.owner);
  add(semconv::kProcessRuntimeName, RuntimeName(facts, input.binary));
  add(semconv::kProcessRuntimeVersion, RuntimeVersion(facts, input.binary));
  add(semconv::kSystemdUnit, input.systemd_unit);
  add(semconv::kOsType, "linux");
  attributes.Add(semconv::kTelemetrySdkName, "opentelemetry");
  attributes.Add(semconv::kTelemetrySdkLanguage, SdkLanguage(input.binary.runtime));
  attributes.Add(semconv::kTelemetrySdkVersion, options_.version);
  attributes.Add(semconv::kTelemetryDistroName, "zerotap");
  attributes.Add(semconv::kTelemetryDistroVersion, options_.version);

  for (const auto* source : {&input.own_attributes.entries(), &options_.extra_attributes}) {
    for (const auto& [key, value] : *source) {
      bool legacy_off = key == semconv::kDeploymentEnvironment && !options_.legacy_attributes;
      if (value.empty() || IsFixed(key) || legacy_off || attributes.Has(key)) continue;
      attributes.AddOwnedKey(key, value);
    }
  }
  return resource;
}

}  // namespace zerotap
