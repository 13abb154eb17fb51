// 32-bit system calls from a 64-bit process (int 0x80): other numbers, other structures. Lengths at
// most are told, and a number that means something else for 64-bit callers is never read as that.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstring>

#include "tests/bpf/conformance/row.h"

namespace zerotap::conformance {
namespace {

#if defined(__x86_64__)

constexpr int kRead = 3;
constexpr int kWrite = 4;
constexpr int kGetpid = 20;      // writev of a 64-bit caller
constexpr int kBrk = 45;         // recvfrom
constexpr int kFcntl = 55;       // getsockopt
constexpr int kSocketCall = 102;
constexpr int kGetsockopt = 365;
constexpr int kSendto = 369;
constexpr int kRecvfrom = 371;
constexpr uint32_t kSocketCallSend = 9;
constexpr uint32_t kSocketCallRecv = 10;
constexpr uint32_t kSocketCallGetsockopt = 15;

// The registers that 64-bit calls use hold `trap`, a call that would make sense, and that of the
// first 32-bit argument a socket.
struct Trap {
  uint64_t rdi = 0, rsi = 0, rdx = 0, rbx = 0;
};

int Call32(int number, uint32_t a, uint32_t b = 0, uint32_t c = 0, uint32_t d = 0,
           uint32_t s = 0) {
  int result;
  asm volatile("int $0x80"
               : "=a"(result)
               : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(s)
               : "memory", "cc", "r8", "r9", "r10", "r11");
  return result;
}

int Trapped(int number, const Trap& trap) {
  int result;
  asm volatile("int $0x80"
               : "=a"(result)
               : "a"(number), "b"(trap.rbx), "c"(0), "D"(trap.rdi), "S"(trap.rsi), "d"(trap.rdx)
               : "memory", "cc", "r8", "r9", "r10", "r11");
  return result;
}

bool Exists() {
  pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    ::_exit(Call32(kGetpid, 0) == ::getpid() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0;
}

// Memory that 32 bits can name.
class LowMemory {
 public:
  LowMemory() {
    void* place = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    Must(place != MAP_FAILED, "mmap below 4 GiB");
    bytes_ = static_cast<char*>(place);
  }
  ~LowMemory() { ::munmap(bytes_, kSize); }
  char* bytes() const { return bytes_; }
  uint32_t address(size_t offset = 0) const {
    return static_cast<uint32_t>(reinterpret_cast<uint64_t>(bytes_ + offset));
  }

 private:
  static constexpr size_t kSize = 8192;
  char* bytes_;
};

uint32_t Descriptor(const End& end) { return static_cast<uint32_t>(end.fd.get()); }

int SocketCall(LowMemory& memory, uint32_t call, const End& end, uint32_t size) {
  uint32_t arguments[4] = {Descriptor(end), memory.address(), size, 0};
  std::memcpy(memory.bytes() + 4096, arguments, sizeof(arguments));
  return Call32(kSocketCall, call, memory.address(4096));
}

void Calls(Row& row) {
  if (!Exists()) {
    row.Absent("no 32-bit system calls (int 0x80 is a SIGSEGV)");
    return;
  }
  Link& link = row.Connect();
  LowMemory memory;
  Note note{.sight = row.SightOf(Sight::kLength)};
  auto send = [&](auto call) {
    std::string bytes = link.client.ToSend(100);
    std::memcpy(memory.bytes(), bytes.data(), bytes.size());
    row.Expect(link.client.Sent(call(), note) == 100, "a 32-bit send failed");
  };
  auto receive = [&](auto call) {
    std::memset(memory.bytes(), 0, 100);
    ssize_t got = call();
    row.Expect(got == 100, "a 32-bit receive failed");
    link.server.Received(got, memory.bytes(), note);
  };
  uint32_t at = memory.address();
  send([&] { return Call32(kWrite, Descriptor(link.client), at, 100); });
  receive([&] { return Call32(kRead, Descriptor(link.server), at, 100); });
  send([&] { return SocketCall(memory, kSocketCallSend, link.client, 100); });
  receive([&] { return SocketCall(memory, kSocketCallRecv, link.server, 100); });
  send([&] { return Call32(kSendto, Descriptor(link.client), at, 100); });
  receive([&] { return Call32(kRecvfrom, Descriptor(link.server), at, 100); });
  link.client.Send(50);
  Must(link.server.Receive(50), "read");
}

void Misread(Row& row) {
  if (!Exists()) {
    row.Absent("no 32-bit system calls (int 0x80 is a SIGSEGV)");
    return;
  }
  Link& link = row.Connect();
  link.client.Send(50);
  Must(link.server.Receive(50), "read");
  std::string bytes = link.client.ToSend(64);
  Trap reading{Descriptor(link.server), reinterpret_cast<uint64_t>(bytes.data()), 64,
               Descriptor(link.server)};
  iovec segment{bytes.data(), bytes.size()};
  Trap writing{Descriptor(link.client), reinterpret_cast<uint64_t>(&segment), 1,
               Descriptor(link.client)};
  row.Expect(Trapped(kBrk, reading) != 0, "brk");
  row.Expect(Trapped(kGetpid, writing) == ::getpid(), "getpid");
  row.Expect(Call32(kFcntl, Descriptor(link.server), F_GETFL) == O_RDWR, "fcntl");
  link.client.Send(50);
  Must(link.server.Receive(50), "read");
}

void ZerocopyReceive(Row& row) {
  if (!Exists()) {
    row.Absent("no 32-bit system calls (int 0x80 is a SIGSEGV)");
    return;
  }
  Link& link = row.Connect();
  link.client.Send(50);
  Must(link.server.Receive(50), "read");
  // The kernel wants to know a place for pages, though there are none.
  void* window = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, link.server.fd.get(), 0);
  if (window == MAP_FAILED) {
    row.Absent("no mmap of a TCP socket");
    return;
  }
  LowMemory memory;
  constexpr uint32_t kOption = 35;  // TCP_ZEROCOPY_RECEIVE
  constexpr uint32_t kAnswer = 4096, kSize = 4200, kArguments = 4300;
  constexpr uint32_t kCopied = 8;   // where in the structure it is, in words
  for (bool multiplexed : {false, true}) {
    link.client.Send(100);
    uint32_t answer[10] = {};
    uint64_t places[2] = {reinterpret_cast<uint64_t>(window), memory.address()};
    std::memcpy(&answer[0], &places[0], sizeof(places[0]));
    answer[2] = 4096;
    std::memcpy(&answer[6], &places[1], sizeof(places[1]));
    answer[kCopied] = 1000;
    uint32_t size = sizeof(answer);
    std::memcpy(memory.bytes() + kAnswer, answer, sizeof(answer));
    std::memcpy(memory.bytes() + kSize, &size, sizeof(size));
    uint32_t arguments[5] = {Descriptor(link.server), IPPROTO_TCP, kOption,
                             memory.address(kAnswer), memory.address(kSize)};
    std::memcpy(memory.bytes() + kArguments, arguments, sizeof(arguments));
    int result = multiplexed
                     ? Call32(kSocketCall, kSocketCallGetsockopt, memory.address(kArguments))
                     : Call32(kGetsockopt, arguments[0], arguments[1], arguments[2], arguments[3],
                              arguments[4]);
    row.Expect(result == 0, "a 32-bit getsockopt failed");
    std::memcpy(answer, memory.bytes() + kAnswer, sizeof(answer));
    std::memcpy(&size, memory.bytes() + kSize, sizeof(size));
    if (size < sizeof(answer)) {
      ::munmap(window, 4096);
      row.Absent("TCP_ZEROCOPY_RECEIVE has no copy buffer before 5.11");
      return;
    }
    row.Expect(answer[kCopied] == 100, "a 32-bit getsockopt did not copy");
    link.server.Received(answer[kCopied], memory.bytes(),
                         {.sight = row.SightOf(Sight::kBytes), .flags = ZT_DATA_NONBLOCKING});
    link.client.Send(20);
    Must(link.server.Receive(20), "read");
  }
  ::munmap(window, 4096);
}

#else

void ZerocopyReceive(Row& row) { row.Absent("another way on this architecture"); }
void Calls(Row& row) { row.Absent("another way on this architecture"); }
void Misread(Row& row) { row.Absent("another way on this architecture"); }

#endif

}  // namespace

std::vector<Variant> CompatVariants() {
  return {
      {"compat_calls", kAll, Calls},
      {"compat_misread", kAll, Misread},
      {"compat_zerocopy_receive", kTcp, ZerocopyReceive},
  };
}

}  // namespace zerotap::conformance
