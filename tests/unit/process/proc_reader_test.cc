#include "agent/process/proc_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "agent/base/clock.h"
#include "agent/process/utf8.h"
#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ProcReader, ReadsEveryFact) {
  FakeRoot root;
  FakeProcess process;
  process.pid = 4711;
  process.parent = 42;
  process.executable = "/usr/bin/python3.11";
  process.arguments = {"python3", "app.py", "--port", "80"};
  process.environment = {"PATH=/bin", "OTEL_SERVICE_NAME=shop", "HOSTNAME=abc"};
  process.directory = "/srv/shop";
  process.cgroup = "0::/system.slice/shop.service\n";
  process.comm = "python3";
  process.uid = 1000;
  process.start_ticks = 12345;
  root.Add(process);

  ProcReader reader(root.path());
  auto facts = reader.Read(4711);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->pid, 4711u);
  EXPECT_EQ(facts->parent_pid, 42u);
  EXPECT_EQ(facts->executable, "/usr/bin/python3.11");
  EXPECT_EQ(facts->comm, "python3");
  EXPECT_THAT(facts->arguments, ElementsAre("python3", "app.py", "--port", "80"));
  EXPECT_THAT(facts->environment, ElementsAre("OTEL_SERVICE_NAME=shop", "HOSTNAME=abc"));
  EXPECT_EQ(facts->Environment("OTEL_SERVICE_NAME"), "shop");
  EXPECT_EQ(facts->Environment("PATH"), "");
  EXPECT_EQ(facts->working_directory, "/srv/shop");
  EXPECT_EQ(facts->cgroup_path, "/system.slice/shop.service");
  EXPECT_EQ(facts->owner, "alice");
  EXPECT_EQ(facts->start_boot_ns, 12345ull * reader.tick_ns());
  EXPECT_EQ(facts->start_unix_ns, 1'700'000'000'000'000'000ull + facts->start_boot_ns);
  EXPECT_EQ(reader.ReadStartBootNs(4711), facts->start_boot_ns);
}

TEST(ProcReader, GivenBootTimeBeatsTheOneOfProcStat) {
  FakeRoot root;
  root.Add({});
  ProcReader reader(root.path(), 1'000'000'123);
  EXPECT_EQ(reader.Read(100)->start_unix_ns, 1'000'000'123 + 5000ull * reader.tick_ns());
}

TEST(ProcReader, MissingProcessGivesNothing) {
  FakeRoot root;
  ProcReader reader(root.path());
  EXPECT_FALSE(reader.Read(1));
  EXPECT_EQ(reader.ReadStartBootNs(1), 0u);
}

// Every file but stat may be gone by the time it is read: the others still count.
TEST(ProcReader, VanishingFilesLeavePartialFacts) {
  for (const char* gone : {"exe", "cmdline", "environ", "cgroup", "status", "cwd"}) {
    FakeRoot root;
    FakeProcess process;
    process.environment = {"OTEL_SERVICE_NAME=x"};
    process.directory = "/srv";
    root.Add(process);
    root.Remove(std::string("/proc/100/") + gone);
    ProcReader reader(root.path());
    auto facts = reader.Read(100);
    ASSERT_TRUE(facts) << gone;
    std::string name(gone);
    EXPECT_EQ(facts->executable.empty(), name == "exe");
    EXPECT_EQ(facts->arguments.empty(), name == "cmdline");
    EXPECT_EQ(facts->environment.empty(), name == "environ");
    EXPECT_EQ(facts->cgroup_path.empty(), name == "cgroup");
    EXPECT_EQ(facts->owner.empty(), name == "status");
    EXPECT_EQ(facts->working_directory.empty(), name == "cwd");
    EXPECT_EQ(facts->parent_pid, 1u);
  }
}

TEST(ProcReader, CommandNamesWithAnyBytesDoNotShiftTheFields) {
  for (const char* comm : {"a b", "a) S 9 9", "((x))", "a\nb", ") (", "\xff\xfe"}) {
    FakeRoot root;
    FakeProcess process;
    process.comm = comm;
    process.parent = 77;
    root.Add(process);
    ProcReader reader(root.path());
    auto facts = reader.Read(100);
    ASSERT_TRUE(facts) << comm;
    EXPECT_EQ(facts->parent_pid, 77u) << comm;
    EXPECT_EQ(facts->start_boot_ns, 5000ull * reader.tick_ns()) << comm;
    EXPECT_EQ(facts->comm, ToUtf8(comm));
  }
}

TEST(ProcReader, MalformedStatIsNoProcess) {
  for (const char* text :
       {"", "100", "100 (foo", "100 foo) S", "100 (foo) S", "100 (foo) S x y z",
        "100 (foo) S 1 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 99999999999999999999 1"}) {
    FakeRoot root;
    root.Add({});
    root.Write("/proc/100/stat", text);
    EXPECT_FALSE(ProcReader(root.path()).Read(100)) << text;
  }
}

TEST(ProcReader, DeletedExecutableLosesItsMark) {
  FakeRoot root;
  FakeProcess process;
  process.executable = "/srv/shop/bin/shop (deleted)";
  root.Add(process);
  EXPECT_EQ(ProcReader(root.path()).Read(100)->executable, "/srv/shop/bin/shop");
}

TEST(ProcReader, BytesThatAreNoUtf8AreReplaced) {
  FakeRoot root;
  FakeProcess process;
  process.executable = "/opt/caf\xe9";
  process.arguments = {"caf\xe9", "\xf0\x9f\x98\x80", "\xc0\xaf", "cut\xe2\x82"};
  root.Add(process);
  auto facts = ProcReader(root.path()).Read(100);
  EXPECT_EQ(facts->executable, "/opt/caf\xef\xbf\xbd");
  for (const std::string& argument : facts->arguments) EXPECT_TRUE(IsUtf8(argument));
  EXPECT_EQ(facts->arguments[1], "\xf0\x9f\x98\x80");
}

TEST(ProcReader, LongArgumentsAreCutAndThoseAfterThemKept) {
  FakeRoot root;
  FakeProcess process;
  process.arguments = {"java", "-cp", std::string(60'000, 'x'), "com.acme.Shop"};
  root.Add(process);
  auto facts = ProcReader(root.path()).Read(100);
  ASSERT_EQ(facts->arguments.size(), 4u);
  EXPECT_EQ(facts->arguments[2].size(), 512u);
  EXPECT_EQ(facts->arguments[3], "com.acme.Shop");
}

TEST(ProcReader, SizesAreBounded) {
  FakeRoot root;
  FakeProcess process;
  for (int i = 0; i < 3000; ++i) process.arguments.push_back(std::string(100, 'a'));
  for (int i = 0; i < 3000; ++i) {
    process.environment.push_back("OTEL_X" + std::to_string(i) + "=" + std::string(100, 'b'));
  }
  process.environment.insert(process.environment.begin(), "OTEL_HUGE=" + std::string(100'000, 'c'));
  root.Add(process);
  auto facts = ProcReader(root.path()).Read(100);
  size_t arguments = 0;
  for (const std::string& text : facts->arguments) arguments += text.size();
  size_t environment = 0;
  for (const std::string& text : facts->environment) environment += text.size();
  EXPECT_LE(arguments, 4096u);
  EXPECT_LE(environment, 16u * 1024);
  EXPECT_EQ(facts->Environment("OTEL_HUGE"), "") << "a cut value would be another value";
}

TEST(ProcReader, CredentialsAreNotKept) {
  EXPECT_TRUE(IsWantedVariable("OTEL_SERVICE_NAME"));
  EXPECT_FALSE(IsWantedVariable("OTEL_EXPORTER_OTLP_HEADERS"));
  EXPECT_FALSE(IsWantedVariable("OTEL_EXPORTER_OTLP_TRACES_HEADERS"));
  EXPECT_FALSE(IsWantedVariable("AWS_SECRET_ACCESS_KEY"));
  EXPECT_FALSE(IsWantedVariable("DATABASE_URL"));
  EXPECT_FALSE(IsWantedVariable(""));
}

TEST(ProcReader, RewrittenTitlesLeaveNoEmptyArguments) {
  FakeRoot root;
  root.Add({});
  root.Write("/proc/100/cmdline", std::string("postgres: alice shop [local] idle\0\0\0\0\0", 38));
  EXPECT_THAT(ProcReader(root.path()).Read(100)->arguments,
              ElementsAre("postgres: alice shop [local] idle"));
}

TEST(ProcReader, OwnerWithoutNameIsTheNumber) {
  FakeRoot root;
  FakeProcess process;
  process.uid = 54321;
  root.Add(process);
  EXPECT_EQ(ProcReader(root.path()).Read(100)->owner, "54321");
}

// uid 999 of a container has nothing to do with uid 999 of the host.
TEST(ProcReader, OwnerInAContainerComesFromItsOwnUsers) {
  FakeRoot root;
  FakeProcess process;
  process.uid = 1000;
  process.cgroup = "0::/system.slice/docker-" + std::string(64, 'a') + ".scope\n";
  root.Add(process);
  ProcReader reader(root.path());
  EXPECT_EQ(reader.Read(100)->owner, "1000");
  root.Write(FakeRoot::RootOf(100) + "/etc/passwd", "postgres:x:1000:1000::/:/bin/sh\n");
  EXPECT_EQ(reader.Read(100)->owner, "postgres");
  root.Write("/proc/100/uid_map", "0 100000 65536\n");
  EXPECT_EQ(reader.Read(100)->owner, "1000") << "numbers mean other users there";
}

TEST(ProcReader, ChangedPasswdIsReadAgain) {
  FakeRoot root;
  FakeProcess process;
  process.uid = 2000;
  root.Add(process);
  ProcReader reader(root.path());
  EXPECT_EQ(reader.Read(100)->owner, "2000");
  root.Write("/etc/passwd", "bob:x:2000:2000::/:/bin/sh\n");
  EXPECT_EQ(reader.Read(100)->owner, "bob");
}

TEST(ChooseCgroupPath, PrefersTheUnifiedHierarchyUnlessItIsTheRoot) {
  EXPECT_EQ(ChooseCgroupPath("0::/system.slice/a.service\n"), "/system.slice/a.service");
  EXPECT_EQ(ChooseCgroupPath("12:memory:/docker/abc\n1:name=systemd:/docker/abc/d\n0::/\n"),
            "/docker/abc/d");
  EXPECT_EQ(ChooseCgroupPath("4:cpu:/very/long/path/of/v1\n0::/short\n"), "/short");
  EXPECT_EQ(ChooseCgroupPath("0::/a/b:c:d\n"), "/a/b:c:d");
  EXPECT_EQ(ChooseCgroupPath("0::/gone (deleted)\n"), "/gone");
  EXPECT_EQ(ChooseCgroupPath("garbage\n:\n"), "");
  EXPECT_EQ(ChooseCgroupPath(""), "");
}

TEST(Utf8, EveryMalformedByteIsReplacedAndTheCutIsBetweenCharacters) {
  EXPECT_EQ(ToUtf8("h\xc3\xa9llo"), "h\xc3\xa9llo");
  EXPECT_EQ(ToUtf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
  EXPECT_EQ(ToUtf8("\xf4\x90\x80\x80").size(), 12u) << "beyond U+10FFFF";
  EXPECT_EQ(ToUtf8("h\xc3\xa9", 2), "h");
  EXPECT_EQ(ToUtf8("\xff", 2), "");
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      std::string bytes{static_cast<char>(first), static_cast<char>(second), 'x'};
      EXPECT_TRUE(IsUtf8(ToUtf8(bytes)));
    }
  }
}

TEST(ProcReaderOnThisMachine, ReadsItself) {
  uint64_t boot = ReadClockNs(CLOCK_REALTIME) - ReadClockNs(CLOCK_BOOTTIME);
  ProcReader reader("/", boot);
  auto facts = reader.Read(static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->parent_pid, static_cast<uint32_t>(getppid()));
  EXPECT_NE(facts->executable.find("process_test"), std::string::npos);
  ASSERT_FALSE(facts->arguments.empty());
  char directory[4096];
  ASSERT_NE(getcwd(directory, sizeof(directory)), nullptr);
  EXPECT_EQ(facts->working_directory, directory);
  uint64_t now = RealtimeNs();
  EXPECT_LE(facts->start_unix_ns, now + reader.tick_ns());
  EXPECT_GT(facts->start_unix_ns + 3600ull * 1'000'000'000, now)
      << "the test began within the hour";
  EXPECT_EQ(facts->owner.empty(), false);
}

TEST(ProcReaderOnThisMachine, ZombieHasTimesButNoProgram) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  auto facts = ProcReader().Read(static_cast<uint32_t>(child));
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->executable, "");
  EXPECT_THAT(facts->arguments, IsEmpty());
  EXPECT_NE(facts->start_boot_ns, 0u);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(ProcReader().Read(static_cast<uint32_t>(child)));
}

}  // namespace
}  // namespace zerotap
