#include "agent/process/process_table.h"

#include <algorithm>

#include "agent/process/path_name.h"
#include "agent/process/utf8.h"

namespace zerotap {
namespace {

constexpr int kMaxAncestors = 3;
constexpr uint32_t kKernelThreads = 2;  // the parent of all of them

std::string_view UntilNul(std::string_view text) { return text.substr(0, text.find('\0')); }

// The kernel's file name is that of a script when one was started by its "#!" line; the executable
// is then argv[0], which the kernel set to the interpreter of that line.
std::string ExecutableOf(std::string_view filename, const std::vector<std::string>& arguments) {
  bool is_script = false;
  for (size_t i = 1; i < arguments.size() && i < 3; ++i) {
    is_script = is_script || arguments[i] == filename;
  }
  return is_script ? arguments[0] : std::string(filename);
}

// /proc/self/exe, and the same by number or of the thread: whoever begins itself anew (busybox, runc).
bool IsOwnExecutable(std::string_view filename) {
  constexpr std::string_view kFolder = "/proc/", kLink = "/exe";
  if (filename.substr(0, kFolder.size()) != kFolder || filename.size() <= kLink.size()) return false;
  return filename.substr(filename.size() - kLink.size()) == kLink &&
         std::count(filename.begin(), filename.end(), '/') == 3;
}

}  // namespace

Result<ProcessTable::NameRules> ProcessTable::CompileNames(
    const std::vector<ServiceNameRule>& rules) {
  NameRules names;
  for (size_t i = 0; i < rules.size(); ++i) {
    const ServiceNameRule& rule = rules[i];
    std::string where = "service_names[" + std::to_string(i) + "]";
    if (rule.name.empty()) return Fail(where + ": name is empty");
    if (!rule.match.service.empty()) {
      return Fail(where + ": service cannot be asked for where the service gets its name");
    }
    auto matcher = ProcessMatcher::Create(rule.match, where);
    if (!matcher) return tl::unexpected<Error>(matcher.error());
    names.emplace_back(std::move(*matcher), rule.name);
  }
  return names;
}

Result<std::unique_ptr<ProcessTable>> ProcessTable::Create(const ProcessTableOptions& options) {
  auto selector = TargetSelector::Create(options.targets);
  if (!selector) return tl::unexpected<Error>(selector.error());
  Result<NameRules> names = CompileNames(options.service_names);
  if (!names) return tl::unexpected<Error>(names.error());
  return std::unique_ptr<ProcessTable>(
      new ProcessTable(options, std::move(*selector), std::move(*names)));
}

Status ProcessTable::Reconfigure(const ProcessTableOptions& options) {
  auto selector = TargetSelector::Create(options.targets);
  if (!selector) return tl::unexpected<Error>(selector.error());
  Result<NameRules> names = CompileNames(options.service_names);
  if (!names) return tl::unexpected<Error>(names.error());
  selector_ = std::move(*selector);
  service_names_ = std::move(*names);
  resources_ = ResourceBuilder(HostFacts(resources_.host()), options.resource);
  for (auto& [tgid, entry] : entries_) {
    if (entry.identity && entry.identity->resource) {
      entry.former_resource = std::move(entry.identity->resource);
    }
    entry.identity.reset();
  }
  return {};
}

ProcessTable::ProcessTable(const ProcessTableOptions& options, TargetSelector selector,
                           NameRules names)
    : reader_(options.root, options.boot_unix_ns),
      capacity_(std::max<size_t>(options.capacity, 1)),
      keep_exited_ns_(options.keep_exited_ns),
      cgroups_(reader_.root()),
      container_names_(reader_.root()),
      resources_(options.host ? *options.host : HostFacts::Read(options.root), options.resource),
      selector_(std::move(selector)),
      service_names_(std::move(names)),
      early_reads_per_second_(options.early_reads_per_second),
      early_reads_left_(options.early_reads_per_second) {}

ProcessTable::Entry& ProcessTable::Touch(uint32_t tgid) {
  auto known = entries_.find(tgid);
  if (known != entries_.end()) {
    order_.splice(order_.end(), order_, known->second.order);
    return known->second;
  }
  if (entries_.size() >= capacity_) {
    entries_.erase(order_.front());
    order_.pop_front();
    ++stats_.evicted;
  }
  order_.push_back(tgid);
  Entry& entry = entries_[tgid];
  entry.order = std::prev(order_.end());
  return entry;
}

void ProcessTable::Clear(Entry& entry) {
  auto order = entry.order;
  entry = Entry();
  entry.order = order;
}

bool ProcessTable::OnFork(uint32_t parent_tgid, uint32_t child_tgid, uint64_t now_ns) {
  Advance(now_ns);
  // First the parent's facts: Touch may evict it.
  std::shared_ptr<const ProcessFacts> inherited;
  auto parent = entries_.find(parent_tgid);
  if (parent != entries_.end() && parent_tgid != child_tgid) inherited = parent->second.facts;
  Entry& child = Touch(child_tgid);
  bool was_known = child.given_out;
  Clear(child);
  child.parent = parent_tgid;
  child.forked_ns = now_ns;
  child.facts = std::move(inherited);
  return was_known;
}

bool ProcessTable::OnExec(const ProcessExec& exec, uint64_t now_ns) {
  Advance(now_ns);
  auto facts = std::make_shared<ProcessFacts>();
  facts->pid = exec.tgid;
  facts->parent_pid = exec.parent_tgid;
  facts->comm = ToUtf8(UntilNul(exec.comm), 64);
  facts->arguments = SplitArguments(exec.arguments);
  facts->executable = ExecutableOf(ToUtf8(UntilNul(exec.filename)), facts->arguments);
  if (IsOwnExecutable(facts->executable)) {
    std::string before = ExecutableBefore(exec, now_ns);
    if (!before.empty()) facts->executable = std::move(before);
  }
  facts->cgroup_id = exec.cgroup_id;
  facts->start_boot_ns = exec.start_boot_ns;
  if (exec.start_boot_ns != 0 && reader_.boot_unix_ns() != 0) {
    facts->start_unix_ns = reader_.boot_unix_ns() + exec.start_boot_ns;
  }
  // Now, while the cgroup exists: a container that runs one short command is gone with it.
  facts->cgroup_path = cgroups_.Find(exec.cgroup_id);
  Entry& entry = Touch(exec.tgid);
  bool was_known = entry.given_out;
  Clear(entry);
  entry.parent = exec.parent_tgid;
  entry.start_boot_ns = exec.start_boot_ns;
  entry.executed_ns = now_ns;
  entry.facts = std::move(facts);
  if (!MayReadEarly(now_ns)) return was_known;
  std::optional<ProcessFacts> living = reader_.Read(exec.tgid);
  if (!living || living->executable.empty() ||
      !IsSameStart(living->start_boot_ns, exec.start_boot_ns)) {
    return was_known;
  }
  entry.identity = Identify(*living, exec.tgid);
  entry.facts = std::make_shared<const ProcessFacts>(std::move(*living));
  ++stats_.resolved_early;
  return was_known;
}

// What a process ran before this exec: its own or, since it is a fork, its parent's. Empty: unknown.
std::string ProcessTable::ExecutableBefore(const ProcessExec& exec, uint64_t now_ns) {
  for (uint32_t tgid : {exec.tgid, exec.parent_tgid}) {
    auto known = entries_.find(tgid);
    if (known == entries_.end() || known->second.exited_ns != 0) continue;
    if (known->second.facts != nullptr && !known->second.facts->executable.empty())
      return known->second.facts->executable;
  }
  if (!MayReadEarly(now_ns)) return "";
  std::optional<ProcessFacts> parent = reader_.Read(exec.parent_tgid);
  return parent ? parent->executable : "";
}

bool ProcessTable::MayReadEarly(uint64_t now_ns) {
  if (now_ns > early_reads_counted_ns_) {
    double seconds = static_cast<double>(now_ns - early_reads_counted_ns_) / 1e9;
    early_reads_left_ = std::min<double>(early_reads_per_second_,
                                         early_reads_left_ + seconds * early_reads_per_second_);
    early_reads_counted_ns_ = now_ns;
  }
  if (early_reads_left_ < 1) return false;
  early_reads_left_ -= 1;
  return true;
}

void ProcessTable::OnExit(uint32_t tgid, uint64_t now_ns) {
  Advance(now_ns);
  auto known = entries_.find(tgid);
  if (known == entries_.end() || known->second.exited_ns != 0) return;
  known->second.exited_ns = std::max<uint64_t>(now_ns, 1);
  exited_.emplace_back(tgid, known->second.exited_ns);
  // A storm of short processes: those that ended first are forgotten early.
  if (exited_.size() > capacity_) ForgetOldestExited();
}

void ProcessTable::ForgetOldestExited() {
  auto [tgid, time] = exited_.front();
  exited_.pop_front();
  auto known = entries_.find(tgid);
  // Otherwise the pid was given to another process since.
  if (known == entries_.end() || known->second.exited_ns != time) return;
  order_.erase(known->second.order);
  entries_.erase(known);
}

void ProcessTable::Advance(uint64_t now_ns) {
  while (!exited_.empty()) {
    uint64_t time = exited_.front().second;
    if (now_ns < time || now_ns - time < keep_exited_ns_) return;
    ForgetOldestExited();
  }
}

// Exec records have nanoseconds, /proc whole ticks.
bool ProcessTable::IsSameStart(uint64_t a, uint64_t b) const {
  return a == 0 || b == 0 || a / reader_.tick_ns() == b / reader_.tick_ns();
}

// Whether an identity that was given out before still holds.
bool ProcessTable::IsStillTheSame(uint32_t tgid, const Entry& entry) const {
  uint64_t start = reader_.ReadStartBootNs(tgid);
  if (start == 0) return true;  // gone: these are its late events
  if (entry.exited_ns != 0 && entry.start_boot_ns == 0) return true;
  return IsSameStart(start, entry.start_boot_ns);
}

// Their pid is that of the process that they were read from.
std::optional<ProcessFacts> ProcessTable::FactsOfGone(const Entry& entry, int depth) {
  if (entry.facts != nullptr) return *entry.facts;
  if (entry.parent == 0) return std::nullopt;
  // A fork of a process that was not asked for before, and that has not become another program since.
  auto parent = entries_.find(entry.parent);
  if (parent != entries_.end()) {
    const Entry& known = parent->second;
    if (known.forked_ns > entry.forked_ns || known.executed_ns > entry.forked_ns) {
      return std::nullopt;
    }
    if (known.facts != nullptr) return *known.facts;
    if (known.exited_ns != 0) {
      return depth < kMaxAncestors ? FactsOfGone(known, depth + 1) : std::nullopt;
    }
  }
  return reader_.Read(entry.parent);
}

std::optional<ProcessIdentity> ProcessTable::Resolve(uint32_t tgid, uint64_t now_ns) {
  Advance(now_ns);
  if (tgid == 0) return std::nullopt;
  auto known = entries_.find(tgid);
  if (known != entries_.end() && !IsStillTheSame(tgid, known->second)) {
    ++stats_.pids_reused;
    Clear(known->second);
  }
  if (known != entries_.end() && known->second.identity) {
    Entry& entry = Touch(tgid);
    entry.given_out = true;
    return entry.identity;
  }

  std::optional<ProcessFacts> facts = reader_.Read(tgid);
  uint32_t files_of = tgid;
  const bool ended = facts && facts->executable.empty() && facts->arguments.empty();
  if (facts && !ended) {
    ++stats_.resolved_live;
  } else {
    // Gone, or a zombie of which only the name and the times are left.
    std::optional<ProcessFacts> remembered;
    if (known != entries_.end()) remembered = FactsOfGone(known->second, 0);
    if (remembered) {
      if (remembered->pid != tgid) {
        // Files are looked up where the process that forked it has them, if that still lives.
        uint64_t start = reader_.ReadStartBootNs(remembered->pid);
        if (start != 0 && IsSameStart(start, remembered->start_boot_ns)) files_of = remembered->pid;
        remembered->pid = tgid;
        remembered->parent_pid = known->second.parent;
        remembered->start_boot_ns = known->second.start_boot_ns;
        remembered->start_unix_ns = 0;
      }
      if (facts) {
        remembered->start_boot_ns = facts->start_boot_ns;
        remembered->start_unix_ns = facts->start_unix_ns;
      }
      facts = std::move(remembered);
      ++stats_.resolved_gone;
    } else if (facts) {
      ++stats_.resolved_live;  // a kernel thread, or a zombie that nothing is known of
    } else {
      ++stats_.unresolved;
      if (selector_.IsTracedUnseen(tgid)) return std::nullopt;
      return ProcessIdentity{tgid, false, nullptr};
    }
  }

  ProcessIdentity identity = Identify(*facts, files_of);
  // What a zombie ran, no rule can be asked.
  const bool unseen = facts->executable.empty() && facts->arguments.empty() &&
                      facts->parent_pid != kKernelThreads;
  if (unseen && selector_.MayBeExcluded(tgid)) identity = ProcessIdentity{tgid, false, nullptr};
  Entry& entry = Touch(tgid);
  // Who is what it was before the rules changed keeps its object: metrics go by it.
  if (entry.former_resource && identity.resource &&
      entry.former_resource->attributes == identity.resource->attributes) {
    identity.resource = entry.former_resource;
  }
  if (identity.resource) entry.former_resource.reset();
  entry.given_out = true;
  entry.parent = facts->parent_pid;
  entry.start_boot_ns = facts->start_boot_ns;
  entry.facts = std::make_shared<const ProcessFacts>(std::move(*facts));
  entry.identity = identity;
  return identity;
}

CommandName ProcessTable::CommandOf(const ProcessFacts& facts, const BinaryFacts& binary,
                                    const RootDirectory& files, int depth) {
  CommandName command = NameFromCommand(facts, binary, files);
  if (!command.is_parents || depth >= kMaxAncestors || facts.parent_pid == 0) return command;
  std::optional<ProcessFacts> parent = reader_.Read(facts.parent_pid);
  // A parent of another kind is a shell or a supervisor that adopted the orphan.
  if (!parent || RuntimeFromName(parent->executable) != binary.runtime) return command;
  BinaryFacts parent_binary =
      binaries_.Inspect(parent->executable, reader_.PathOf(parent->pid, "exe"));
  RootDirectory parent_files(reader_.PathOf(parent->pid, "root"));
  return CommandOf(*parent, parent_binary, parent_files, depth + 1);
}

ProcessDescription ProcessTable::DescribeFacts(const ProcessFacts& facts, uint32_t files_of) {
  ProcessDescription result;
  result.binary = binaries_.Inspect(facts.executable, reader_.PathOf(files_of, "exe"));
  const BinaryFacts& binary = result.binary;
  RootDirectory files(reader_.PathOf(files_of, "root"));
  ResourceAttributes own = ResourceAttributes::Parse(facts.Environment("OTEL_RESOURCE_ATTRIBUTES"));
  std::string container_id = ContainerIdFromCgroup(facts.cgroup_path);
  std::string unit = SystemdUnitFromCgroup(facts.cgroup_path);
  ContainerName container = container_names_.Find(container_id);
  std::string workload = WorkloadFromPodName(facts, resources_.host().name);
  CommandName command = CommandOf(facts, binary, files, 0);

  ProcessSubject subject{facts, "", container_id, container.name, unit};
  std::string_view configured;
  for (const auto& rule : service_names_) {
    if (!rule.first.Matches(subject)) continue;
    configured = rule.second;
    break;
  }
  result.service =
      DeriveServiceName({facts, own, configured, container_id, unit, container, workload, command});
  subject.service_name = result.service.name;
  result.left_out_by = selector_.WhyLeftOut(subject);
  if (result.left_out_by.empty()) {
    result.resource = resources_.Build(
        {facts, binary, own, result.service.name, command.script, container_id, container, unit});
  }
  result.container = container.name.empty() ? container_id : container.name;
  result.systemd_unit = std::move(unit);
  return result;
}

ProcessIdentity ProcessTable::Identify(const ProcessFacts& facts, uint32_t files_of) {
  ProcessDescription description = DescribeFacts(facts, files_of);
  ProcessIdentity identity;
  identity.tgid = facts.pid;
  identity.traced = description.left_out_by.empty();
  identity.resource = std::move(description.resource);
  return identity;
}

std::optional<ProcessDescription> ProcessTable::Describe(uint32_t tgid) {
  std::optional<ProcessFacts> facts = reader_.Read(tgid);
  if (!facts) return std::nullopt;
  ProcessDescription description = DescribeFacts(*facts, tgid);
  description.facts = std::move(*facts);
  return description;
}

ProcessTableStats ProcessTable::stats() const {
  ProcessTableStats stats = stats_;
  stats.entries = entries_.size();
  return stats;
}

}  // namespace zerotap
