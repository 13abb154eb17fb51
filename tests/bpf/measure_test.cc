// What is counted by process: durations of system calls of a child whose calls are known to the last.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "agent/capture/syscall_table.h"
#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

// By name and error.
using Calls = std::map<std::pair<std::string, std::string>, MeasureDelta>;

uint64_t Sum(const MeasureDelta& delta) {
  return std::accumulate(delta.counts.begin(), delta.counts.end(), uint64_t{0});
}

class SyscallTest : public ::testing::Test {
 protected:
  void Start(std::vector<std::string> names) {
    std::string reason;
    if (!CaptureFixture::Create(CaptureTier::kAuto, &reason)) GTEST_SKIP() << reason;
    CaptureOptions options = CaptureFixture::OwnProcessSeen();
    options.syscalls.enabled = true;
    options.syscalls.names = std::move(names);
    fixture_ = CaptureFixture::Create(CaptureTier::kAuto, &reason, options);
    ASSERT_TRUE(fixture_) << reason;
  }
  // Runs `body` in a process of its own, to its end.
  pid_t InChild(const std::function<void()>& body) {
    pid_t child = ::fork();
    if (child == 0) {
      body();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    return child;
  }
  Calls CallsOf(pid_t process) {
    std::vector<MeasureDelta> deltas;
    fixture_->capture().TakeMeasures(deltas);
    Calls calls;
    for (const MeasureDelta& delta : deltas) {
      if (delta.key.tgid != static_cast<uint32_t>(process)) continue;
      std::string error = delta.key.error != 0 ? ErrnoName(delta.key.error) : "";
      EXPECT_TRUE(calls.emplace(std::pair(SyscallName(delta.key.what), error), delta).second);
    }
    return calls;
  }
  std::unique_ptr<CaptureFixture> fixture_;
};

TEST_F(SyscallTest, EveryCallCountsOnceUnderItsNameAndError) {
  Start({"read", "write", "openat", "clock_nanosleep"});
  pid_t child = InChild([] {
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) ::_exit(1);
    char byte = 'x';
    for (int i = 0; i < 1000; ++i) {
      if (::write(pipe_ends[1], &byte, 1) != 1 || ::read(pipe_ends[0], &byte, 1) != 1) ::_exit(1);
    }
    for (int i = 0; i < 7; ++i) (void)!::read(-1, &byte, 1);
    for (int i = 0; i < 5; ++i) ::openat(AT_FDCWD, "/nowhere/at/all", O_RDONLY);
    for (int i = 0; i < 100; ++i) ::lseek(0, 0, SEEK_CUR);  // not asked for
    const timespec delay{0, 30'000'000};
    for (int i = 0; i < 3; ++i) ::clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, nullptr);
  });
  Calls calls = CallsOf(child);
  ASSERT_EQ(calls.size(), 5u);
  EXPECT_EQ(Sum(calls[std::pair("write", "")]), 1000u);
  EXPECT_EQ(Sum(calls[std::pair("read", "")]), 1000u);
  EXPECT_EQ(Sum(calls[std::pair("read", "EBADF")]), 7u);
  EXPECT_EQ(Sum(calls[std::pair("openat", "ENOENT")]), 5u);
  const MeasureDelta& sleeps = calls[std::pair("clock_nanosleep", "")];
  EXPECT_EQ(Sum(sleeps), 3u);
  EXPECT_GE(sleeps.sum_ns, 90'000'000u);
  EXPECT_LT(sleeps.sum_ns, 400'000'000u);
  // Nothing at or below 20 ms: bucket 13 is (10 ms, 20 ms].
  for (size_t i = 0; i <= 13; ++i) EXPECT_EQ(sleeps.counts[i], 0u) << i;
  // Read once, it is not there a second time.
  EXPECT_TRUE(CallsOf(child).empty());
}

TEST_F(SyscallTest, ACallThatBeganBeforeTheHooksIsNotMeasured) {
  int gate[2];
  ASSERT_EQ(::pipe(gate), 0);
  pid_t child = ::fork();
  if (child == 0) {
    ::close(gate[1]);
    pollfd one{gate[0], POLLIN, 0};
    ::poll(&one, 1, -1);
    ::poll(&one, 1, 0);
    ::_exit(0);
  }
  ::usleep(50'000);  // it is inside by then
  Start({"poll"});
  ::close(gate[0]);
  ::close(gate[1]);
  ::waitpid(child, nullptr, 0);
  Calls calls = CallsOf(child);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(Sum(calls.begin()->second), 1u) << "the second poll alone";
  EXPECT_LT(calls.begin()->second.sum_ns, 10'000'000u);
  EXPECT_GE(fixture_->capture().ReadCounters().kernel[ZT_COUNTER_SYSCALL_START_UNKNOWN], 1u);
}

TEST_F(SyscallTest, ACallThatASignalBreaksOffSaysSo) {
  Start({"clock_nanosleep"});
  pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGUSR1, [](int) {});
    const timespec delay{10, 0};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, nullptr);
    ::_exit(0);
  }
  ::usleep(100'000);
  ::kill(child, SIGUSR1);
  ::waitpid(child, nullptr, 0);
  Calls calls = CallsOf(child);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls.begin()->first.second.rfind("ERESTART", 0), 0u) << calls.begin()->first.second;
  EXPECT_GT(calls.begin()->second.sum_ns, 50'000'000u);
  EXPECT_LT(calls.begin()->second.sum_ns, 5'000'000'000u);
}

TEST_F(SyscallTest, AProcessThatIsLeftOutIsNotMeasured) {
  Start({"sched_yield"});
  int gate[2];
  ASSERT_EQ(::pipe(gate), 0);
  pid_t child = ::fork();
  if (child == 0) {
    char byte;
    ::close(gate[1]);
    (void)!::read(gate[0], &byte, 1);
    for (int i = 0; i < 50; ++i) ::syscall(SYS_sched_yield);
    ::_exit(0);
  }
  fixture_->capture().SetProcessPolicy(static_cast<uint32_t>(child), ZT_PROCESS_IGNORE);
  ::close(gate[0]);
  ::close(gate[1]);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(CallsOf(child).empty());
}

TEST_F(SyscallTest, ProcessesBeyondTheCapAreCountedAndThoseThatEndedMakeRoom) {
  std::string reason;
  CaptureOptions options = CaptureFixture::OwnProcessSeen();
  options.syscalls = {true, {"sched_yield"}, 8};
  fixture_ = CaptureFixture::Create(CaptureTier::kAuto, &reason, options);
  if (!fixture_) GTEST_SKIP() << reason;
  const auto yield_once = [] { ::syscall(SYS_sched_yield); };
  std::vector<pid_t> children;
  for (int i = 0; i < 20; ++i) children.push_back(InChild(yield_once));
  const uint64_t full = fixture_->capture().ReadCounters().kernel[ZT_COUNTER_MEASURES_FULL];
  EXPECT_GE(full, 12u);
  size_t seen = 0;
  for (pid_t child : children) fixture_->capture().ForgetMeasures(static_cast<uint32_t>(child));
  std::vector<MeasureDelta> deltas;
  fixture_->capture().TakeMeasures(deltas);
  for (const MeasureDelta& delta : deltas) seen += Sum(delta);
  EXPECT_GE(seen + full, 20u) << "every call is in a histogram or in the counter";
  EXPECT_EQ(Sum(CallsOf(InChild(yield_once)).begin()->second), 1u);
}

TEST(SyscallOffTest, OffNothingOfItIsLoaded) {
  std::string reason;
  auto fixture = CaptureFixture::Create(CaptureTier::kAuto, &reason);
  if (!fixture) GTEST_SKIP() << reason;
  for (const ProgramStatistics& program : fixture->capture().ReadCounters().programs) {
    EXPECT_EQ(program.name.rfind("syscall_", 0), std::string::npos) << program.name;
  }
  std::vector<MeasureDelta> deltas;
  fixture->capture().TakeMeasures(deltas);
  EXPECT_TRUE(deltas.empty());
}

}  // namespace
}  // namespace zerotap
