// What of the capture room needs no privilege; tests/bpf has the rest.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/capture/blind_spots.h"
#include "agent/capture/bpf_capture.h"
#include "agent/capture/btf_file.h"
#include "agent/capture/cost_reader.h"
#include "agent/capture/feature_probes.h"
#include "agent/capture/probe_loader.h"
#include "agent/capture/syscall_table.h"

namespace zerotap {
namespace {

TEST(AddedNsTest, IsWhatTheCallTakesMoreAtThePaceOfNow) {
  EXPECT_DOUBLE_EQ(AddedNs({400, 9000}, {500, 9000}), 100);
  // The machine became slower by half, or twice as fast: that is no price.
  EXPECT_DOUBLE_EQ(AddedNs({400, 9000}, {750, 13500}), 150);
  EXPECT_DOUBLE_EQ(AddedNs({400, 9000}, {300, 4500}), 100);
}

TEST(AddedNsTest, IsNeverLessThanEnteringAProgram) {
  EXPECT_DOUBLE_EQ(AddedNs({400, 9000}, {400, 9000}), kLeastEventNs);
  EXPECT_DOUBLE_EQ(AddedNs({400, 9000}, {300, 9000}), kLeastEventNs);
  EXPECT_DOUBLE_EQ(AddedNs({}, {}), kLeastEventNs);
  EXPECT_DOUBLE_EQ(AddedNs({}, {500, 9000}), kLeastEventNs);
}

TEST(MeasureSocketCallTest, MeasuresBoth) {
  const CallTimes times = MeasureSocketCall();
  EXPECT_GT(times.call_ns, 0);
  EXPECT_GT(times.work_ns, 0);
}

TEST(RingBytesTest, ArePowersOfTwoAndWholePages) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_EQ(RoundUpRingBytes(0), page);
  EXPECT_EQ(RoundUpRingBytes(1), page);
  EXPECT_EQ(RoundUpRingBytes(page), page);
  EXPECT_EQ(RoundUpRingBytes(page + 1), 2 * page);
  EXPECT_EQ(RoundUpRingBytes(16u << 20), 16u << 20);
  EXPECT_EQ(RoundUpRingBytes((16u << 20) + 1), 32u << 20);
  EXPECT_EQ(RoundUpRingBytes(size_t{1} << 40), size_t{1} << 30) << "the kernel's own limit is near";
}

TEST(RingPlanTest, EachOfFewCpusHasItsOwnRingAndManyAreSplitIntoGroups) {
  constexpr size_t kTotal = 32u << 20;
  EXPECT_EQ(PlanRings(0, 0, 0, kTotal).count, 1u);
  for (size_t cpus : {1, 2, 4, 8}) {
    const RingPlan plan = PlanRings(0, cpus, cpus, kTotal);
    EXPECT_EQ(plan.count, cpus);
    EXPECT_EQ(plan.shift, 0u);
  }
  const std::pair<size_t, uint32_t> planned[] = {{3, 4}, {9, 8}, {16, 8}, {17, 8}, {32, 8}, {48, 8}, {64, 8}, {65, 16}, {128, 16}};
  for (auto [cpus, count] : planned) {
    const RingPlan plan = PlanRings(0, cpus, cpus, kTotal);
    EXPECT_EQ(plan.count, count) << cpus;
    std::vector<size_t> load(plan.count);
    for (size_t cpu = 0; cpu < cpus; ++cpu) ++load[cpu >> plan.shift & (plan.count - 1)];
    for (size_t of_ring : load) EXPECT_LE(of_ring, 8u) << cpus;
    EXPECT_LT((cpus - 1) >> plan.shift, plan.count) << "none is put to another group by the mask";
  }
}

TEST(RingPlanTest, CpusWhoseNumbersHaveHolesUseAllRings) {
  const RingPlan plan = PlanRings(0, 4, 7, 32u << 20);  // 0, 2, 4 and 6
  EXPECT_EQ(plan.count, 4u);
  std::set<size_t> rings;
  for (size_t cpu : {0, 2, 4, 6}) rings.insert(cpu >> plan.shift & (plan.count - 1));
  EXPECT_EQ(rings.size(), 4u);
}

TEST(RingPlanTest, WhatIsWantedIsBoundedByTheMemory) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_EQ(PlanRings(0, 64, 64, 4u << 20).count, 2u) << "each has 2 MiB at least";
  EXPECT_EQ(PlanRings(0, 64, 64, 256u << 10).count, 1u);
  EXPECT_EQ(PlanRings(16, 64, 64, 4 * page).count, 4u) << "and a page where they were asked for";
  EXPECT_EQ(PlanRings(1, 64, 64, 16u << 20).count, 1u);
  const RingPlan forced = PlanRings(4, 2, 2, 16u << 20);
  EXPECT_EQ(forced.count, 4u);
  EXPECT_EQ(forced.shift, 0u) << "two CPUs that do not share";
  EXPECT_EQ(PlanRings(4, 4096, 4096, 16u << 20).shift, 10u);
}

TEST(CounterNameTest, EveryCounterHasItsOwn) {
  std::set<std::string> names;
  for (int counter = 0; counter < ZT_COUNTER_COUNT; ++counter) {
    std::string name = CounterName(static_cast<zt_counter>(counter));
    EXPECT_NE(name, "unknown") << counter;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

TEST(BlindSpotsTest, EachTierHasItsOwn) {
  const std::vector<std::string> a = BlindSpots(CaptureTier::kA);
  const std::vector<std::string> b = BlindSpots(CaptureTier::kB);
  auto names = [](const std::vector<std::string>& spots, const std::string& text) {
    for (const std::string& spot : spots) {
      if (spot.find(text) != std::string::npos) return true;
    }
    return false;
  };
  EXPECT_TRUE(names(a, "io_uring: lengths and times"));
  EXPECT_TRUE(names(a, "splice from a socket"));
  EXPECT_TRUE(names(b, "io_uring: nothing"));
  EXPECT_FALSE(names(b, "splice from a socket"));
  EXPECT_TRUE(names(a, "32-bit"));
  EXPECT_TRUE(names(b, "32-bit"));
  EXPECT_TRUE(names(a, "TCP_ZEROCOPY_RECEIVE"));
  EXPECT_FALSE(names(b, "TCP_ZEROCOPY_RECEIVE"));
}

// A file with what a kernel's has to have for one tracepoint, of a name that no kernel knows.
class KernelBtfTest : public ::testing::Test {
 protected:
  KernelBtfTest() {
    BtfPtr types(btf__new_empty());
    btf__add_typedef(types.get(), "btf_trace_zerotap_has_no_such_hook", btf__add_int(types.get(), "int", 4, 0));
    uint32_t size = 0;
    const void* data = btf__raw_data(types.get(), &size);
    Write(std::string(static_cast<const char*>(data), size));
  }
  ~KernelBtfTest() override { std::filesystem::remove(path_); }

  void Write(const std::string& content) { std::ofstream(path_, std::ios::binary) << content; }

  const std::string path_ = ::testing::TempDir() + "/zerotap-kernel." + std::to_string(::getpid()) + ".btf";
};

TEST_F(KernelBtfTest, TheOptionGoesBeforeThePlacesOfSystems) {
  EXPECT_EQ(FindKernelBtf(path_).value(), path_);
  const Result<std::string> missing = FindKernelBtf("/nonexistent/vmlinux");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("capture.btf: cannot read /nonexistent/vmlinux: No such file"),
            std::string::npos)
      << missing.error().message;
}

// It has to ask the program and not itself: else programs that are attached by BTF would be looked up elsewhere.
TEST_F(KernelBtfTest, LibbpfReadsTheSameFile) {
  EXPECT_LE(libbpf_find_vmlinux_btf_id("zerotap_has_no_such_hook", BPF_TRACE_RAW_TP), 0);
  {
    const KernelBtfScope scope(path_);
    EXPECT_GT(libbpf_find_vmlinux_btf_id("zerotap_has_no_such_hook", BPF_TRACE_RAW_TP), 0);
    EXPECT_LE(libbpf_find_vmlinux_btf_id("sys_exit", BPF_TRACE_RAW_TP), 0);
  }
  EXPECT_LE(libbpf_find_vmlinux_btf_id("zerotap_has_no_such_hook", BPF_TRACE_RAW_TP), 0);
}

TEST_F(KernelBtfTest, WhatIsNoBtfIsNamed) {
  Write("not types at all");
  const Result<BtfPtr> types = ReadKernelBtf(path_);
  ASSERT_FALSE(types);
  EXPECT_NE(types.error().message.find(path_ + " has no BTF that can be read"), std::string::npos)
      << types.error().message;
}

TEST(CaptureCountersTest, MissesAreSummedOverPrograms) {
  CaptureCounters counters;
  EXPECT_EQ(counters.recursion_misses(), 0u);
  counters.programs.resize(3);
  counters.programs[0].recursion_misses = 2;
  counters.programs[2].recursion_misses = 5;
  EXPECT_EQ(counters.recursion_misses(), 7u);
}

TEST(VerdictSlotTest, SlotsAreInRangeAndTagsAreNeverZero) {
  std::set<uint32_t> slots;
  for (uint64_t time = 1; time < 4096; ++time) {
    uint64_t connection_id = (time * 1'000'003) << 8 | (time & 1);
    EXPECT_LT(zt_verdict_slot(connection_id), ZT_VERDICT_SLOTS);
    EXPECT_NE(zt_verdict_tag(connection_id), 0u);
    slots.insert(zt_verdict_slot(connection_id));
  }
  EXPECT_GT(slots.size(), 3800u) << "connections of one burst spread over the slots";
}

TEST(BpfCaptureTest, WithoutPrivilegeTheErrorNamesTheRemedy) {
  if (::geteuid() == 0) {
    // In a child, so that the rest of the tests keeps its privilege.
    EXPECT_EXIT(
        {
          if (::setuid(65534) != 0) std::_Exit(3);
          auto capture = BpfCapture::Create(CaptureOptions{});
          bool good = !capture && capture.error().message.find("root") != std::string::npos;
          std::_Exit(good ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
    return;
  }
  auto capture = BpfCapture::Create(CaptureOptions{});
  ASSERT_FALSE(capture);
  EXPECT_NE(capture.error().message.find("root"), std::string::npos);
}

TEST(SyscallTableTest, NamesAreOrderedAndLeadBothWays) {
  std::string_view previous;
  for (const NamedSyscall& call : MeasurableSyscalls()) {
    EXPECT_LT(previous, call.name);
    previous = call.name;
    EXPECT_LT(call.number, uint32_t{ZT_MEASURE_SYSCALLS});
    ASSERT_NE(FindSyscall(call.name), nullptr);
    EXPECT_EQ(FindSyscall(call.name)->number, call.number);
    EXPECT_EQ(SyscallName(call.number), call.name);
  }
  EXPECT_EQ(FindSyscall("no_such_call"), nullptr);
  EXPECT_EQ(SyscallName(1000), "syscall_1000");
}

TEST(ErrnoNameTest, NamesOfProgramsAndOfTheKernelAlone) {
  EXPECT_EQ(ErrnoName(2), "ENOENT");
  EXPECT_EQ(ErrnoName(11), "EAGAIN");
  EXPECT_EQ(ErrnoName(512), "ERESTARTSYS");
  EXPECT_EQ(ErrnoName(4000), "errno_4000");
}

TEST(DropFeatureTest, OneAtATimeUntilNoneIsLeft) {
  CaptureOptions options;
  EXPECT_FALSE(DropFeature(options));
  options.waits = options.tcp.enabled = options.syscalls.enabled = true;
  const CaptureOptions wanted = options;
  EXPECT_TRUE(DropFeature(options));
  EXPECT_EQ(WithoutFeatures(wanted, options), "off, since this kernel refuses it (waits)");
  EXPECT_TRUE(DropFeature(options));
  EXPECT_TRUE(DropFeature(options));
  EXPECT_EQ(WithoutFeatures(wanted, options), "off, since this kernel refuses it (waits, syscalls, tcp)");
  EXPECT_FALSE(DropFeature(options));
}

}  // namespace
}  // namespace zerotap
