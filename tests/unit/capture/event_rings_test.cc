#include "agent/capture/event_rings.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "agent/base/clock.h"
#include "agent/base/unique_fd.h"
#include "bpf/abi/event.h"

namespace zerotap {
namespace {

constexpr uint64_t kSlackNs = EventRings::kClockSlackNs;
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

struct Record {
  zt_event_header header{};
  uint64_t id = 0;
};

// What bpf_ringbuf_reserve and bpf_ringbuf_submit do.
class KernelRing {
 public:
  explicit KernelRing(size_t size) : size_(size) {
    UniqueFd fd(::memfd_create("ring", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    void* place = ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data_ = static_cast<std::byte*>(place);
    for (std::byte* half : {data_, data_ + size}) {
      EXPECT_EQ(::mmap(half, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd.get(), 0), half);
    }
    // The reader has it once; what is behind it must not be touched.
    place = ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    read_ = static_cast<std::byte*>(place);
    EXPECT_EQ(::mmap(read_, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd.get(), 0), place);
  }
  ~KernelRing() {
    ::munmap(data_, 2 * size_);
    ::munmap(read_, 2 * size_);
  }
  KernelRing(const KernelRing&) = delete;
  KernelRing& operator=(const KernelRing&) = delete;

  RingMemory memory() { return {&consumed_, &produced_, read_, size_}; }

  // Null when there is no room.
  std::byte* Reserve(size_t room) {
    const uint64_t position = produced_;
    const uint64_t end = position + ((room + BPF_RINGBUF_HDR_SZ + 7) & ~size_t{7});
    if (end - __atomic_load_n(&consumed_, __ATOMIC_ACQUIRE) > size_) return nullptr;
    std::byte* at = data_ + (position & (size_ - 1));
    const uint32_t word[2] = {static_cast<uint32_t>(room) | BPF_RINGBUF_BUSY_BIT, 0};
    std::memcpy(at, word, sizeof(word));
    __atomic_store_n(&produced_, end, __ATOMIC_RELEASE);
    return at + BPF_RINGBUF_HDR_SZ;
  }
  static void Submit(std::byte* record, bool discard = false) {
    auto* word = reinterpret_cast<uint32_t*>(record - BPF_RINGBUF_HDR_SZ);
    uint32_t length = *word & ~BPF_RINGBUF_BUSY_BIT;
    if (discard) length |= BPF_RINGBUF_DISCARD_BIT;
    __atomic_store_n(word, length, __ATOMIC_RELEASE);
  }
  static void Fill(std::byte* place, uint64_t time_ns, uint64_t id) {
    Record record;
    record.header.time_ns = time_ns;
    record.header.size = sizeof(record);
    record.id = id;
    std::memcpy(place, &record, sizeof(record));
  }
  bool Write(uint64_t time_ns, uint64_t id, size_t room = sizeof(Record)) {
    std::byte* place = Reserve(room);
    if (place == nullptr) return false;
    Fill(place, time_ns, id);
    Submit(place);
    return true;
  }

 private:
  size_t size_;
  std::byte* data_ = nullptr;
  std::byte* read_ = nullptr;
  alignas(64) uint64_t consumed_ = 0;
  alignas(64) uint64_t produced_ = 0;
};

struct Host {
  explicit Host(size_t count, size_t size = 4096) {
    for (size_t index = 0; index < count; ++index) {
      rings.push_back(std::make_unique<KernelRing>(size));
      reader.Add(rings.back()->memory());
    }
  }
  // What a turn hands out at `now_ns` on the reader's clock.
  std::vector<uint64_t> Take(uint64_t now_ns, size_t limit = kNoLimit) {
    std::vector<uint64_t> ids;
    const size_t count = reader.Take(now_ns + kSlackNs, limit, [&ids](ByteSpan bytes) {
      Record record;
      EXPECT_EQ(bytes.size(), sizeof(record));
      std::memcpy(&record, bytes.data(), sizeof(record));
      ids.push_back(record.id);
    });
    EXPECT_EQ(count, ids.size());
    return ids;
  }
  KernelRing& operator[](size_t index) { return *rings[index]; }

  std::vector<std::unique_ptr<KernelRing>> rings;
  EventRings reader;
};

using Ids = std::vector<uint64_t>;

TEST(EventRingsTest, AfterATurnTheRoomOfAllThatWasTakenIsFree) {
  for (size_t rings : {1u, 2u}) {
    Host host(rings);
    KernelRing::Submit(host[0].Reserve(sizeof(Record)), true);  // given up
    for (uint64_t id = 1; id <= 3; ++id) host[0].Write(100 * id, id);
    EXPECT_EQ(host.Take(1000), (Ids{1, 2, 3}));
    EXPECT_EQ(host.reader.used_bytes(), 0u) << rings;
    host[0].Write(2000, 4);
    std::byte* open = host[0].Reserve(sizeof(Record));
    EXPECT_EQ(host.Take(3000), (Ids{4}));
    const uint64_t of_one = host.reader.used_bytes();
    EXPECT_GT(of_one, 0u);
    KernelRing::Fill(open, 2500, 5);
    KernelRing::Submit(open);
    EXPECT_EQ(host.Take(4000), (Ids{5}));
    EXPECT_EQ(host.reader.used_bytes(), 0u) << rings;
  }
}

TEST(EventRingsTest, RoomBecomesFreeWithinATurn) {
  Host host(1);
  uint64_t written = 0;
  while (host[0].Write(written, written)) ++written;
  const uint64_t full = host.reader.used_bytes();
  uint64_t taken = 0;
  host.reader.Take(0, kNoLimit, [&](ByteSpan) {
    const uint64_t expected = full / written * (written - taken++);
    EXPECT_GE(host.reader.used_bytes(), expected) << "not before it was handled";
    EXPECT_LE(host.reader.used_bytes(), expected + 4096 / 16 + full / written);
  });
  EXPECT_EQ(taken, written);
}

TEST(EventRingsTest, OneRingIsReadInItsOrderAndAtOnce) {
  Host host(1);
  host[0].Write(300, 1);
  host[0].Write(100, 2);
  EXPECT_EQ(host.Take(0), (Ids{1, 2})) << "its order is the order, whatever the times say";
  std::byte* open = host[0].Reserve(sizeof(Record));
  host[0].Write(400, 4);
  EXPECT_EQ(host.Take(0), Ids{}) << "a record that is not complete holds up what is behind it";
  KernelRing::Fill(open, 350, 3);
  KernelRing::Submit(open);
  EXPECT_EQ(host.Take(0), (Ids{3, 4}));
  EXPECT_EQ(host.reader.used_bytes(), 0u);
}

TEST(EventRingsTest, RecordsGoOnOverTheEndAtEveryPlace) {
  for (size_t rings : {1, 2}) {
    Host host(rings);
    for (uint64_t i = 1; i <= 2000; ++i) {
      ASSERT_TRUE(host[i % rings].Write(i, i, sizeof(Record) + 8 * (i % 7)));
      ASSERT_EQ(host.Take(i), Ids{i}) << rings << " rings";
    }
  }
}

TEST(EventRingsTest, SeveralRingsAreMergedByTime) {
  Host host(3);
  host[0].Write(10, 1);
  host[0].Write(40, 4);
  host[1].Write(20, 2);
  host[1].Write(30, 3);
  host[1].Write(60, 6);
  host[2].Write(50, 5);
  EXPECT_EQ(host.Take(100), (Ids{1, 2, 3, 4, 5, 6}));
}

TEST(EventRingsTest, WhatIsNewerThanTheLookWaitsForTheNext) {
  Host host(2);
  host[0].Write(150, 2);
  host[1].Write(90, 1);
  EXPECT_EQ(host.Take(100), Ids{1}) << "the other ring may yet get one of 120";
  host[1].Write(120, 9);
  EXPECT_EQ(host.Take(200), (Ids{9, 2}));
}

TEST(EventRingsTest, NothingOvertakesARecordThatIsNotComplete) {
  Host host(2);
  host[0].Write(10, 1);
  EXPECT_EQ(host.Take(20), Ids{1});
  std::byte* open = host[0].Reserve(sizeof(Record));
  host[0].Write(31, 3);
  host[1].Write(15, 2);
  host[1].Write(32, 4);  // may be the answer to 3, which stands behind the open record
  EXPECT_EQ(host.Take(40), Ids{2}) << "that ring was empty at 20: what is in it came later";
  KernelRing::Fill(open, 30, 5);
  KernelRing::Submit(open);
  EXPECT_EQ(host.Take(50), (Ids{5, 3, 4}));
}

TEST(EventRingsTest, ARecordOfAnOlderTimeComesInItsRingsOrder) {
  Host host(2);
  host[0].Write(50, 2);
  host[0].Write(20, 3);  // told of late
  host[0].Write(60, 4);
  host[1].Write(40, 1);
  host[1].Write(55, 5);
  EXPECT_EQ(host.Take(100), (Ids{1, 2, 3, 5, 4}));
}

TEST(EventRingsTest, ATurnThatIsCutShortGoesOnWhereItWas) {
  Host host(2);
  for (uint64_t id = 0; id < 20; ++id) host[id / 3 % 2].Write(id, id);
  Ids all;
  for (int turn = 0; turn < 20; ++turn) {
    const Ids some = host.Take(100, 3);
    EXPECT_LE(some.size(), 3u);
    all.insert(all.end(), some.begin(), some.end());
  }
  ASSERT_EQ(all.size(), 20u);
  for (uint64_t id = 0; id < 20; ++id) EXPECT_EQ(all[id], id);
}

TEST(EventRingsTest, MalformedRecordsAreCountedAndDiscardedOnesPassedOver) {
  for (size_t rings : {1, 2}) {
    Host host(rings);
    KernelRing::Submit(host[0].Reserve(4));  // no room for a header
    std::byte* wrong = host[0].Reserve(sizeof(Record));
    KernelRing::Fill(wrong, 5, 7);
    reinterpret_cast<Record*>(wrong)->header.size = 4096;
    KernelRing::Submit(wrong);
    KernelRing::Submit(host[0].Reserve(40), true);
    host[0].Write(10, 1);
    EXPECT_EQ(host.Take(100), Ids{1});
    EXPECT_EQ(host.reader.malformed_records(), 2u);
    EXPECT_EQ(host.reader.used_bytes(), 0u);
  }
}

// Hooks on several CPUs that stall anywhere, and a reader that looks at any time. Whatever happens, what a hook wrote comes
// after all that was written by hooks that had ended when it began.
TEST(EventRingsTest, CausesComeFirstWhateverStalls) {
  struct Hook {
    uint64_t begin = 0, end = 0;
    bool of_older_time = false;
  };
  struct Cpu {
    enum { kIdle, kBegun, kReserved, kSubmitted } state = kIdle;
    uint64_t next = 0;  // when it goes on
    uint64_t id = 0;
    std::byte* record = nullptr;
  };
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    auto below = [&random](uint64_t bound) { return random() % bound; };
    const size_t rings = 2 + below(4);
    const size_t cpus = rings * (1 + below(3));
    Host host(rings, size_t{4096} << below(3));
    std::vector<Hook> hooks;
    std::vector<Cpu> cpu(cpus);
    Ids order;
    size_t full = 0;
    uint64_t now = 1000;
    auto step = [&] {
      now += 1 + below(5);
      Cpu& one = cpu[below(cpus)];
      if (one.next > now) return;
      KernelRing& ring = host[static_cast<size_t>(&one - cpu.data()) * rings / cpus];
      one.next = now + (below(20) == 0 ? below(3000) : below(20));
      if (one.state == Cpu::kIdle) {
        one.id = hooks.size();
        hooks.push_back({now, 0, below(10) == 0});
        one.state = Cpu::kBegun;
      } else if (one.state == Cpu::kBegun) {
        one.record = ring.Reserve(sizeof(Record) + below(200));
        one.state = one.record != nullptr ? Cpu::kReserved : Cpu::kIdle;
        full += one.record == nullptr ? 1 : 0;
        if (one.record == nullptr) hooks[one.id].end = ~uint64_t{0};
      } else if (one.state == Cpu::kReserved) {
        const Hook& hook = hooks[one.id];
        KernelRing::Fill(one.record, hook.of_older_time ? hook.begin - below(900) : hook.begin, one.id);
        KernelRing::Submit(one.record);
        one.state = Cpu::kSubmitted;
      } else {
        hooks[one.id].end = now;
        one.state = Cpu::kIdle;
      }
    };
    for (int round = 0; round < 400; ++round) {
      for (uint64_t count = below(200); count > 0; --count) step();
      // The hooks go on while the reader reads.
      host.reader.Take(now + kSlackNs, 1 + below(300), [&](ByteSpan bytes) {
        Record record;
        std::memcpy(&record, bytes.data(), sizeof(record));
        order.push_back(record.id);
        if (below(2) == 0) step();
      });
    }
    uint64_t earliest_end = ~uint64_t{0};
    size_t inverted = 0;
    for (auto id = order.rbegin(); id != order.rend(); ++id) {
      const Hook& hook = hooks[*id];
      if (!hook.of_older_time && earliest_end <= hook.begin) ++inverted;
      if (hook.end != 0) earliest_end = std::min(earliest_end, hook.end);
    }
    EXPECT_EQ(inverted, 0u) << "seed " << seed;
    EXPECT_GT(order.size(), 300u) << "seed " << seed;
    // All that was written is there at last, once.
    for (int count = 0; count < 100000; ++count) {
      now += 3000;
      for (Cpu& one : cpu) {
        if (one.state == Cpu::kReserved) {
          KernelRing::Fill(one.record, hooks[one.id].begin, one.id);
          KernelRing::Submit(one.record);
          one.state = Cpu::kSubmitted;
        }
      }
      const Ids rest = host.Take(now);
      order.insert(order.end(), rest.begin(), rest.end());
      if (host.reader.used_bytes() == 0) break;
    }
    EXPECT_EQ(host.reader.used_bytes(), 0u);
    std::vector<int> seen(hooks.size());
    for (uint64_t id : order) ++seen[id];
    size_t written = 0;
    for (size_t id = 0; id < hooks.size(); ++id) {
      EXPECT_LE(seen[id], 1);
      written += seen[id];
    }
    size_t begun = 0;
    for (const Cpu& one : cpu) begun += one.state == Cpu::kBegun ? 1 : 0;
    EXPECT_EQ(written + full + begun, hooks.size());
  }
}

// The same with real threads and clocks: a token goes round, so each record is the cause of the next.
TEST(EventRingsTest, ATokenThatGoesRoundIsReadInItsOrder) {
  constexpr size_t kThreads = 4;
  constexpr uint64_t kTurns = 20'000;
  Host host(kThreads, 1 << 20);
  std::atomic<uint64_t> token{0};
  std::vector<std::thread> writers;
  for (size_t index = 0; index < kThreads; ++index) {
    writers.emplace_back([&, index] {
      while (true) {
        const uint64_t turn = token.load(std::memory_order_acquire);
        if (turn >= kTurns) return;
        if (turn * 7919 % kThreads != index) {
          std::this_thread::yield();
          continue;
        }
        const uint64_t time_ns = MonotonicNs();
        if (!host[index].Write(time_ns, turn)) continue;
        token.store(turn + 1, std::memory_order_release);
      }
    });
  }
  Ids order;
  while (order.size() < kTurns) {
    const uint64_t now_ns = MonotonicNs();
    host.reader.Take(now_ns, kNoLimit, [&order](ByteSpan bytes) {
      Record record;
      std::memcpy(&record, bytes.data(), sizeof(record));
      order.push_back(record.id);
    });
    std::this_thread::yield();
  }
  for (std::thread& writer : writers) writer.join();
  for (uint64_t turn = 0; turn < kTurns; ++turn) ASSERT_EQ(order[turn], turn);
}

}  // namespace
}  // namespace zerotap
