// What makes a host odd, for the guests of tests/kernels.
//
// usage: odd_host without sys_admin|sys_resource COMMAND...   runs it without that capability
//        odd_host bystander                                   a BPF program of somebody else on the
//                                                             hooks that zerotap uses, until SIGTERM
//        odd_host other_types IN OUT                          IN's BTF with one name spelt otherwise
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "odd_host: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

int Without(const std::string& capability, char** command) {
  const int number = capability == "sys_admin" ? CAP_SYS_ADMIN : CAP_SYS_RESOURCE;
  if (capability != "sys_admin" && capability != "sys_resource") Die(capability);
  if (::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0) Die("PR_CAPBSET_DROP");
  ::execv(command[0], command);
  Die(command[0]);
}

// 0 when this kernel does not have the tracepoint.
long EventNumber(const std::string& name) {
  FILE* file = std::fopen(("/sys/kernel/tracing/events/" + name + "/id").c_str(), "r");
  if (file == nullptr) return 0;
  char text[32] = {};
  const bool read = std::fgets(text, sizeof(text), file) != nullptr;
  std::fclose(file);
  return read ? std::strtol(text, nullptr, 10) : 0;
}

void Attach(int program, long event_number) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.size = sizeof(attributes);
  attributes.config = static_cast<unsigned long long>(event_number);
  const int event = static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
  if (event < 0) Die("perf_event_open");
  if (::ioctl(event, PERF_EVENT_IOC_SET_BPF, program) != 0) Die("PERF_EVENT_IOC_SET_BPF");
  if (::ioctl(event, PERF_EVENT_IOC_ENABLE, 0) != 0) Die("PERF_EVENT_IOC_ENABLE");
}

int Bystander() {
  // r0 = 1; exit
  const bpf_insn instructions[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1},
                                   {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const int program =
      bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, "bystander", "GPL", instructions, 2, nullptr);
  if (program < 0) Die("bpf_prog_load");
  int attached = 0;
  for (const char* name : {"raw_syscalls/sys_exit", "sock/sock_send_length",
                           "sock/sock_recv_length", "sock/inet_sock_set_state"}) {
    const long number = EventNumber(name);
    if (number == 0) continue;
    Attach(program, number);
    ++attached;
  }
  if (attached < 2) Die("tracepoints");
  std::printf("attached to %d tracepoints\n", attached);
  std::fflush(stdout);
  while (true) ::pause();
}

// As if it were of another kernel: the names are the last thing in the file.
int OtherTypes(const char* in, const char* out) {
  std::ifstream from(in, std::ios::binary);
  std::string types((std::istreambuf_iterator<char>(from)), std::istreambuf_iterator<char>());
  size_t at = types.size();
  while (at > 0 && types[at - 1] == '\0') --at;
  if (at == 0) Die(in);
  types[at - 1] = types[at - 1] == 'x' ? 'y' : 'x';
  std::ofstream to(out, std::ios::binary);
  to << types;
  to.close();
  return to ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 4 && std::strcmp(argv[1], "without") == 0) return Without(argv[2], argv + 3);
  if (argc == 2 && std::strcmp(argv[1], "bystander") == 0) return Bystander();
  if (argc == 4 && std::strcmp(argv[1], "other_types") == 0) return OtherTypes(argv[2], argv[3]);
  std::fprintf(stderr, "usage: odd_host without CAPABILITY COMMAND... | odd_host bystander | "
               "odd_host other_types IN OUT\n");
  return 2;
}
