#include "agent/process/process_table.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "agent/base/clock.h"
#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
const std::string kId(64, 'b');

std::unique_ptr<ProcessTable> Table(const FakeRoot& root,
                                    void (*change)(ProcessTableOptions&) = nullptr) {
  ProcessTableOptions options;
  options.root = root.path();
  if (change != nullptr) change(options);
  auto table = ProcessTable::Create(options);
  EXPECT_TRUE(table);
  return std::move(*table);
}

std::string NameOf(const std::optional<ProcessIdentity>& identity) {
  return identity && identity->resource ? identity->resource->service_name : "(none)";
}
std::string TextOf(const std::optional<ProcessIdentity>& identity, std::string_view key) {
  return identity && identity->resource ? std::string(identity->resource->attributes.FindText(key))
                                        : "(none)";
}

FakeProcess Python(uint32_t pid, const std::string& script) {
  FakeProcess process;
  process.pid = pid;
  process.executable = "/usr/bin/python3.11";
  process.arguments = {"python3", script};
  return process;
}

ProcessExec Exec(uint32_t pid, std::string_view filename, std::string_view arguments,
                 uint64_t start_boot_ns = 50 * kSecond) {
  ProcessExec exec;
  exec.tgid = pid;
  exec.parent_tgid = 1;
  exec.start_boot_ns = start_boot_ns;
  exec.filename = filename;
  exec.arguments = arguments;
  exec.comm = "comm";
  return exec;
}

TEST(ProcessTable, LivingProcessIsReadFromProc) {
  FakeRoot root;
  FakeProcess process = Python(100, "cart.py");
  process.cgroup = "0::/system.slice/docker-" + kId + ".scope\n";
  process.uid = 1000;
  root.Add(process);
  auto table = Table(root);
  auto identity = table->Resolve(100, 1);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->tgid, 100u);
  EXPECT_TRUE(identity->traced);
  EXPECT_EQ(NameOf(identity), "cart");
  EXPECT_EQ(TextOf(identity, "container.id"), kId);
  EXPECT_EQ(TextOf(identity, "host.name"), "node-1");
  EXPECT_EQ(table->Resolve(100, 2)->resource, identity->resource) << "the very same object";
  EXPECT_EQ(table->stats().resolved_live, 1u);
}

TEST(ProcessTable, UnknownProcessIsNothing) {
  FakeRoot root;
  auto table = Table(root);
  EXPECT_FALSE(table->Resolve(100, 1));
  EXPECT_FALSE(table->Resolve(0, 1));
  EXPECT_EQ(table->stats().unresolved, 1u);
  EXPECT_EQ(table->stats().entries, 0u);
}

TEST(ProcessTable, GoneProcessIsKnownByItsExecRecord) {
  FakeRoot root;
  auto table = Table(root);
  std::string arguments = FakeRoot::Joined({"/usr/bin/python3", "/srv/cart.py", "--token", "x"});
  table->OnExec(Exec(100, "/usr/bin/python3", arguments), 1);
  table->OnExit(100, 2);
  auto identity = table->Resolve(100, 3);
  EXPECT_EQ(NameOf(identity), "cart");
  EXPECT_EQ(TextOf(identity, "process.executable.path"), "/usr/bin/python3");
  EXPECT_EQ(TextOf(identity, "process.command"), "/usr/bin/python3 /srv/cart.py");
  EXPECT_EQ(TextOf(identity, "process.creation.time"), "2023-11-14T22:14:10.000Z");
  EXPECT_EQ(table->stats().resolved_gone, 1u);
}

TEST(ProcessTable, GoneScriptIsShownByItsInterpreter) {
  FakeRoot root;
  auto table = Table(root);
  std::string arguments = FakeRoot::Joined({"/usr/bin/python3", "-u", "/usr/local/bin/cartd", "x"});
  table->OnExec(Exec(100, "/usr/local/bin/cartd", arguments), 1);
  auto identity = table->Resolve(100, 3);
  EXPECT_EQ(NameOf(identity), "cartd");
  EXPECT_EQ(TextOf(identity, "process.executable.name"), "python3");
}

TEST(ProcessTable, GoneProcessThatBeganItselfAnewIsTheProgramBefore) {
  FakeRoot root;
  FakeProcess shell;
  shell.pid = 100;
  shell.executable = "/bin/busybox";
  shell.arguments = {"sh"};
  root.Add(shell);
  auto table = Table(root);
  // Its parent is there to be asked; is known; and it was itself another program meanwhile.
  const std::string wget = FakeRoot::Joined({"wget", "x"});
  ProcessExec again = Exec(101, "/proc/self/exe", wget);
  again.parent_tgid = 100;
  table->OnExec(again, 1);
  table->OnExit(101, 2);
  EXPECT_EQ(TextOf(table->Resolve(101, 3), "process.executable.path"), "/bin/busybox");
  table->OnFork(101, 102, 4);
  table->OnExec(Exec(102, "/usr/bin/runc", FakeRoot::Joined({"runc", "run"})), 5);
  table->OnExec(Exec(102, "/proc/102/exe", FakeRoot::Joined({"runc", "init"})), 6);
  EXPECT_EQ(TextOf(table->Resolve(102, 7), "process.executable.path"), "/usr/bin/runc");
  // Another's link, or a parent that is gone: the name as it was given.
  table->OnExec(Exec(103, "/proc/self/root/bin/exe", FakeRoot::Joined({"exe"})), 8);
  EXPECT_EQ(TextOf(table->Resolve(103, 9), "process.executable.path"), "/proc/self/root/bin/exe");
  again = Exec(104, "/proc/self/exe", wget);
  again.parent_tgid = 999;
  table->OnExec(again, 10);
  EXPECT_EQ(TextOf(table->Resolve(104, 11), "process.executable.path"), "/proc/self/exe");
}

TEST(ProcessTable, LivingProcessBeatsItsExecRecord) {
  FakeRoot root;
  auto table = Table(root);
  table->OnExec(Exec(100, "/usr/bin/foo", FakeRoot::Joined({"foo"})), 1);
  FakeProcess process = Python(100, "cart.py");
  process.environment = {"OTEL_SERVICE_NAME=basket"};
  root.Add(process);
  EXPECT_EQ(NameOf(table->Resolve(100, 3)), "basket");
}

TEST(ProcessTable, ShortProcessIsLookedAtWhenItBegins) {
  FakeRoot root;
  FakeProcess process = Python(100, "cart.py");
  process.environment = {"OTEL_SERVICE_NAME=basket"};
  root.Add(process);
  auto table = Table(root);
  EXPECT_FALSE(table->OnExec(Exec(100, "/usr/bin/python3", FakeRoot::Joined({"python3"})), 1));
  root.Remove("/proc/100");
  table->OnExit(100, 2);
  EXPECT_EQ(NameOf(table->Resolve(100, 3)), "basket");
  EXPECT_EQ(table->stats().resolved_early, 1u);
  EXPECT_TRUE(table->OnExec(Exec(100, "/bin/true", FakeRoot::Joined({"true"})), 4));
}

TEST(ProcessTable, ManyNewProcessesAreNotAllLookedAt) {
  FakeRoot root;
  FakeProcess process = Python(100, "cart.py");
  root.Add(process);
  auto table = Table(root);
  std::string arguments = FakeRoot::Joined({"python3"});
  for (int i = 0; i < 1000; ++i) table->OnExec(Exec(100, "/usr/bin/python3", arguments), kSecond);
  EXPECT_EQ(table->stats().resolved_early, 100u);
  for (int i = 0; i < 1000; ++i) {
    table->OnExec(Exec(100, "/usr/bin/python3", arguments), kSecond + kSecond / 2);
  }
  EXPECT_EQ(table->stats().resolved_early, 150u);
  EXPECT_EQ(NameOf(table->Resolve(100, 2 * kSecond)), "cart");
}

TEST(ProcessTable, GoneForkHasTheNameThatItsParentsFilesGive) {
  FakeRoot root;
  FakeProcess process;
  process.executable = "/usr/bin/node";
  process.arguments = {"node", "server.js"};
  process.directory = "/srv";
  root.Add(process);
  root.Write(FakeRoot::RootOf(100) + "/srv/package.json", R"({"name":"cart"})");
  auto table = Table(root);
  EXPECT_EQ(NameOf(table->Resolve(100, 1)), "cart");
  table->OnFork(100, 101, 2);
  EXPECT_EQ(NameOf(table->Resolve(101, 3)), "cart");
}

TEST(ProcessTable, ZombieTakesItsProgramFromTheExecRecord) {
  FakeRoot root;
  FakeProcess zombie = Python(100, "");
  zombie.arguments = {};
  root.Add(zombie);
  root.Remove("/proc/100/exe");
  auto table = Table(root);
  table->OnExec(Exec(100, "/usr/bin/curl", FakeRoot::Joined({"curl", "x"})), 1);
  EXPECT_EQ(NameOf(table->Resolve(100, 3)), "curl");
}

TEST(ProcessTable, ForkSharesWhatItsParentIs) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  auto table = Table(root);
  auto parent = table->Resolve(100, 1);
  table->OnFork(100, 101, 2);
  table->OnExit(101, 3);
  auto child = table->Resolve(101, 4);
  EXPECT_EQ(NameOf(child), "cart");
  EXPECT_EQ(child->resource->pid, 101u);
  EXPECT_NE(TextOf(child, "service.instance.id"), TextOf(parent, "service.instance.id"));
}

TEST(ProcessTable, ForkOfAParentNeverAskedForIsReadFromTheParent) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  auto table = Table(root);
  table->OnFork(100, 101, 2);
  EXPECT_EQ(NameOf(table->Resolve(101, 4)), "cart");
}

// sh -c '(cmd &)': nobody in between is left, and none of them became another program.
TEST(ProcessTable, ForkOfAForkThatEndedIsWhatTheirAncestorIs) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  auto table = Table(root);
  table->OnFork(100, 101, 2);
  table->OnFork(101, 102, 3);
  table->OnExit(101, 4);
  auto grandchild = table->Resolve(102, 5);
  EXPECT_EQ(NameOf(grandchild), "cart");
  EXPECT_EQ(grandchild->resource->pid, 102u);
}

TEST(ProcessTable, ForkOfAForkOfWhoBecameAnotherProgramIsUnknown) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  auto table = Table(root);
  table->OnFork(100, 101, 2);
  table->OnFork(101, 102, 3);
  table->OnExec(Exec(100, "/usr/bin/python3.11", FakeRoot::Joined({"python3", "cart.py"})), 4);
  table->OnExit(101, 5);
  EXPECT_FALSE(table->Resolve(102, 6));
}

TEST(ProcessTable, ForkOfAParentThatWasKnownBeforeItEnded) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  auto table = Table(root);
  table->OnFork(100, 101, 2);
  EXPECT_EQ(NameOf(table->Resolve(100, 3)), "cart");
  table->OnExit(100, 4);
  root.Remove("/proc/100");
  EXPECT_EQ(NameOf(table->Resolve(101, 5)), "cart");
}

TEST(ProcessTable, ParentThatBecameAnotherProgramSaysNothingOfItsChild) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  auto table = Table(root);
  table->OnFork(100, 101, 2);
  table->OnExec(Exec(100, "/usr/bin/python3.11", FakeRoot::Joined({"python3", "cart.py"})), 3);
  EXPECT_FALSE(table->Resolve(101, 4));
}

TEST(ProcessTable, ChainOfForksEndsInExec) {
  FakeRoot root;
  auto table = Table(root);
  table->OnExec(Exec(100, "/usr/sbin/nginx", FakeRoot::Joined({"nginx"})), 1);
  table->OnFork(100, 101, 2);
  table->OnFork(101, 102, 3);
  table->OnExec(Exec(101, "/usr/bin/curl", FakeRoot::Joined({"curl"})), 4);
  EXPECT_EQ(NameOf(table->Resolve(100, 5)), "nginx");
  EXPECT_EQ(NameOf(table->Resolve(101, 5)), "curl");
  EXPECT_EQ(NameOf(table->Resolve(102, 5)), "nginx");
}

TEST(ProcessTable, ExecMakesAnotherService) {
  FakeRoot root;
  FakeProcess process = Python(100, "cart.py");
  root.Add(process);
  auto table = Table(root);
  EXPECT_EQ(NameOf(table->Resolve(100, 1)), "cart");
  process.executable = "/usr/sbin/nginx";
  process.arguments = {"nginx"};
  root.Add(process);
  EXPECT_TRUE(table->OnExec(Exec(100, "/usr/sbin/nginx", FakeRoot::Joined({"nginx"})), 2));
  EXPECT_EQ(NameOf(table->Resolve(100, 3)), "nginx");
  EXPECT_FALSE(table->OnExec(Exec(200, "/bin/true", ""), 4)) << "nothing was given out for it";
}

TEST(ProcessTable, ReusedPidIsAnotherProcess) {
  FakeRoot root;
  FakeProcess process = Python(100, "cart.py");
  root.Add(process);
  auto table = Table(root);
  auto first = table->Resolve(100, 1);
  EXPECT_EQ(NameOf(first), "cart");
  // The exit and fork records were lost.
  process = Python(100, "pay.py");
  process.start_ticks = 9000;
  root.Add(process);
  auto second = table->Resolve(100, 2);
  EXPECT_EQ(NameOf(second), "pay");
  EXPECT_NE(TextOf(first, "service.instance.id"), TextOf(second, "service.instance.id"));
  EXPECT_EQ(table->stats().pids_reused, 1u);
}

TEST(ProcessTable, ReusedPidDoesNotTakeTheOldExecRecord) {
  FakeRoot root;
  auto table = Table(root);
  table->OnExec(Exec(100, "/usr/bin/curl", FakeRoot::Joined({"curl"}), 10 * kSecond), 1);
  FakeProcess zombie = Python(100, "");  // started at 50 s: not the curl that started at 10 s
  zombie.arguments = {};
  zombie.comm = "other";
  root.Add(zombie);
  root.Remove("/proc/100/exe");
  EXPECT_EQ(NameOf(table->Resolve(100, 2)), "other");
}

TEST(ProcessTable, ForkReusesAPidWithoutItsPast) {
  FakeRoot root;
  auto table = Table(root);
  table->OnExec(Exec(100, "/usr/bin/curl", FakeRoot::Joined({"curl"})), 1);
  EXPECT_EQ(NameOf(table->Resolve(100, 1)), "curl");
  table->OnExit(100, 2);
  EXPECT_TRUE(table->OnFork(7, 100, 3));
  EXPECT_FALSE(table->Resolve(100, 4)) << "nothing is known of pid 7 and its child";
}

TEST(ProcessTable, EndedProcessesAreKeptForLateEventsThenDropped) {
  FakeRoot root;
  FakeProcess process = Python(100, "cart.py");
  root.Add(process);
  auto table = Table(root);
  auto identity = table->Resolve(100, 1 * kSecond);
  table->OnExit(100, 2 * kSecond);
  root.Remove("/proc/100");
  EXPECT_EQ(table->Resolve(100, 31 * kSecond)->resource, identity->resource);
  table->Advance(32 * kSecond);
  EXPECT_EQ(table->stats().entries, 0u);
  EXPECT_FALSE(table->Resolve(100, 33 * kSecond));
}

TEST(ProcessTable, DroppingAnEndedProcessSparesItsSuccessor) {
  FakeRoot root;
  auto table = Table(root);
  table->OnExec(Exec(100, "/usr/bin/curl", FakeRoot::Joined({"curl"})), 1 * kSecond);
  table->OnExit(100, 2 * kSecond);
  table->OnExec(Exec(100, "/usr/bin/wget", FakeRoot::Joined({"wget"}), 60 * kSecond), 3 * kSecond);
  table->Advance(100 * kSecond);
  EXPECT_EQ(NameOf(table->Resolve(100, 101 * kSecond)), "wget");
}

TEST(ProcessTable, MemoryIsBounded) {
  FakeRoot root;
  auto table = Table(root, [](ProcessTableOptions& options) { options.capacity = 50; });
  for (uint32_t pid = 1; pid <= 5000; ++pid) {
    table->OnFork(1, 10'000 + pid, pid);
    table->OnExec(Exec(10'000 + pid, "/bin/true", FakeRoot::Joined({"true"})), pid);
    if (pid % 2 == 0) table->OnExit(10'000 + pid, pid);
  }
  EXPECT_LE(table->stats().entries, 50u);
  EXPECT_EQ(NameOf(table->Resolve(15'000, 5001)), "true") << "the latest are there";
  EXPECT_GT(table->stats().evicted, 0u);
}

TEST(ProcessTable, UsedEntriesAreEvictedLast) {
  FakeRoot root;
  auto table = Table(root, [](ProcessTableOptions& options) { options.capacity = 4; });
  table->OnExec(Exec(1000, "/usr/bin/curl", FakeRoot::Joined({"curl"})), 1);
  for (uint32_t pid = 1; pid <= 20; ++pid) {
    table->OnFork(1, pid, pid);
    EXPECT_EQ(NameOf(table->Resolve(1000, pid)), "curl");
  }
}

TEST(ProcessTable, WorkersOfMultiprocessingHaveTheirParentsName) {
  FakeRoot root;
  root.Add(Python(100, "/srv/cart.py"));
  FakeProcess worker = Python(101, "-c");
  worker.parent = 100;
  worker.arguments = {"python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()",
                      "--multiprocessing-fork"};
  root.Add(worker);
  auto table = Table(root);
  EXPECT_EQ(NameOf(table->Resolve(101, 1)), "cart");
  worker.pid = 102;
  worker.parent = 102;  // a loop must end
  root.Add(worker);
  EXPECT_EQ(NameOf(table->Resolve(102, 1)), "python");
  worker.pid = 103;
  worker.parent = 999;
  root.Add(worker);
  EXPECT_EQ(NameOf(table->Resolve(103, 1)), "python");
}

TEST(ProcessTable, ConfiguredNamesAndTargets) {
  FakeRoot root;
  root.Add(Python(100, "cart.py"));
  root.Add(Python(101, "pay.py"));
  root.Add(Python(102, "admin.py"));
  auto table = Table(root, [](ProcessTableOptions& options) {
    ServiceNameRule rule;
    rule.match.command_contains = "pay.py";
    rule.name = "payments";
    options.service_names.push_back(rule);
    ProcessRule select;
    select.executable = "python*";
    options.targets.select.push_back(select);
    ProcessRule exclude;
    exclude.service = "admin";
    options.targets.exclude.push_back(exclude);
  });
  EXPECT_EQ(NameOf(table->Resolve(100, 1)), "cart");
  EXPECT_EQ(NameOf(table->Resolve(101, 1)), "payments");
  auto admin = table->Resolve(102, 1);
  ASSERT_TRUE(admin);
  EXPECT_FALSE(admin->traced);
}

TEST(ProcessTable, BadRulesStopTheStart) {
  ProcessTableOptions options;
  options.targets.select.push_back({});
  EXPECT_FALSE(ProcessTable::Create(options));
  options.targets.select.clear();
  ServiceNameRule rule;
  rule.match.pid = 1;
  options.service_names.push_back(rule);
  EXPECT_FALSE(ProcessTable::Create(options)) << "no name";
  options.service_names[0].name = "x";
  options.service_names[0].match.service = "y";
  EXPECT_FALSE(ProcessTable::Create(options)) << "service asked for while naming it";
}

TEST(ProcessTable, ContainersAndPods) {
  FakeRoot root;
  FakeProcess web = Python(100, "main.py");
  web.cgroup = "0::/docker/" + kId + "\n";
  root.Add(web);
  root.Write("/var/lib/docker/containers/" + kId + "/config.v2.json", R"({"Name":"/shop-web-1"})");
  FakeProcess pod = Python(101, "main.py");
  pod.cgroup = "0::/kubepods.slice/cri-containerd-" + std::string(64, 'c') + ".scope\n";
  pod.environment = {"HOSTNAME=checkout-7d9f8b6c5d-x2x4z", "KUBERNETES_SERVICE_HOST=10.0.0.1"};
  root.Add(pod);
  auto table = Table(root);
  EXPECT_EQ(NameOf(table->Resolve(100, 1)), "shop-web-1");
  EXPECT_EQ(TextOf(table->Resolve(100, 1), "container.name"), "shop-web-1");
  EXPECT_EQ(NameOf(table->Resolve(101, 1)), "checkout");
}

TEST(ProcessTable, HostileRecordsDoNoHarm) {
  FakeRoot root;
  auto table = Table(root);
  std::string bytes;
  for (int i = 0; i < 4096; ++i) bytes.push_back(static_cast<char>(i * 37));
  table->OnExec(Exec(100, bytes, bytes), 1);
  table->OnFork(100, 100, 2);
  table->OnExec(Exec(0, "", ""), 3);
  table->OnExit(0, 4);
  table->OnExit(12345, 4);
  table->OnExec(Exec(101, "", ""), 5);
  EXPECT_NE(NameOf(table->Resolve(101, 6)), "");
  table->Resolve(100, 6);
  table->Advance(0);
  EXPECT_LE(table->stats().entries, 3u);
}

// docker run --rm curl: at the time of its first span both the process and its cgroup are gone.
TEST(ProcessTableOnThisMachine, ContainerOfAProcessThatIsGoneWithItsCgroup) {
  std::string mount;
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs info{};
    if (statfs(place, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC) mount = place;
  }
  std::string cgroup = mount + "/docker-" + kId + ".scope";
  if (mount.empty() || mkdir(cgroup.c_str(), 0755) != 0) GTEST_SKIP() << "needs root and cgroup2";
  struct stat info{};
  EXPECT_EQ(stat(cgroup.c_str(), &info), 0);
  auto table = ProcessTable::Create({});
  ASSERT_TRUE(table);
  constexpr uint32_t kNoSuchPid = 0x7ffffff0;
  std::string arguments = FakeRoot::Joined({"curl", "x"});
  ProcessExec exec = Exec(kNoSuchPid, "/usr/bin/curl", arguments);
  exec.cgroup_id = info.st_ino;
  (*table)->OnExec(exec, 1);
  (*table)->OnExit(kNoSuchPid, 2);
  EXPECT_EQ(rmdir(cgroup.c_str()), 0);
  auto identity = (*table)->Resolve(kNoSuchPid, 3);
  EXPECT_EQ(NameOf(identity), "curl");
  EXPECT_EQ(TextOf(identity, "container.id"), kId);
}

TEST(ProcessTableOnThisMachine, ResolvesItselfQuickly) {
  ProcessTableOptions options;
  options.boot_unix_ns = ReadClockNs(CLOCK_REALTIME) - ReadClockNs(CLOCK_BOOTTIME);
  options.early_reads_per_second = 0;
  auto table = ProcessTable::Create(options);
  ASSERT_TRUE(table);
  auto self = static_cast<uint32_t>(getpid());
  uint64_t start = MonotonicNs();
  auto identity = (*table)->Resolve(self, start);
  uint64_t took = MonotonicNs() - start;
  RecordProperty("resolve_ns", std::to_string(took));
  ASSERT_TRUE(identity);
  EXPECT_EQ(TextOf(identity, "process.executable.name"), "process_test");
  EXPECT_EQ(TextOf(identity, "telemetry.sdk.language"), "cpp");
  EXPECT_LT(took, 50'000'000u) << "far above what it takes, and below what would be felt";
  std::vector<uint64_t> times;
  for (int i = 0; i < 50; ++i) {
    (*table)->OnExec(Exec(self, "/x", ""), 1);
    start = MonotonicNs();
    (*table)->Resolve(self, start);
    times.push_back(MonotonicNs() - start);
  }
  std::sort(times.begin(), times.end());
  std::printf("[          ] Resolve: first %llu us, median %llu us\n",
              static_cast<unsigned long long>(took / 1000),
              static_cast<unsigned long long>(times[25] / 1000));
}

}  // namespace
}  // namespace zerotap
