// Processes as they start, change their program and end; what the loader reports; that nothing
// stays behind.
#include <bpf/bpf.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/base/clock.h"
#include "agent/events/event.h"
#include "tests/bpf/capture_fixture.h"

namespace zerotap {
namespace {

class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    fixture_ = CaptureFixture::Create(CaptureTier::kAuto, &reason);
    if (!fixture_) GTEST_SKIP() << reason;
  }
  template <typename T>
  std::vector<const T*> Records(zt_event_kind kind) {
    fixture_->Collect();
    std::vector<const T*> found;
    for (const std::string& record : fixture_->process_records()) {
      const auto* header = reinterpret_cast<const zt_event_header*>(record.data());
      if (header->kind == kind) found.push_back(reinterpret_cast<const T*>(record.data()));
    }
    return found;
  }
  std::unique_ptr<CaptureFixture> fixture_;
};

TEST_F(ProcessTest, ForkExecAndExit) {
  pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "my shell", "-c", "exit 7", "an argument", static_cast<char*>(nullptr));
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const uint32_t tgid = static_cast<uint32_t>(child);

  int forks = 0;
  for (const auto* event : Records<zt_process_fork_event>(ZT_EVENT_PROCESS_FORK)) {
    if (event->child_tgid != tgid) continue;
    ++forks;
    EXPECT_EQ(event->parent_tgid, static_cast<uint32_t>(::getpid()));
  }
  EXPECT_EQ(forks, 1);

  int execs = 0;
  for (const auto* event : Records<zt_process_exec_event>(ZT_EVENT_PROCESS_EXEC)) {
    if (event->tgid != tgid) continue;
    ++execs;
    EXPECT_EQ(event->parent_tgid, static_cast<uint32_t>(::getpid()));
    EXPECT_EQ(FieldText(event->filename), "/bin/sh");
    EXPECT_EQ(FieldText(event->comm), "sh");
    const std::string wanted("my shell\0-c\0exit 7\0an argument\0", 31);
    EXPECT_EQ(std::string(event->args, event->args_size), wanted);
    EXPECT_GT(event->start_ns, 0u);
    EXPECT_GT(event->cgroup_id, 0u);
  }
  EXPECT_EQ(execs, 1);

  int exits = 0;
  for (const auto* event : Records<zt_process_exit_event>(ZT_EVENT_PROCESS_EXIT)) {
    if (event->tgid != tgid) continue;
    ++exits;
    EXPECT_EQ(event->exit_code, static_cast<uint32_t>(status));
  }
  EXPECT_EQ(exits, 1);
}

TEST_F(ProcessTest, ThreadsAreNoProcesses) {
  pid_t child = ::fork();
  if (child == 0) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back([] { ::usleep(1000); });
    for (std::thread& thread : threads) thread.join();
    // Several threads end at once.
    for (int i = 0; i < 8; ++i) std::thread([] { ::usleep(100000); }).detach();
    ::_exit(3);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  int forks = 0;
  for (const auto* event : Records<zt_process_fork_event>(ZT_EVENT_PROCESS_FORK)) {
    if (event->child_tgid == static_cast<uint32_t>(child) ||
        event->parent_tgid == static_cast<uint32_t>(child)) {
      ++forks;
    }
  }
  EXPECT_EQ(forks, 1);
  int exits = 0;
  for (const auto* event : Records<zt_process_exit_event>(ZT_EVENT_PROCESS_EXIT)) {
    if (event->tgid != static_cast<uint32_t>(child)) continue;
    ++exits;
    EXPECT_EQ(event->exit_code, static_cast<uint32_t>(status));
  }
  EXPECT_EQ(exits, 1);
}

// Whatever the ring holds by then: the record of the first is still there when the second starts.
TEST_F(ProcessTest, APauseEndsWhenAProcessStarts) {
  constexpr uint64_t kLong = 20'000'000'000;
  for (int i = 0; i < 2; ++i) {
    fixture_->capture().Pause(1'000'000);  // takes what other processes have brought about
    pid_t child = ::fork();
    if (child == 0) {
      ::usleep(20000);
      ::execl("/bin/true", "true", nullptr);
      ::_exit(127);
    }
    const uint64_t begin = MonotonicNs();
    fixture_->capture().Pause(kLong);
    EXPECT_LT(MonotonicNs() - begin, kLong / 2) << i;
    ::waitpid(child, nullptr, 0);
  }
}

TEST_F(ProcessTest, APolicyEndsWithItsProcess) {
  int gate[2];
  ASSERT_EQ(::pipe(gate), 0);
  pid_t child = ::fork();
  if (child == 0) {
    char byte;
    ::close(gate[1]);
    _exit(::read(gate[0], &byte, 1) == 0 ? 0 : 1);
  }
  fixture_->capture().SetProcessPolicy(static_cast<uint32_t>(child), ZT_PROCESS_IGNORE);
  EXPECT_TRUE(fixture_->capture().HasProcessPolicy(static_cast<uint32_t>(child)));
  ::close(gate[0]);
  ::close(gate[1]);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(fixture_->capture().HasProcessPolicy(static_cast<uint32_t>(child)));
}

TEST(LoaderTest, EveryTierLoadsAndReports) {
  for (CaptureTier tier : {CaptureTier::kAuto, CaptureTier::kA, CaptureTier::kB}) {
    std::string reason;
    CaptureOptions options = CaptureFixture::OwnProcessSeen();
    if (tier == CaptureTier::kB) {  // with all that is loaded on demand
      options.syscalls = {true, {"read", "write", "futex"}, 1024};
      options.tcp.enabled = true;
      options.waits = true;
    }
    auto fixture = CaptureFixture::Create(tier, &reason, options);
    if (!fixture) GTEST_SKIP() << reason;
    const CaptureReport& report = fixture->capture().report();
    if (tier != CaptureTier::kAuto) {
      EXPECT_EQ(report.tier, tier);
    }
    EXPECT_FALSE(report.unseen.empty());
    std::printf("tier %s by %s: loaded in %.1f ms, sockets walked in %.1f ms\n",
                report.tier == CaptureTier::kA ? "A" : "B", report.attach_form.c_str(),
                static_cast<double>(report.load_ns) / 1e6,
                static_cast<double>(report.seed_ns) / 1e6);
    for (const std::string& remark : report.remarks) std::printf("  %s\n", remark.c_str());
    CaptureCounters counters = fixture->capture().ReadCounters();
    EXPECT_GE(counters.programs.size(), 7u);
    for (const ProgramStatistics& program : counters.programs) {
      std::printf("  %-20s %6u instructions processed\n", program.name.c_str(),
                  program.verified_instructions);
      EXPECT_EQ(program.recursion_misses, 0u) << program.name;
    }
  }
}

TEST(LoaderTest, TypesFromAFileAreThoseOfThisKernelOrRefused) {
  const std::string path = ::testing::TempDir() + "/zerotap-types." + std::to_string(::getpid());
  std::filesystem::copy_file("/sys/kernel/btf/vmlinux", path,
                             std::filesystem::copy_options::overwrite_existing);
  CaptureOptions options = CaptureFixture::OwnProcessSeen();
  options.btf = path;
  std::string reason;
  for (CaptureTier tier : {CaptureTier::kA, CaptureTier::kB}) {
    EXPECT_TRUE(CaptureFixture::Create(tier, &reason, options)) << reason;
  }
  // One letter of one name makes it another kernel's.
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-2, std::ios::end);
  file.put('%');
  file.close();
  const auto capture = BpfCapture::Create(options);
  ASSERT_FALSE(capture);
  EXPECT_NE(capture.error().message.find("the BTF of another kernel"), std::string::npos)
      << capture.error().message;
  std::filesystem::remove(path);
}

// The BPF programs that a process holds, by their numbers.
std::vector<uint32_t> ProgramsOf(pid_t process) {
  std::vector<uint32_t> ids;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fdinfo")) {
    std::ifstream file(entry.path());
    std::string line;
    while (std::getline(file, line)) {
      if (line.rfind("prog_id:", 0) == 0)
        ids.push_back(static_cast<uint32_t>(std::stoul(line.substr(8))));
    }
  }
  return ids;
}

bool Exists(uint32_t program_id) {
  return static_cast<bool>(UniqueFd(::bpf_prog_get_fd_by_id(program_id)));
}

TEST(LoaderTest, KilledItLeavesNothingBehind) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  pid_t child = ::fork();
  if (child == 0) {
    auto capture = BpfCapture::Create(CaptureOptions{});
    char byte = capture ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  std::vector<uint32_t> programs = ProgramsOf(child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  if (byte != 'y') GTEST_SKIP() << "cannot load here";
  EXPECT_GE(programs.size(), 7u);
  for (uint32_t program : programs) {
    // The kernel frees them after a grace period.
    for (int i = 0; i < 250 && Exists(program); ++i) ::usleep(20000);
    EXPECT_FALSE(Exists(program));
  }
}

}  // namespace
}  // namespace zerotap
