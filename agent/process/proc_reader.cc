#include "agent/process/proc_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "agent/process/bounded_file.h"
#include "agent/process/container_id.h"
#include "agent/process/utf8.h"

namespace zerotap {
namespace {

constexpr size_t kMaxStat = 4096;
constexpr size_t kMaxStatus = 8192;
constexpr size_t kMaxCgroup = 16 * 1024;
constexpr size_t kMaxPasswd = 256 * 1024;
constexpr size_t kMaxCommandLineRead = 128 * 1024;
constexpr size_t kMaxArgument = 512;
constexpr size_t kMaxArguments = 128;
constexpr size_t kMaxArgumentBytes = 4096;
constexpr size_t kMaxEnvironmentRead = 128 * 1024;
constexpr size_t kMaxVariable = 4096;
constexpr size_t kMaxEnvironmentKept = 16 * 1024;

constexpr std::array<std::string_view, 10> kWantedVariables{
    "HOSTNAME",     "KUBERNETES_SERVICE_HOST", "npm_package_name",
    "name",  // PM2 exports the application's name so
    "pm_id",        "DJANGO_SETTINGS_MODULE",  "FLASK_APP",        "SPRING_APPLICATION_NAME",
    "RELEASE_NAME",  // Elixir and Erlang releases
    "UWSGI_MODULE",
};

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// The next line without its newline; `text` is advanced past it.
std::string_view TakeLine(std::string_view& text) {
  size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

template <typename Number>
bool ParseNumber(std::string_view text, Number& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string_view TakeWord(std::string_view& text) {
  size_t start = std::min(text.find_first_not_of(" \t\n"), text.size());
  size_t end = std::min(text.find_first_of(" \t\n", start), text.size());
  std::string_view word = text.substr(start, end - start);
  text.remove_prefix(end);
  return word;
}

std::vector<std::string> KeepVariables(std::string_view bytes) {
  std::vector<std::string> kept;
  size_t total = 0;
  while (!bytes.empty()) {
    size_t end = std::min(bytes.find('\0'), bytes.size());
    std::string_view entry = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    size_t equals = entry.find('=');
    if (equals == std::string_view::npos || !IsWantedVariable(entry.substr(0, equals))) continue;
    // A value cut in the middle would be another value: rather none.
    if (entry.size() > kMaxVariable || total + entry.size() > kMaxEnvironmentKept) continue;
    total += entry.size();
    kept.push_back(ToUtf8(entry));
  }
  return kept;
}

// Field 3 of passwd(5) is the uid, field 1 the name.
std::string UserName(std::string_view passwd, std::string_view uid) {
  while (!passwd.empty()) {
    std::string_view line = TakeLine(passwd);
    size_t name_end = line.find(':');
    if (name_end == std::string_view::npos || name_end == 0) continue;
    size_t uid_start = line.find(':', name_end + 1);
    if (uid_start == std::string_view::npos) continue;
    size_t uid_end = std::min(line.find(':', uid_start + 1), line.size());
    if (line.substr(uid_start + 1, uid_end - uid_start - 1) == uid) {
      return ToUtf8(line.substr(0, name_end), 256);
    }
  }
  return {};
}

// A user namespace that numbers users as the host does, so that uids of /proc mean the same in the
// container.
bool MapsUidsToThemselves(int process) {
  std::optional<std::string> text = ReadFileAt(process, "uid_map", 256);
  if (!text) return false;
  std::string_view rest(*text);
  return TakeWord(rest) == "0" && TakeWord(rest) == "0" && TakeWord(rest) == "4294967295";
}

}  // namespace

bool IsWantedVariable(std::string_view name) {
  if (StartsWith(name, "OTEL_")) {
    constexpr std::string_view kHeaders = "_HEADERS";  // hold ingestion keys
    return name.size() < kHeaders.size() || name.substr(name.size() - kHeaders.size()) != kHeaders;
  }
  return std::find(kWantedVariables.begin(), kWantedVariables.end(), name) !=
         kWantedVariables.end();
}

std::string_view WithoutDeletedMark(std::string_view path) {
  constexpr std::string_view kMark = " (deleted)";
  if (path.size() > kMark.size() && path.substr(path.size() - kMark.size()) == kMark) {
    path.remove_suffix(kMark.size());
  }
  return path;
}

std::string ChooseCgroupPath(std::string_view cgroup_file) {
  std::string_view longest;
  while (!cgroup_file.empty()) {
    // hierarchy:controllers:path; the path may hold colons.
    std::string_view line = TakeLine(cgroup_file);
    size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view path = WithoutDeletedMark(line.substr(second + 1));
    bool unified = line.substr(0, first) == "0" && second == first + 1;
    if (unified && path.size() > 1) return ToUtf8(path);
    if (path.size() > longest.size()) longest = path;
  }
  return ToUtf8(longest);
}

std::vector<std::string> SplitArguments(std::string_view bytes) {
  std::vector<std::string> arguments;
  size_t total = 0;
  while (!bytes.empty() && arguments.size() < kMaxArguments && total < kMaxArgumentBytes) {
    size_t end = std::min(bytes.find('\0'), bytes.size());
    size_t limit = std::min(kMaxArgument, kMaxArgumentBytes - total);
    arguments.push_back(ToUtf8(bytes.substr(0, end), limit));
    total += arguments.back().size() + 1;
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  // Programs that rewrite their title leave the rest of the area as NULs.
  while (!arguments.empty() && arguments.back().empty()) arguments.pop_back();
  return arguments;
}

ProcReader::ProcReader(std::string root, uint64_t boot_unix_ns)
    : root_(std::move(root)), boot_unix_ns_(boot_unix_ns) {
  while (root_.size() > 1 && root_.back() == '/') root_.pop_back();
  if (root_ == "/") root_.clear();
  long ticks = sysconf(_SC_CLK_TCK);
  if (ticks > 0) tick_ns_ = 1'000'000'000u / static_cast<uint64_t>(ticks);
  if (boot_unix_ns_ != 0) return;
  // On many cores the line comes after megabytes of interrupt counts.
  std::string path = root_ + "/proc/stat";
  std::string text = ReadFileAt(AT_FDCWD, path.c_str(), 4 * 1024 * 1024).value_or("");
  size_t found = text.find("\nbtime ");
  uint64_t seconds = 0;
  if (found != std::string::npos) {
    std::string_view rest = std::string_view(text).substr(found + 7);
    if (ParseNumber(TakeLine(rest), seconds) && seconds < UINT64_MAX / 1'000'000'000u) {
      boot_unix_ns_ = seconds * 1'000'000'000u;
    }
  }
}

std::string ProcReader::PathOf(uint32_t pid, std::string_view name) const {
  std::string path = root_ + "/proc/" + std::to_string(pid);
  if (!name.empty()) path.append("/").append(name);
  return path;
}

UniqueFd ProcReader::OpenProcess(uint32_t pid) const {
  return UniqueFd(open(PathOf(pid, "").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// pid (comm) state ppid ... starttime; comm is any bytes, parentheses and newlines included, so it
// ends at the last ')'.
bool ProcReader::ParseStat(std::string_view text, ProcessFacts& facts) const {
  size_t open_mark = text.find('(');
  size_t close_mark = text.rfind(')');
  if (open_mark == std::string_view::npos || close_mark == std::string_view::npos ||
      close_mark < open_mark) {
    return false;
  }
  facts.comm = ToUtf8(text.substr(open_mark + 1, close_mark - open_mark - 1), 64);
  std::string_view rest = text.substr(close_mark + 1);
  TakeWord(rest);  // field 3, state
  std::string_view parent = TakeWord(rest);
  for (int field = 5; field < 22; ++field) TakeWord(rest);
  uint64_t ticks = 0;
  if (!ParseNumber(parent, facts.parent_pid) || !ParseNumber(TakeWord(rest), ticks)) return false;
  if (ticks > UINT64_MAX / 2 / tick_ns_) return false;
  facts.start_boot_ns = ticks * tick_ns_;
  if (boot_unix_ns_ != 0) facts.start_unix_ns = boot_unix_ns_ + facts.start_boot_ns;
  return true;
}

uint64_t ProcReader::ReadStartBootNs(uint32_t pid) const {
  std::optional<std::string> text = ReadFileAt(AT_FDCWD, PathOf(pid, "stat").c_str(), kMaxStat);
  ProcessFacts facts;
  if (!text || !ParseStat(*text, facts)) return 0;
  return facts.start_boot_ns;
}

std::string ProcReader::HostUserName(uint32_t uid) {
  std::string path = root_ + "/etc/passwd";
  struct stat info{};
  if (stat(path.c_str(), &info) == 0 && (info.st_mtim.tv_sec != passwd_modified_.tv_sec ||
                                         info.st_mtim.tv_nsec != passwd_modified_.tv_nsec)) {
    passwd_modified_ = info.st_mtim;
    passwd_ = ReadFileAt(AT_FDCWD, path.c_str(), kMaxPasswd).value_or("");
  }
  return UserName(passwd_, std::to_string(uid));
}

void ProcReader::ReadOwner(int process, bool in_container, ProcessFacts& facts) {
  std::optional<std::string> status = ReadFileAt(process, "status", kMaxStatus);
  if (!status) return;
  size_t found = status->find("\nUid:");
  if (found == std::string::npos) return;
  std::string_view rest = std::string_view(*status).substr(found + 5);
  TakeWord(rest);  // real
  std::string_view effective = TakeWord(rest);
  uint32_t uid = 0;
  if (!ParseNumber(effective, uid)) return;
  if (!in_container) {
    facts.owner = HostUserName(uid);
  } else if (MapsUidsToThemselves(process)) {
    // The host's passwd would give a container's user the name of someone else.
    RootDirectory container(PathOf(facts.pid, "root"));
    std::optional<std::string> passwd = container.Read("/etc/passwd", kMaxPasswd);
    if (passwd) facts.owner = UserName(*passwd, effective);
  }
  if (facts.owner.empty()) facts.owner = effective;
}

std::optional<ProcessFacts> ProcReader::Read(uint32_t pid) {
  UniqueFd process = OpenProcess(pid);
  if (!process) return std::nullopt;
  std::optional<std::string> stat_text = ReadFileAt(process.get(), "stat", kMaxStat);
  ProcessFacts facts;
  facts.pid = pid;
  if (!stat_text || !ParseStat(*stat_text, facts)) return std::nullopt;
  if (auto link = ReadLinkAt(process.get(), "exe")) {
    facts.executable = ToUtf8(WithoutDeletedMark(*link));
  }
  if (auto text = ReadFileAt(process.get(), "cmdline", kMaxCommandLineRead)) {
    facts.arguments = SplitArguments(*text);
  }
  if (auto text = ReadFileAt(process.get(), "environ", kMaxEnvironmentRead)) {
    // At the bound the last variable may be cut: it goes.
    if (text->size() == kMaxEnvironmentRead) text->resize(text->rfind('\0') + 1);
    facts.environment = KeepVariables(*text);
  }
  if (auto link = ReadLinkAt(process.get(), "cwd")) {
    facts.working_directory = ToUtf8(WithoutDeletedMark(*link));
  }
  if (auto text = ReadFileAt(process.get(), "cgroup", kMaxCgroup)) {
    facts.cgroup_path = ChooseCgroupPath(*text);
  }
  ReadOwner(process.get(), !ContainerIdFromCgroup(facts.cgroup_path).empty(), facts);
  return facts;
}

}  // namespace zerotap
