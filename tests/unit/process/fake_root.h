// A root directory with a fake /proc, for tests of what reads processes.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace zerotap {

struct FakeProcess {
  uint32_t pid = 100;
  uint32_t parent = 1;
  std::string executable = "/usr/bin/foo";
  std::vector<std::string> arguments = {"foo"};
  std::vector<std::string> environment;
  std::string directory = "/";
  std::string cgroup = "0::/user.slice\n";
  std::string comm = "foo";
  uint32_t uid = 0;
  uint64_t start_ticks = 5000;
};

class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = (std::filesystem::temp_directory_path() / "zerotap-root-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    Write("/proc/stat", "cpu 1 2 3\nintr 5\nbtime 1700000000\nprocesses 4\n");
    Write("/proc/sys/kernel/hostname", "node-1\n");
    Write("/proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n");
    Write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    Write("/etc/passwd",
          "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n");
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  const std::string& path() const { return path_; }

  void Write(const std::string& name, std::string_view text) const {
    std::filesystem::path path(path_ + name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  void Link(const std::string& name, const std::string& target) const {
    std::filesystem::path path(path_ + name);
    std::filesystem::create_directories(path.parent_path());
    std::filesystem::remove(path);
    std::filesystem::create_symlink(target, path);
  }
  void Remove(const std::string& name) const { std::filesystem::remove_all(path_ + name); }

  // Files of the process's own root go below this.
  static std::string RootOf(uint32_t pid) { return "/proc/" + std::to_string(pid) + "/root"; }

  void Add(const FakeProcess& process) const {
    std::string base = "/proc/" + std::to_string(process.pid);
    std::string stat =
        std::to_string(process.pid) + " (" + process.comm + ") S " + std::to_string(process.parent);
    for (int field = 5; field < 22; ++field) stat += " 7";
    stat += " " + std::to_string(process.start_ticks) + " 1000 200\n";
    Write(base + "/stat", stat);
    std::string uid = std::to_string(process.uid);
    Write(base + "/status", "Name:\tx\nUid:\t7\t" + uid + "\t7\t7\nGid:\t0\t0\t0\t0\n");
    Write(base + "/cgroup", process.cgroup);
    Write(base + "/cmdline", Joined(process.arguments));
    Write(base + "/environ", Joined(process.environment));
    Write(base + "/uid_map", "         0          0 4294967295\n");
    Link(base + "/exe", process.executable);
    Link(base + "/cwd", process.directory);
    std::filesystem::create_directories(path_ + base + "/root");
  }

  static std::string Joined(const std::vector<std::string>& texts) {
    std::string joined;
    for (const std::string& text : texts) joined.append(text).push_back('\0');
    return joined;
  }

 private:
  std::string path_;
};

}  // namespace zerotap
