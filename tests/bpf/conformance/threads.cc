// Many at once. These rows lose records or mix bytes when a program can be preempted in the middle
// of its work, shares a buffer with another or wakes its reader for each record.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/bpf/conformance/row.h"

namespace zerotap::conformance {
namespace {

void OneSocket(Row& row) {
  static uint64_t base = 1'000'000;
  Crowd crowd{base, 4, 400, 300};
  base += 100;
  Link& link = row.Connect();
  link.concurrent = true;
  std::vector<std::thread> writers;
  for (int thread = 0; thread < crowd.threads; ++thread) {
    writers.emplace_back([&crowd, &link, thread] {
      std::string bytes = Pattern(crowd.base + static_cast<uint64_t>(thread), 0, crowd.size);
      for (int i = 0; i < crowd.records; ++i)
        Must(::write(link.client.fd.get(), bytes.data(), bytes.size()) ==
                 static_cast<ssize_t>(bytes.size()),
             "write");
    });
  }
  size_t left = static_cast<size_t>(crowd.threads * crowd.records) * crowd.size;
  std::string room(8192, '\0');
  while (left > 0) {
    ssize_t got = ::read(link.server.fd.get(), room.data(), room.size());
    Must(got > 0, "read");
    left -= static_cast<size_t>(got);
  }
  for (std::thread& writer : writers) writer.join();
  link.judge_close = false;
  row.count_unseen = false;
  row.judge = [&row, &link, crowd](Findings& findings) {
    JudgeCrowd(link, crowd, row.witness, findings);
  };
}

// Each thread is busy with a connection of its own.
void BusyThreads(Row& row) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 200;
  Listener listener = Listen(row.family);
  std::vector<Link*> links;
  for (int i = 0; i < kThreads; ++i) {
    links.push_back(&row.NewLink());
    Connect(*links.back(), listener);
  }
  std::vector<std::thread> threads;
  for (Link* link : links) {
    threads.emplace_back([link] {
      for (int round = 0; round < kRounds; ++round) {
        size_t size = 100 + static_cast<size_t>(round % 5) * 150;
        Must(link->client.Send(size) == static_cast<ssize_t>(size), "write");
        Must(link->server.Receive(size), "read");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Client and server on two threads: the receiver runs as soon as the bytes are there.
void TimeOrder(Row& row) {
  static constexpr size_t kSizes[] = {10, 64, 1000, 8000};
  constexpr int kRounds = 100;
  Link& link = row.Connect();
  link.concurrent = true;
  std::thread server([&link] {
    for (int round = 0; round < kRounds; ++round) {
      size_t size = kSizes[round % 4];
      Must(link.server.Receive(size), "read");
      Must(link.server.Send(size) == static_cast<ssize_t>(size), "write");
    }
  });
  for (int round = 0; round < kRounds; ++round) {
    size_t size = kSizes[round % 4];
    Must(link.client.Send(size) == static_cast<ssize_t>(size), "write");
    Must(link.client.Receive(size), "read");
  }
  server.join();
}

// Records that fill a small part of the ring call nobody; only a new program does.
void Wakeups(Row& row) {
  constexpr int kRounds = 150;
  Link& link = row.Connect();
  UniqueFd watcher(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event wanted{};
  wanted.events = EPOLLIN | EPOLLET;  // each call anew, however much is unread
  for (int ring : row.witness.capture().ring_fds())
    Must(::epoll_ctl(watcher.get(), EPOLL_CTL_ADD, ring, &wanted) == 0, "epoll_ctl");
  row.witness.Collect();
  epoll_event event{};
  while (::epoll_wait(watcher.get(), &event, 1, 0) > 0) {
  }
  uint64_t execs = row.witness.exec_records();
  uint64_t woken = 0;
  for (int round = 0; round < kRounds; ++round) {
    link.client.Send(100);
    woken += ::epoll_wait(watcher.get(), &event, 1, 0) > 0 ? 1 : 0;
    Must(link.server.Receive(100), "read");
    woken += ::epoll_wait(watcher.get(), &event, 1, 0) > 0 ? 1 : 0;
  }
  row.witness.Collect();
  // Other programs of the host may have started.
  execs = row.witness.exec_records() - execs;
  row.Expect(woken <= execs, "records woke the reader");
  row.remark = std::to_string(woken) + " wake-ups";
}

void StayOn(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  Must(::sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
}

// The agent reads and writes its maps all the time, and is stopped in the middle by who sends on the
// same CPU: where the kernel preempts itself, what is sent until the agent goes on must be seen too.
void BesideTheAgent(Row& row) {
  constexpr int kRounds = 1000;
  Link& link = row.Connect();
  cpu_set_t before;
  Must(::sched_getaffinity(0, sizeof(before), &before) == 0, "sched_getaffinity");
  const int cpu = ::sched_getcpu();
  std::atomic<bool> done{false};
  uint64_t turns = 0;
  std::thread agent([&row, &done, &turns, cpu] {
    StayOn(cpu);
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
    BpfCapture& capture = row.witness.capture();
    constexpr uint32_t kNobody = 0x3fffffff;
    std::vector<MeasureDelta> measures;
    for (; !done.load(std::memory_order_relaxed); ++turns) {
      capture.ReadThreadWaits(static_cast<uint32_t>(::gettid()));
      capture.SetProcessPolicy(kNobody, ZT_PROCESS_IGNORE);
      capture.ForgetProcess(kNobody);
      capture.TakeMeasures(measures);
      measures.clear();
    }
  });
  StayOn(cpu);
  const timespec pause{0, 20'000};
  for (int round = 0; round < kRounds; ++round) {
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
    link.client.Send(100);
    Must(link.server.Receive(100), "read");
  }
  done.store(true, std::memory_order_relaxed);
  agent.join();
  Must(::sched_setaffinity(0, sizeof(before), &before) == 0, "sched_setaffinity");
  row.Expect(turns > 0, "the agent never came to read");
  row.remark = std::to_string(turns) + " turns of the agent";
}

}  // namespace

std::vector<Variant> ThreadVariants() {
  return {
      {"beside_the_agent", kOnlyTcp4, BesideTheAgent},
      {"threads_one_socket", kAll, OneSocket},
      {"threads_busy", kAll, BusyThreads},
      {"time_order", kAll, TimeOrder},
      {"wakeups", kAll, Wakeups},
  };
}

}  // namespace zerotap::conformance
