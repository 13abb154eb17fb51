// What is counted by process: durations of system calls of a child whose calls are known to the
// last, and how its TCP connections do; and what threads wait for.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "agent/base/clock.h"
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
  EXPECT_GE(sleeps.sum, 90'000'000u);
  EXPECT_LT(sleeps.sum, 400'000'000u);
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
  EXPECT_LT(calls.begin()->second.sum, 10'000'000u);
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
  EXPECT_GT(calls.begin()->second.sum, 50'000'000u);
  EXPECT_LT(calls.begin()->second.sum, 5'000'000'000u);
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

// What is counted of the connections of a child, by what and error.
class TcpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (!CaptureFixture::Create(CaptureTier::kAuto, &reason)) GTEST_SKIP() << reason;
    CaptureOptions options = CaptureFixture::OwnProcessSeen();
    options.tcp.enabled = true;
    fixture_ = CaptureFixture::Create(CaptureTier::kAuto, &reason, options);
    ASSERT_TRUE(fixture_) << reason;
  }
  // The child says through a byte when it is where the test wants it, and goes on when told.
  struct Child {
    pid_t pid = 0;
    UniqueFd said, told;
    void Wait() const {
      char byte;
      ASSERT_EQ(::read(said.get(), &byte, 1), 1);
    }
    void End() const {
      char byte = 'x';
      ASSERT_EQ(::write(told.get(), &byte, 1), 1);
      int status = 0;
      ::waitpid(pid, &status, 0);
      EXPECT_EQ(status, 0);
    }
  };
  Child InChild(const std::function<void(const std::function<void()>& pause)>& body) {
    int said[2], told[2];
    EXPECT_EQ(::pipe(said), 0);
    EXPECT_EQ(::pipe(told), 0);
    pid_t pid = ::fork();
    if (pid == 0) {
      ::close(said[0]);
      ::close(told[1]);  // it ends with a test that fails
      body([&] {
        char byte = 'x';
        if (::write(said[1], &byte, 1) != 1 || ::read(told[0], &byte, 1) != 1) ::_exit(1);
      });
      ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    ::close(said[1]);
    ::close(told[0]);
    return {pid, UniqueFd(said[0]), UniqueFd(told[1])};
  }
  std::map<std::pair<int, std::string>, MeasureDelta> Take(pid_t process) {
    std::vector<MeasureDelta> deltas;
    fixture_->capture().TakeMeasures(deltas);
    std::map<std::pair<int, std::string>, MeasureDelta> found;
    for (const MeasureDelta& delta : deltas) {
      if (delta.key.tgid != static_cast<uint32_t>(process)) continue;
      found[{delta.key.what, delta.key.error != 0 ? ErrnoName(delta.key.error) : ""}] = delta;
    }
    return found;
  }
  std::unique_ptr<CaptureFixture> fixture_;
};

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

int ConnectTo(int fd, const sockaddr_in& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

TEST_F(TcpTest, ConnectsAreCountedByTheirOutcome) {
  Child child = InChild([](const std::function<void()>& pause) {
    UniqueFd taken(::socket(AF_INET, SOCK_STREAM, 0));  // bound, not listening: refuses
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    ::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&address), &size);
    for (int i = 0; i < 5; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
      EXPECT_EQ(ConnectTo(fd.get(), address), -1);
      EXPECT_EQ(errno, ECONNREFUSED);
    }
    for (int i = 0; i < 3; ++i) Connect(Transport::kTcp4);
    for (int i = 0; i < 2; ++i) Connect(Transport::kTcp6);
    pause();
  });
  child.Wait();
  auto found = Take(child.pid);
  EXPECT_EQ(Sum(found[std::pair(int{ZT_MEASURE_TCP_CONNECT}, "ECONNREFUSED")]), 5u);
  const MeasureDelta& good = found[std::pair(int{ZT_MEASURE_TCP_CONNECT}, "")];
  EXPECT_EQ(Sum(good), 5u);
  EXPECT_GT(good.sum, 0u);
  EXPECT_LT(good.sum, 1'000'000'000u);
  // Both ends of the five were closed by this process.
  const MeasureDelta& round_trips = found[std::pair(int{ZT_MEASURE_TCP_ROUND_TRIP}, "")];
  EXPECT_EQ(Sum(round_trips), 10u);
  EXPECT_EQ(found.size(), 3u) << "nothing was sent again, nothing is open";
  child.End();
}

// A listener whose queue is full answers no SYN: the kernel sends it again after a second.
TEST_F(TcpTest, AConnectThatIsGivenUpAndItsRetransmissions) {
  uint32_t expected = 0;
  int result[2];
  ASSERT_EQ(::pipe(result), 0);
  Child child = InChild([&](const std::function<void()>& pause) {
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener.get(), 0);
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    UniqueFd fills(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(ConnectTo(fills.get(), address), 0);
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    EXPECT_EQ(ConnectTo(fd.get(), address), -1);
    EXPECT_EQ(errno, EINPROGRESS);
    ::usleep(1'500'000);
    tcp_info info{};
    size = sizeof(info);
    ::getsockopt(fd.get(), IPPROTO_TCP, TCP_INFO, &info, &size);
    EXPECT_GE(info.tcpi_total_retrans, 1u);
    if (::write(result[1], &info.tcpi_total_retrans, 4) != 4) ::_exit(1);
    fd.Reset();
    pause();
  });
  child.Wait();
  ASSERT_EQ(::read(result[0], &expected, sizeof(expected)), 4);
  auto found = Take(child.pid);
  const MeasureDelta& canceled = found[std::pair(int{ZT_MEASURE_TCP_CONNECT}, "ECANCELED")];
  EXPECT_EQ(Sum(canceled), 1u);
  EXPECT_GT(canceled.sum, 1'400'000'000u);
  EXPECT_EQ(Sum(found[std::pair(int{ZT_MEASURE_TCP_CONNECT}, "")]), 1u);
  EXPECT_EQ(found[std::pair(int{ZT_MEASURE_TCP_RETRANSMITS}, "")].sum, expected);
  child.End();
  ::close(result[0]);
  ::close(result[1]);
}

TEST_F(TcpTest, ASurveyMeetsEachOpenConnectionOnce) {
  uint32_t expected[2];
  int result[2];
  ASSERT_EQ(::pipe(result), 0);
  Child child = InChild([&](const std::function<void()>& pause) {
    SocketPair first = Connect(Transport::kTcp4);
    SocketPair second = Connect(Transport::kTcp6);
    UniqueFd again(::dup(first.client.get()));
    char byte = 'x';
    EXPECT_EQ(::write(first.client.get(), &byte, 1), 1);
    EXPECT_EQ(::read(first.server.get(), &byte, 1), 1);
    ::usleep(100'000);  // for the acknowledgement
    uint32_t sum[2] = {0, 0};
    for (int fd :
         {first.client.get(), first.server.get(), second.client.get(), second.server.get()}) {
      tcp_info info{};
      socklen_t size = sizeof(info);
      ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
      sum[0] += info.tcpi_rtt;
      ++sum[1];
    }
    if (::write(result[1], sum, sizeof(sum)) != sizeof(sum)) ::_exit(1);
    pause();
  });
  child.Wait();
  ASSERT_EQ(::read(result[0], expected, sizeof(expected)), 8);
  Take(child.pid);
  ASSERT_TRUE(fixture_->capture().SurveySockets());
  auto found = Take(child.pid);
  EXPECT_EQ(found[std::pair(int{ZT_MEASURE_TCP_OPEN}, "")].sum, 4u);
  const MeasureDelta& round_trips = found[std::pair(int{ZT_MEASURE_TCP_ROUND_TRIP}, "")];
  EXPECT_EQ(Sum(round_trips), 4u);
  EXPECT_EQ(round_trips.sum, expected[0] * 1000u) << "as TCP_INFO says it";
  ASSERT_TRUE(fixture_->capture().SurveySockets());
  EXPECT_EQ(Take(child.pid)[std::pair(int{ZT_MEASURE_TCP_OPEN}, "")].sum, 4u);
  fixture_->capture().SetProcessPolicy(static_cast<uint32_t>(child.pid), ZT_PROCESS_IGNORE);
  ASSERT_TRUE(fixture_->capture().SurveySockets());
  EXPECT_TRUE(Take(child.pid).empty());
  child.End();
  ::close(result[0]);
  ::close(result[1]);
}

// As in bpf/tcp_health.bpf.c.
struct KernelTcpSocket {
  uint64_t inode, connect_ns;
  uint32_t tgid, retransmits, survey, reserved;
};

// Makes of what is known of a process's sockets what a former socket at the same address would have
// left behind if its end had been missed. Gives how many there were.
int LeaveStaleEntries(uint32_t tgid, uint32_t former) {
  int changed = 0;
  uint32_t id = 0;
  while (::bpf_map_get_next_id(id, &id) == 0) {
    UniqueFd map(::bpf_map_get_fd_by_id(id));
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (!map || ::bpf_obj_get_info_by_fd(map.get(), &info, &size) != 0 ||
        std::string(info.name) != "tcp_sockets")
      continue;
    EXPECT_EQ(info.value_size, sizeof(KernelTcpSocket));
    std::vector<uint64_t> keys;
    uint64_t key = 0;
    for (const uint64_t* last = nullptr; ::bpf_map_get_next_key(map.get(), last, &key) == 0;
         last = &key)
      keys.push_back(key);
    for (uint64_t each : keys) {
      KernelTcpSocket entry{};
      if (::bpf_map_lookup_elem(map.get(), &each, &entry) != 0 || entry.tgid != tgid) continue;
      EXPECT_NE(entry.inode, 0u);
      entry.inode += 1'000'000;
      entry.tgid = former;
      EXPECT_EQ(::bpf_map_update_elem(map.get(), &each, &entry, BPF_EXIST), 0);
      ++changed;
    }
  }
  return changed;
}

TEST_F(TcpTest, WhatAFormerSocketLeftBehindIsNotOfTheNextOne) {
  constexpr uint32_t kFormer = 0x3ffffffe;
  Child child = InChild([&](const std::function<void()>& pause) {
    SocketPair first = Connect(Transport::kTcp4);
    SocketPair second = Connect(Transport::kTcp6);
    pause();
  });
  child.Wait();
  ASSERT_TRUE(fixture_->capture().SurveySockets());
  Take(child.pid);
  // By the survey,
  ASSERT_EQ(LeaveStaleEntries(static_cast<uint32_t>(child.pid), kFormer), 4);
  ASSERT_TRUE(fixture_->capture().SurveySockets());
  std::vector<MeasureDelta> deltas;
  fixture_->capture().TakeMeasures(deltas);
  uint64_t open = 0;
  for (const MeasureDelta& delta : deltas) {
    EXPECT_NE(delta.key.tgid, kFormer);
    if (delta.key.tgid == static_cast<uint32_t>(child.pid) && delta.key.what == ZT_MEASURE_TCP_OPEN)
      open += delta.sum;
  }
  EXPECT_EQ(open, 4u);
  // and by the end of the next one.
  ASSERT_EQ(LeaveStaleEntries(static_cast<uint32_t>(child.pid), kFormer), 4);
  child.End();
  deltas.clear();
  fixture_->capture().TakeMeasures(deltas);
  uint64_t round_trips = 0;
  for (const MeasureDelta& delta : deltas) {
    EXPECT_NE(delta.key.tgid, kFormer);
    if (delta.key.tgid == static_cast<uint32_t>(child.pid) &&
        delta.key.what == ZT_MEASURE_TCP_ROUND_TRIP)
      round_trips += Sum(delta);
  }
  EXPECT_EQ(round_trips, 4u);
  EXPECT_EQ(LeaveStaleEntries(kFormer, kFormer), 0) << "nothing is left of it";
}

// Threads of this process wait for known times; what is not wanted is below a tenth of it.
class WaitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (!CaptureFixture::Create(CaptureTier::kAuto, &reason)) GTEST_SKIP() << reason;
    CaptureOptions options = CaptureFixture::OwnProcessSeen();
    options.waits = true;
    fixture_ = CaptureFixture::Create(CaptureTier::kAuto, &reason, options);
    ASSERT_TRUE(fixture_) << reason;
    ASSERT_TRUE(fixture_->capture().has_thread_waits());
  }
  // Runs `body` in a thread to its end; gives what is known of it then.
  std::optional<zt_thread_waits> InThread(const std::function<void()>& body) {
    uint32_t tid = 0;
    std::thread thread([&] {
      tid = static_cast<uint32_t>(::gettid());
      body();
    });
    thread.join();
    ::usleep(20'000);  // for the thread to be gone from the kernel too
    return fixture_->capture().ReadThreadWaits(tid);
  }
  void Expect(zt_wait_kind kind, uint64_t nanoseconds, const std::function<void()>& body) {
    std::optional<zt_thread_waits> waits = InThread(body);
    ASSERT_TRUE(waits);
    EXPECT_EQ(waits->tgid, static_cast<uint32_t>(::getpid()));
    EXPECT_EQ(waits->ended, 1u);
    for (uint32_t i = 0; i < ZT_WAIT_KINDS; ++i) {
      if (i == kind) {
        EXPECT_GE(waits->waits_ns[i], nanoseconds * 98 / 100) << i;
        EXPECT_LT(waits->waits_ns[i], nanoseconds * 3 / 2) << i;
      } else {
        EXPECT_LT(waits->waits_ns[i], nanoseconds / 10) << i;
      }
    }
  }
  std::unique_ptr<CaptureFixture> fixture_;
};

constexpr uint64_t kMillisecond = 1'000'000;

TEST_F(WaitTest, SleepsAddUp) {
  Expect(ZT_WAIT_SLEEP, 120 * kMillisecond, [] {
    for (int i = 0; i < 4; ++i) ::usleep(30'000);
  });
}

TEST_F(WaitTest, ALock) {
  std::timed_mutex mutex;
  mutex.lock();
  Expect(ZT_WAIT_FUTEX, 100 * kMillisecond,
         [&] { EXPECT_FALSE(mutex.try_lock_for(std::chrono::milliseconds(100))); });
  mutex.unlock();
}

TEST_F(WaitTest, Poll) {
  Expect(ZT_WAIT_POLL, 100 * kMillisecond, [] { ::poll(nullptr, 0, 100); });
}

TEST_F(WaitTest, WhatIsReadIsToldByItsDescriptor) {
  SocketPair pair = Connect(Transport::kTcp4);
  timeval timeout{0, 100'000};
  ::setsockopt(pair.server.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  char byte;
  Expect(ZT_WAIT_SOCKET, 100 * kMillisecond,
         [&] { EXPECT_EQ(::read(pair.server.get(), &byte, 1), -1); });
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  Expect(ZT_WAIT_PIPE, 100 * kMillisecond, [&] {
    std::thread closes([&] {
      ::usleep(100'000);
      ::close(ends[1]);
    });
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);
    closes.join();
  });
  ::close(ends[0]);
}

// A thread that used up its share stays in the run queue for a while when it falls asleep (kernel >= 6.12), here moved to another
// CPU meanwhile: the kernel counts the rest of its sleep as waiting for a CPU.
TEST_F(WaitTest, SleepOfAThreadThatIsMovedIsNoWaitingForACpu) {
  cpu_set_t cpus;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(cpus), &cpus), 0);
  if (CPU_COUNT(&cpus) < 2) GTEST_SKIP() << "needs two CPUs";
  std::vector<cpu_set_t> each;
  for (int cpu = 0; cpu < CPU_SETSIZE && each.size() < 2; ++cpu) {
    if (!CPU_ISSET(cpu, &cpus)) continue;
    CPU_ZERO(&each.emplace_back());
    CPU_SET(cpu, &each.back());
  }
  std::atomic<bool> end{false};
  std::thread rival([&] {
    ::sched_setaffinity(0, sizeof(cpu_set_t), &each[0]);
    while (!end) {}
  });
  constexpr uint64_t kSleep = 20 * kMillisecond;
  constexpr int kRounds = 30;
  std::atomic<int> asleep{0};
  std::atomic<pid_t> tid{0};
  std::thread mover([&] {
    ::sched_setaffinity(0, sizeof(cpu_set_t), &each[1]);
    for (int round = 1; round <= kRounds; ++round) {
      while (asleep < round) {}
      ::usleep(100);  // it sleeps by then
      ::sched_setaffinity(tid, sizeof(cpu_set_t), &each[1]);
    }
  });
  const uint64_t begin = MonotonicNs();
  std::optional<zt_thread_waits> waits = InThread([&] {
    tid = static_cast<pid_t>(::gettid());
    for (int round = 1; round <= kRounds; ++round) {
      ::sched_setaffinity(0, sizeof(cpu_set_t), &each[0]);
      // Of different lengths, so that it falls asleep with another share of its time slice each time.
      const uint64_t until = MonotonicNs() + (8 + round % 7) * kMillisecond;
      while (MonotonicNs() < until) {}
      asleep = round;
      ::usleep(kSleep / 1000);
    }
  });
  const uint64_t all = MonotonicNs() - begin;
  end = true;
  rival.join();
  mover.join();
  ASSERT_TRUE(waits);
  // The kernel takes three to eight of these sleeps for something else. Of another one in a thousand nothing was seen at all, for a
  // cause that is not known; without that they would all be there.
  EXPECT_GE(waits->waits_ns[ZT_WAIT_SLEEP], (kRounds - 1) * kSleep * 98 / 100);
  ASSERT_GE(waits->cpu_queue_ns, waits->slept_in_queue_ns);
  const uint64_t queued = waits->cpu_queue_ns - waits->slept_in_queue_ns;
  EXPECT_LE(waits->waits_ns[ZT_WAIT_SLEEP] + queued + waits->on_cpu_ns, all);
  RecordProperty("slept_in_queue_us", std::to_string(waits->slept_in_queue_ns / 1000));
}

TEST_F(WaitTest, AThreadThatOnlyRanLeavesItsTimeOnTheCpu) {
  std::optional<zt_thread_waits> waits = InThread([] {
    timespec now{};
    do {
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while (now.tv_sec == 0 && now.tv_nsec < 50'000'000);
  });
  ASSERT_TRUE(waits);
  EXPECT_EQ(waits->ended, 1u);
  EXPECT_GE(waits->on_cpu_ns, 50 * kMillisecond);
  EXPECT_LT(waits->on_cpu_ns, 80 * kMillisecond);
  for (uint64_t wait : waits->waits_ns) EXPECT_LT(wait, 5 * kMillisecond);
}

TEST_F(WaitTest, AProcessThatIsLeftOutIsNotWatched) {
  fixture_->capture().SetProcessPolicy(static_cast<uint32_t>(::getpid()), ZT_PROCESS_IGNORE);
  EXPECT_FALSE(InThread([] { ::usleep(50'000); }));
  fixture_->capture().ForgetProcess(static_cast<uint32_t>(::getpid()));
}

}  // namespace
}  // namespace zerotap
