#include "agent/process/container_id.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <string>

#include "agent/process/container_names.h"
#include "agent/process/service_name.h"
#include "tests/unit/process/fake_root.h"

namespace zerotap {
namespace {

const std::string kId = "3f4e8d1c2b5a69788796a5b4c3d2e1f00123456789abcdef0123456789abcdef";
const std::string kOther = "aaaabbbbccccdddd0000111122223333aaaabbbbccccdddd0000111122223333";
const std::string kPod = "2f9a1b3c_8d7e_4f60_9a1b_3c8d7e4f6091";

struct CgroupCase {
  const char* situation;
  std::string path;
  std::string container;
  std::string unit;
};

TEST(Cgroup, ContainerAndUnitOfEveryRuntime) {
  const CgroupCase cases[] = {
      {"docker, cgroupfs driver", "/docker/" + kId, kId, ""},
      {"docker, systemd driver", "/system.slice/docker-" + kId + ".scope", kId, ""},
      {"docker, rootless",
       "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + kId + ".scope", kId,
       ""},
      {"docker in docker: the inner one", "/docker/" + kOther + "/docker/" + kId, kId, ""},
      {"docker with a custom parent", "/shop.slice/docker-" + kId + ".scope", kId, ""},
      {"systemd inside a container", "/docker/" + kId + "/system.slice/nginx.service", kId,
       "nginx.service"},
      {"init scope inside a container", "/system.slice/docker-" + kId + ".scope/init.scope", kId,
       ""},
      {"containerd in Kubernetes, systemd driver",
       "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + kPod +
           ".slice/cri-containerd-" + kId + ".scope",
       kId, ""},
      {"containerd in Kubernetes, cgroupfs driver",
       "/kubepods/burstable/pod2f9a1b3c-8d7e-4f60-9a1b-3c8d7e4f6091/" + kId, kId, ""},
      {"containerd in Kubernetes, guaranteed",
       "/kubepods/pod2f9a1b3c-8d7e-4f60-9a1b-3c8d7e4f6091/" + kId, kId, ""},
      {"containerd with the colon form",
       "/system.slice/containerd.service/kubepods-besteffort-pod" + kPod +
           ".slice:cri-containerd:" + kId,
       kId, ""},
      {"kind: a node in docker",
       "/docker/" + kOther + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + kPod +
           ".slice/cri-containerd-" + kId + ".scope",
       kId, ""},
      {"cri-o, systemd driver",
       "/kubepods.slice/kubepods-pod" + kPod + ".slice/crio-" + kId + ".scope", kId, ""},
      {"cri-o, with container subgroup",
       "/kubepods.slice/kubepods-pod" + kPod + ".slice/crio-" + kId + ".scope/container", kId, ""},
      {"cri-o, cgroupfs driver", "/kubepods/besteffort/pod2f9a1b3c/crio-" + kId, kId, ""},
      {"cri-o's monitor is outside", "/kubepods.slice/crio-conmon-" + kId + ".scope", "", ""},
      {"docker under cri", "/kubepods/burstable/pod1/docker-" + kId, kId, ""},
      {"podman, root", "/machine.slice/libpod-" + kId + ".scope", kId, ""},
      {"podman, with container subgroup", "/machine.slice/libpod-" + kId + ".scope/container", kId,
       ""},
      {"podman, rootless",
       "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + kId +
           ".scope/container",
       kId, ""},
      {"podman's monitor is outside", "/machine.slice/libpod-conmon-" + kId + ".scope", "", ""},
      {"podman, cgroupfs", "/libpod_parent/libpod-" + kId, kId, ""},
      {"podman, quadlet", "/system.slice/shop.service/libpod-payload-" + kId, kId, "shop.service"},
      {"ECS on EC2", "/ecs/0123456789abcdef0123456789abcdef/" + kId, kId, ""},
      {"ECS on Fargate",
       "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-2532581753",
       "0123456789abcdef0123456789abcdef-2532581753", ""},
      {"Garden", "/system.slice/garden.service/garden/6f265890-5165-7fab-6b52-18d1",
       "6f265890-5165-7fab-6b52-18d1", ""},
      {"from inside another cgroup namespace", "/../../docker-" + kId + ".scope", kId, ""},
      {"systemd service", "/system.slice/nginx.service", "", "nginx.service"},
      {"service with subgroups", "/system.slice/shop.service/worker/3", "", "shop.service"},
      {"template unit", "/system.slice/system-postgresql.slice/postgresql@15-main.service", "",
       "postgresql@15-main.service"},
      {"escaped unit", "/system.slice/my\\x2dshop.service", "", "my-shop.service"},
      {"user unit", "/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service", "",
       "shop.service"},
      {"user manager", "/user.slice/user-1000.slice/user@1000.service/init.scope", "",
       "user@1000.service"},
      {"session", "/user.slice/user-1000.slice/session-3.scope", "", ""},
      {"root", "/", "", ""},
      {"nothing", "", "", ""},
      {"only a suffix", "/.service", "", ""},
      {"63 digits are no id", "/docker/" + kId.substr(1), "", ""},
      {"65 digits are no id", "/docker/a" + kId, "", ""},
      {"upper case is no id", "/docker/" + std::string(64, 'A'), "", ""},
      {"a bad escape stays", "/system.slice/a\\x2.service", "", "a\\x2.service"},
      {"an escape of bytes that are no text", "/system.slice/a\\xff.service", "",
       "a\xef\xbf\xbd.service"},
  };
  for (const CgroupCase& c : cases) {
    EXPECT_EQ(ContainerIdFromCgroup(c.path), c.container) << c.situation;
    EXPECT_EQ(SystemdUnitFromCgroup(c.path), c.unit) << c.situation;
  }
}

TEST(ServiceFromUnit, NamesServicesOnly) {
  const std::pair<const char*, const char*> cases[] = {
      {"nginx.service", "nginx"},
      {"my-shop.service", "my-shop"},
      {"postgresql@15-main.service", "postgresql"},
      {"postgresql-15.service", "postgresql"},
      {"postgresql.service", "postgresql"},
      {"postgresql-exporter.service", "postgresql-exporter"},
      {"app@8080.service", "app"},
      {"gunicorn@shop.service", "shop"},
      {"docker-compose@shop.service", "shop"},
      {"php8.2-fpm.service", "php8.2-fpm"},
      {"redis-server.service", "redis-server"},
      {"user@1000.service", ""},
      {"getty@tty1.service", ""},
      {"cron.service", ""},
      {"ssh.service", ""},
      {"ssh@3-10.0.0.1:22-10.0.0.2:5.service", ""},
      {"docker.service", ""},
      {"containerd.service", ""},
      {"systemd-journald.service", ""},
      {"pm2-root.service", ""},
      {"run-u12.service", ""},
      {"run-r0123456789abcdef.service", ""},
      {"run-shop.service", "run-shop"},
      {"supervisor.service", ""},
      {"init.scope", ""},
      {"session-1.scope", ""},
      {"", ""},
  };
  for (const auto& [unit, service] : cases) EXPECT_EQ(ServiceFromUnit(unit), service) << unit;
}

TEST(ContainerNames, ComeFromDockersRecords) {
  FakeRoot root;
  root.Write(
      "/var/lib/docker/containers/" + kId + "/config.v2.json",
      R"({"ID":"x","State":{"Health":{"Log":[{"a":1}]}},"Name":"/shop-web-1","Config":{"Labels":
             {"com.docker.compose.service":"web","com.docker.compose.project":"shop"}}})");
  root.Write("/var/lib/docker/containers/" + kOther + "/config.v2.json", R"({"Name":"/cart"})");
  ContainerNames names(root.path(), 2);
  EXPECT_EQ(names.Find(kId).name, "shop-web-1");
  EXPECT_EQ(names.Find(kId).compose_service, "web");
  EXPECT_EQ(names.Find(kId).compose_project, "shop");
  EXPECT_EQ(names.Find(kOther).name, "cart");
  EXPECT_EQ(names.Find(kOther).compose_service, "");
  EXPECT_EQ(names.Find("unknown").name, "");
  EXPECT_EQ(names.Find("").name, "");
  EXPECT_EQ(names.Find(kId).name, "shop-web-1") << "read again after it had to make room";
}

TEST(ContainerNames, BadRecordsGiveNoName) {
  for (const char* text : {"", "{", "[]", "7", "{\"Name\":7}", "{\"Name\":\"/\"}",
                           "{\"Config\":[]}", "{\"Config\":{\"Labels\":3}}", "\xff\xfe"}) {
    FakeRoot root;
    root.Write("/var/lib/docker/containers/" + kId + "/config.v2.json", text);
    EXPECT_EQ(ContainerNames(root.path()).Find(kId).name, "") << text;
  }
  FakeRoot deep;
  deep.Write("/var/lib/docker/containers/" + kId + "/config.v2.json", std::string(200'000, '['));
  EXPECT_EQ(ContainerNames(deep.path()).Find(kId).name, "");
}

TEST(WorkloadFromPodName, UndoesTheNamesOfControllers) {
  const std::pair<const char*, const char*> cases[] = {
      {"checkout-7d9f8b6c5d-x2x4z", "checkout"},
      {"shop-web-6b8f9c7d54-zk9wq", "shop-web"},
      {"db-0", "db"},
      {"db-12", "db"},
      {"agent-x2x4z", "agent"},
      {"checkout", ""},
      {"checkout-hello", ""},  // vowels are never generated
      {"3f4e8d1c2b5a", ""},
      {"-0", ""},
      {"", ""},
  };
  for (const auto& [pod, workload] : cases) {
    ProcessFacts facts;
    facts.environment = {"KUBERNETES_SERVICE_HOST=10.0.0.1", std::string("HOSTNAME=") + pod};
    EXPECT_EQ(WorkloadFromPodName(facts, "node-1"), workload) << pod;
    EXPECT_EQ(WorkloadFromPodName(facts, pod), "") << "a pod on the host's network: " << pod;
    facts.environment.erase(facts.environment.begin());
    EXPECT_EQ(WorkloadFromPodName(facts, "node-1"), "") << "in no pod: " << pod;
  }
}

TEST(CgroupPathsOnThisMachine, FindsACgroupByItsIdAlsoAfterItIsGone) {
  std::string mount;
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs info{};
    if (statfs(place, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC) mount = place;
  }
  std::string name = "/zerotap-process-test-" + std::to_string(getpid());
  if (mount.empty() || mkdir((mount + name).c_str(), 0755) != 0) {
    GTEST_SKIP() << "needs root and cgroup2";
  }
  struct stat info{};
  ASSERT_EQ(stat((mount + name).c_str(), &info), 0);
  CgroupPaths paths("", 2);
  EXPECT_EQ(paths.Find(info.st_ino), name);
  ASSERT_EQ(rmdir((mount + name).c_str()), 0);
  EXPECT_EQ(paths.Find(info.st_ino), name) << "remembered";
  EXPECT_EQ(CgroupPaths("").Find(info.st_ino), "") << "gone, and never seen";
  struct stat top{};
  ASSERT_EQ(stat(mount.c_str(), &top), 0);
  EXPECT_EQ(paths.Find(top.st_ino), "/");
  EXPECT_EQ(paths.Find(0), "");
  EXPECT_LE(paths.size(), 2u);
}

}  // namespace
}  // namespace zerotap
