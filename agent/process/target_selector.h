// Which processes are traced: select and exclude rules over what a process is. (Ports are the
// pipeline's.)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/glob.h"
#include "agent/base/result.h"
#include "agent/process/process.h"

namespace zerotap {

// One rule. What is empty is not asked; all that is given must match. Globs know * (any text,
// slashes too) and ?.
struct ProcessRule {
  std::string executable;  // glob: over the whole path if it has a slash, else over the file name
  std::string command;     // regular expression (RE2), anywhere in the command line
  std::string command_contains;  // text in the command line
  uint32_t pid = 0;
  std::string service;  // glob over service.name
  std::string
      container;  // glob over the container's name, or the start (12 digits or more) of its id
  std::string systemd_unit;  // glob, with or without .service

  bool empty() const {
    return executable.empty() && command.empty() && command_contains.empty() && pid == 0 &&
           service.empty() && container.empty() && systemd_unit.empty();
  }
};

// A configured service name: of the rules that match, the first counts. Their `service` must be
// empty.
struct ServiceNameRule {
  ProcessRule match;
  std::string name;
};

// What rules look at.
struct ProcessSubject {
  const ProcessFacts& facts;
  std::string_view service_name;
  std::string_view container_id;
  std::string_view container_name;
  std::string_view systemd_unit;
};

// A compiled rule.
class ProcessMatcher {
 public:
  // Fails on a rule that asks nothing or whose expression is bad; `where` names the rule in the
  // message.
  static Result<ProcessMatcher> Create(const ProcessRule& rule, std::string_view where);
  ProcessMatcher(ProcessMatcher&&) noexcept;
  ProcessMatcher& operator=(ProcessMatcher&&) noexcept;
  ~ProcessMatcher();

  bool Matches(const ProcessSubject& subject) const;

  // For a process of which only the pid is known.
  bool MayMatch(uint32_t pid) const;       // nothing shows that it does not
  bool MatchesByPid(uint32_t pid) const;   // nothing but the pid is asked, and it is this one

 private:
  struct State;
  explicit ProcessMatcher(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct TargetOptions {
  std::vector<ProcessRule> select;   // when not empty: only processes that match one of these
  std::vector<ProcessRule> exclude;  // wins over select
  uint32_t own_pid = 0;              // zerotap itself, never traced
};

class TargetSelector {
 public:
  static Result<TargetSelector> Create(const TargetOptions& options);

  bool IsTraced(const ProcessSubject& subject) const { return WhyLeftOut(subject).empty(); }
  // The rule that leaves the process out, by its key ("targets.exclude[0]"); empty: it is traced.
  std::string WhyLeftOut(const ProcessSubject& subject) const;

  // For a process that was gone before anything was learned of it but its pid. Rules that cannot be
  // asked decide against it: who chose what is traced does not want what he may not have chosen.
  bool IsTracedUnseen(uint32_t pid) const;
  bool MayBeExcluded(uint32_t pid) const;

 private:
  TargetSelector() = default;

  std::vector<ProcessMatcher> select_;
  std::vector<ProcessMatcher> exclude_;
  uint32_t own_pid_ = 0;
};

}  // namespace zerotap
