// Capture conformance: one static program that moves bytes through sockets in every way there is,
// lets the agent's own capture room watch, and judges each record against what was done. Runs in a
// network namespace of its own; needs root, /proc and /sys, and nothing else.
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/bpf/conformance/report.h"
#include "tests/bpf/conformance/row.h"
#include "tests/bpf/conformance/verifier_cost.h"

namespace zerotap::conformance {
namespace {

constexpr char kUsage[] =
    "usage: conformance [--tier a|b|auto] [--rings N] [--json FILE|-] [--only TEXT[,TEXT]...] [--list]\n"
    "Prints one line for each row: ok|blind|absent|FAIL, variant, family, detail.\n"
    "Exit status: 0 no FAIL, 1 some, 2 it could not be run, 3 it hung.\n";
// Guests are many times slower than any host.
constexpr unsigned kWatchdogSeconds = 540;
constexpr int kSettleRounds = 30;
constexpr int kCloseRounds = 500;
constexpr useconds_t kSettleUs = 10'000;

struct Arguments {
  CaptureTier tier = CaptureTier::kAuto;
  uint32_t rings = 0;  // by the number of CPUs
  std::string json;
  std::string only;
  bool list = false;
};

// What a tier is known not to see: bytes that leave a socket without a receive (tier A), io_uring
// (tier B). A row of these that is seen is a failure, like any other that is not.
struct BlindRow {
  CaptureTier tier;
  const char* variant;
  unsigned families;
};
constexpr BlindRow kBlindRows[] = {
    {CaptureTier::kA, "splice_in", kAll},
    {CaptureTier::kA, "zerocopy_receive", kTcp},
    {CaptureTier::kA, "zerocopy_receive_mapped", kTcp},
    {CaptureTier::kA, "compat_zerocopy_receive", kTcp},
    {CaptureTier::kB, "io_uring", kAll},
    {CaptureTier::kB, "io_uring_async", kAll},
    {CaptureTier::kB, "io_uring_waiting", kAll},
    {CaptureTier::kB, "io_uring_polled", kAll},
};

// Whether its name contains one of the texts that are asked for.
bool IsWanted(const Variant& variant, const std::string& only) {
  const std::string name = variant.name;
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = only.find(',', begin);
    if (name.find(only.substr(begin, end - begin)) != std::string::npos) return true;
  }
  return false;
}

bool IsBlind(CaptureTier tier, const Variant& variant, Family family) {
  for (const BlindRow& row : kBlindRows) {
    if (row.tier == tier && std::strcmp(row.variant, variant.name) == 0 &&
        (row.families & static_cast<unsigned>(family)) != 0)
      return true;
  }
  return false;
}

char current_row[64] = "the start";

void OnWatchdog(int) {
  constexpr char kText[] = "\nconformance: hung in ";
  // Only what a signal handler may call.
  (void)!::write(2, kText, sizeof(kText) - 1);
  (void)!::write(2, current_row, std::strlen(current_row));
  (void)!::write(2, "\n", 1);
  ::_exit(3);
}

void WriteFile(const char* path, const char* text) {
  UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  size_t size = std::strlen(text);
  if (!fd || ::write(fd.get(), text, size) != static_cast<ssize_t>(size))
    std::fprintf(stderr, "conformance: cannot write %s: %s\n", path, std::strerror(errno));
}

// Nothing of the host's traffic or settings gets in, and its settings are left alone.
void EnterOwnNetwork() {
  Must(::unshare(CLONE_NEWNET) == 0, "unshare(CLONE_NEWNET)");
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  Must(::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0, "bringing up lo");
  // Fast open on both sides, without cookies.
  WriteFile("/proc/sys/net/ipv4/tcp_fastopen", "519");
}

// Nothing may be invented.
size_t CountStrays(const Row& row, const Witness& witness) {
  size_t known = 0;
  for (const auto& link : row.links) {
    for (const End* end : {&link->client, &link->server}) {
      const SeenEnd* seen = link->seeded ? nullptr : witness.Find(*end);
      bool by_us = seen != nullptr && (IsTcp(link->family) ||
                                       seen->opened.tgid == static_cast<uint32_t>(::getpid()));
      known += by_us ? 1 : 0;
    }
  }
  size_t own = witness.CountOwn();
  return own > known ? own - known : 0;
}

// Records may still be behind one that another task has begun, and a close takes its time.
void Settle(Row& row, Witness& witness) {
  Findings found;
  for (int round = 0; round < kSettleRounds; ++round) {
    witness.Collect();
    found = row.findings;
    if (row.judge) {
      row.judge(found);
    } else {
      for (const auto& link : row.links) JudgeLink(*link, witness, found);
    }
    if (size_t strays = CountStrays(row, witness); strays != 0)
      found.Problem(std::to_string(strays) + " connections that are none of the row's");
    if (found.problems.empty()) break;
    ::usleep(kSettleUs);
  }
  row.findings = std::move(found);
  for (const auto& link : row.links) {
    link->client.fd.Reset();
    link->server.fd.Reset();
  }
  for (const auto& link : row.links) {
    if (!link->judge_close) continue;
    bool closed = false;
    for (int round = 0; round < kCloseRounds && !closed; ++round) {
      witness.Collect();
      Findings after;
      closed = JudgeClosed(*link, witness, after);
      if (closed) {
        for (std::string& problem : after.problems) row.findings.Problem(std::move(problem));
      } else {
        ::usleep(kSettleUs);
      }
    }
    if (!closed) row.findings.Problem("its close was not told of");
  }
}

// What was not seen must be in the agent's own books.
void JudgeUnseen(Row& row, Witness& witness, uint64_t before) {
  witness.SettleStreams();
  uint64_t counted = witness.unseen_bytes() - before;
  uint64_t right = 0;
  for (const auto& link : row.links) right += RightUnseenBytes(*link);
  if (row.count_unseen && counted != right)
    row.findings.Problem("the agent counted " + std::to_string(counted) + " unseen bytes, not " +
                         std::to_string(right));
}

RowResult RunRow(const Variant& variant, Family family, Witness& witness) {
  std::snprintf(current_row, sizeof(current_row), "%s %s", variant.name, Name(family));
  witness.Clear();
  Row row(family, witness, IsBlind(witness.tier(), variant, family));
  size_t malformed = witness.malformed().size();
  uint64_t unseen = witness.unseen_bytes();
  variant.run(row);
  RowResult result{variant.name, Name(family), "ok", ""};
  if (!row.absent.empty()) {
    result.result = "absent";
    result.detail = row.absent;
    return result;
  }
  Settle(row, witness);
  JudgeUnseen(row, witness, unseen);
  for (size_t i = malformed; i < witness.malformed().size(); ++i)
    row.findings.Problem(witness.malformed()[i]);
  if (row.blind && row.findings.unseen_bytes == 0)
    row.findings.Problem("expected to be blind, but nothing was unseen");
  if (!row.blind && row.findings.unseen_bytes != 0)
    row.findings.Problem("bytes passed unseen");
  if (!row.findings.problems.empty()) {
    result.result = "FAIL";
    result.detail = row.findings.Text();
    return result;
  }
  result.detail = std::to_string(row.findings.transfers) + " transfers, " +
                  std::to_string(row.findings.bytes) + " bytes";
  if (row.blind) {
    result.result = "blind";
    result.detail += ", " + std::to_string(row.findings.unseen_bytes) +
                     " bytes unseen and accounted for";
  }
  if (!row.remark.empty()) result.detail += ", " + row.remark;
  return result;
}

void ReadPrograms(const CaptureCounters& counters, Report& report) {
  std::vector<std::string> unknown;
  for (const ProgramStatistics& program : counters.programs) {
    report.programs.push_back(
        {program.name, program.verified_instructions, program.recursion_misses});
    if (program.verified_instructions == 0) unknown.push_back(program.name);
  }
  if (unknown.empty()) return;
  auto costs = ReadVerifierCosts(unknown);
  for (Program& program : report.programs) {
    if (program.instructions == 0) program.instructions = costs[program.name];
  }
}

// What must be so for the whole run.
void JudgeCounters(const CaptureCounters& counters, Report& report) {
  std::string problems;
  for (zt_counter counter :
       {ZT_COUNTER_RING_FULL, ZT_COUNTER_CONNECTION_MAP_FULL, ZT_COUNTER_UNKNOWN_CALL}) {
    if (counters.kernel[counter] != 0)
      problems += std::string(CounterName(counter)) + " is " +
                  std::to_string(counters.kernel[counter]) + "; ";
  }
  if (counters.malformed_records != 0) problems += "malformed records; ";
  if (counters.recursion_misses() != 0)
    problems += std::to_string(counters.recursion_misses()) + " recursion misses; ";
  for (const Program& program : report.programs) {
    if (program.instructions == 0) problems += "cost of " + program.name + " unknown; ";
  }
  report.Add({"counters", "all", problems.empty() ? "ok" : "FAIL",
              problems.empty() ? std::to_string(counters.kernel[ZT_COUNTER_DATA_EVENTS]) +
                                     " data records, none lost"
                               : problems});
}

std::vector<Variant> AllVariants() {
  std::vector<Variant> all;
  for (auto* source : {CallVariants, FlagVariants, KernelMoveVariants, OpeningVariants,
                       SharingVariants, ThreadVariants, CompatVariants}) {
    for (const Variant& variant : source()) all.push_back(variant);
  }
  return all;
}

bool Parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    std::string option = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (option == "--list") {
      arguments.list = true;
      continue;
    }
    if (value == nullptr) return false;
    ++i;
    if (option == "--json") {
      arguments.json = value;
    } else if (option == "--only") {
      arguments.only = value;
    } else if (option == "--rings" && std::atoi(value) > 0) {
      arguments.rings = static_cast<uint32_t>(std::atoi(value));
    } else if (option == "--tier" && std::strlen(value) == 1 && std::strchr("ab", *value)) {
      arguments.tier = *value == 'a' ? CaptureTier::kA : CaptureTier::kB;
    } else if (option != "--tier" || std::strcmp(value, "auto") != 0) {
      return false;
    }
  }
  return true;
}

void WriteJson(const Report& report, const std::string& to) {
  if (to.empty()) return;
  std::string json = report.Json();
  std::FILE* file = to == "-" ? stdout : std::fopen(to.c_str(), "w");
  if (file == nullptr || std::fwrite(json.data(), 1, json.size(), file) != json.size() ||
      (file == stdout ? std::fflush(file) : std::fclose(file)) != 0)
    Die("writing " + to);
}

int Run(const Arguments& arguments) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGALRM, OnWatchdog);
  ::alarm(kWatchdogSeconds);
  EnterOwnNetwork();
  MakeOldLinks();
  auto witness = Witness::Create(arguments.tier, arguments.rings);
  if (!witness) {
    std::fprintf(stderr, "conformance: %s\n", witness.error().message.c_str());
    return 2;
  }
  utsname name{};
  ::uname(&name);
  Report report;
  if (arguments.json == "-") report.out = stderr;
  report.kernel = name.release;
  report.tier = (*witness)->tier() == CaptureTier::kA ? "a" : "b";
  report.attach_form = (*witness)->capture().report().attach_form;
  std::fprintf(report.out, "kernel %s, tier %s, %s, %zu rings\n", report.kernel.c_str(),
               report.tier.c_str(), report.attach_form.c_str(), (*witness)->capture().report().rings);
  for (const Variant& variant : AllVariants()) {
    for (Family family : {Family::kTcp4, Family::kTcp6, Family::kUnix}) {
      if ((variant.families & static_cast<unsigned>(family)) == 0) continue;
      if (!IsWanted(variant, arguments.only)) continue;
      report.Add(RunRow(variant, family, **witness));
    }
  }
  CaptureCounters counters = (*witness)->capture().ReadCounters();
  ReadPrograms(counters, report);
  JudgeCounters(counters, report);
  report.PrintPrograms();
  std::fprintf(report.out, "%zu ok, %zu blind, %zu absent, %zu failed\n", report.Count("ok"),
               report.Count("blind"), report.Count("absent"), report.Count("FAIL"));
  WriteJson(report, arguments.json);
  return report.Count("FAIL") == 0 ? 0 : 1;
}

}  // namespace
}  // namespace zerotap::conformance

int main(int argc, char** argv) {
  using namespace zerotap::conformance;
  Arguments arguments;
  if (!Parse(argc, argv, arguments)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (arguments.list) {
    for (const Variant& variant : AllVariants()) std::puts(variant.name);
    return 0;
  }
  return Run(arguments);
}
