#include "agent/process/target_selector.h"

#include <re2/re2.h>

#include <algorithm>

#include "agent/process/path_name.h"

namespace zerotap {
namespace {

constexpr size_t kMinIdPrefix = 12;

std::string CommandLine(const ProcessFacts& facts) {
  std::string line;
  for (const std::string& argument : facts.arguments) {
    if (!line.empty()) line.push_back(' ');
    line.append(argument);
  }
  return line;
}

bool MatchesContainer(const std::string& pattern, const ProcessSubject& subject) {
  if (subject.container_id.empty()) return false;
  if (!subject.container_name.empty() && MatchesGlob(pattern, subject.container_name)) return true;
  if (pattern.size() >= kMinIdPrefix && StartsWith(subject.container_id, pattern)) return true;
  // "*" and the like select whatever runs in a container.
  return pattern.find_first_of("*?") != std::string::npos &&
         MatchesGlob(pattern, subject.container_id);
}

}  // namespace

struct ProcessMatcher::State {
  ProcessRule rule;
  std::unique_ptr<re2::RE2> command;
};

ProcessMatcher::ProcessMatcher(std::unique_ptr<State> state) : state_(std::move(state)) {}
ProcessMatcher::ProcessMatcher(ProcessMatcher&&) noexcept = default;
ProcessMatcher& ProcessMatcher::operator=(ProcessMatcher&&) noexcept = default;
ProcessMatcher::~ProcessMatcher() = default;

Result<ProcessMatcher> ProcessMatcher::Create(const ProcessRule& rule, std::string_view where) {
  if (rule.empty()) {
    return Fail(std::string(where) +
                ": the rule asks nothing; give one of executable, command, command_contains, pid, "
                "service, container, systemd_unit");
  }
  auto state = std::make_unique<State>();
  state->rule = rule;
  if (!rule.command.empty()) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    state->command = std::make_unique<re2::RE2>(rule.command, options);
    if (!state->command->ok()) {
      return Fail(std::string(where) + ": command \"" + rule.command +
                  "\" is no regular expression (RE2): " + state->command->error());
    }
  }
  return ProcessMatcher(std::move(state));
}

bool ProcessMatcher::Matches(const ProcessSubject& subject) const {
  const ProcessRule& rule = state_->rule;
  const ProcessFacts& facts = subject.facts;
  if (rule.pid != 0 && rule.pid != facts.pid) return false;
  if (!rule.executable.empty()) {
    bool whole = rule.executable.find('/') != std::string::npos;
    std::string_view path = facts.executable;
    if (!MatchesGlob(rule.executable, whole ? path : BaseName(path))) return false;
  }
  if (!rule.service.empty() && !MatchesGlob(rule.service, subject.service_name)) return false;
  if (!rule.systemd_unit.empty() && !MatchesGlob(rule.systemd_unit, subject.systemd_unit) &&
      !MatchesGlob(rule.systemd_unit, WithoutExtension(subject.systemd_unit, {".service"}))) {
    return false;
  }
  if (!rule.container.empty() && !MatchesContainer(rule.container, subject)) return false;
  if (rule.command_contains.empty() && state_->command == nullptr) return true;
  std::string line = CommandLine(facts);
  if (line.find(rule.command_contains) == std::string::npos) return false;
  return state_->command == nullptr || re2::RE2::PartialMatch(line, *state_->command);
}

bool ProcessMatcher::MayMatch(uint32_t pid) const {
  return state_->rule.pid == 0 || state_->rule.pid == pid;
}

bool ProcessMatcher::MatchesByPid(uint32_t pid) const {
  ProcessRule others = state_->rule;
  others.pid = 0;
  return others.empty() && MayMatch(pid);
}

Result<TargetSelector> TargetSelector::Create(const TargetOptions& options) {
  TargetSelector selector;
  selector.own_pid_ = options.own_pid;
  auto compile = [](const std::vector<ProcessRule>& rules, const std::string& name,
                    std::vector<ProcessMatcher>& out) -> Status {
    for (size_t i = 0; i < rules.size(); ++i) {
      auto matcher = ProcessMatcher::Create(rules[i], name + "[" + std::to_string(i) + "]");
      if (!matcher) return tl::unexpected<Error>(matcher.error());
      out.push_back(std::move(*matcher));
    }
    return {};
  };
  Status status = compile(options.select, "select", selector.select_);
  if (status) status = compile(options.exclude, "exclude", selector.exclude_);
  if (!status) return tl::unexpected<Error>(status.error());
  return selector;
}

std::string TargetSelector::WhyLeftOut(const ProcessSubject& subject) const {
  if (own_pid_ != 0 && subject.facts.pid == own_pid_) return "zerotap itself";
  for (size_t i = 0; i < exclude_.size(); ++i) {
    if (exclude_[i].Matches(subject)) return "targets.exclude[" + std::to_string(i) + "]";
  }
  if (select_.empty()) return {};
  for (const ProcessMatcher& matcher : select_) {
    if (matcher.Matches(subject)) return {};
  }
  return "no rule of targets.select";
}

bool TargetSelector::MayBeExcluded(uint32_t pid) const {
  return std::any_of(exclude_.begin(), exclude_.end(),
                     [pid](const ProcessMatcher& matcher) { return matcher.MayMatch(pid); });
}

bool TargetSelector::IsTracedUnseen(uint32_t pid) const {
  if (MayBeExcluded(pid)) return false;
  return select_.empty() ||
         std::any_of(select_.begin(), select_.end(),
                     [pid](const ProcessMatcher& matcher) { return matcher.MatchesByPid(pid); });
}

}  // namespace zerotap
