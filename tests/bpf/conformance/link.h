// The workload's side of the truth: connections of our own, and a list of every transfer that was
// made at each end.
//
// The bytes of a stream are a function of the stream and the position, so that a captured byte can
// come from one place only: not from another connection, another direction or a few bytes further
// on.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/unique_fd.h"
#include "bpf/abi/event.h"

namespace zerotap::conformance {

enum class Family : uint8_t { kTcp4 = 1, kTcp6 = 2, kUnix = 4 };
const char* Name(Family family);
inline bool IsTcp(Family family) { return family != Family::kUnix; }

std::string Pattern(uint64_t stream, uint64_t position, size_t size);

// How the agent is expected to see a transfer.
enum class Sight : uint8_t {
  kBytes,
  kLength,
  kUnseen,
  kAside,  // the program got them outside of the stream, in which they have a place all the same
};

// Of a call up to so many bytes are captured whatever its form.
constexpr size_t kSurelyCaptured = 32768;

// What there is to say of a transfer beside its length.
struct Note {
  Sight sight = Sight::kBytes;
  uint8_t flags = 0;                // ZT_DATA_*
  uint8_t either = 0;               // ZT_DATA_* that may be said or not
  bool split = false;               // may be told of in several records
  size_t least = kSurelyCaptured;   // captured at least, if the transfer is as long
  bool any_tid = false;             // a thread of the kernel's may do it
  pid_t tgid = 0, tid = 0;          // 0: the calling thread
};

struct Transfer {
  zt_direction direction;
  uint64_t position;
  uint64_t length;
  Note note;
};

// One end of a connection.
struct End {
  UniqueFd fd;
  bool client = false;
  const End* peer = nullptr;
  uint64_t stream[2] = {};    // by zt_direction: what its bytes are made of
  uint64_t position[2] = {};  // by zt_direction
  uint64_t start[2] = {};     // where the streams stood when the agent came
  std::vector<Transfer> transfers;

  // As getsockname and getpeername say, as fstat says; kept for when the socket is gone.
  uint64_t inode = 0;
  uint64_t peer_inode = 0;
  uint8_t told_family = 0;  // enum zt_socket_family
  uint16_t local_port = 0, remote_port = 0;
  std::array<uint8_t, ZT_ADDRESS_SIZE> local_address{}, remote_address{};
  pid_t tgid = 0, tid = 0;  // of who opened it
  int close_error = 0;      // what the closed record should say; -1: anything

  bool HadTraffic() const { return start[0] != 0 || start[1] != 0; }
  std::string ToSend(size_t size) const { return Pattern(stream[0], position[0], size); }
  // Write down what a call did, and give its result back.
  ssize_t Sent(ssize_t result, const Note& note = {}) {
    return Moved(ZT_DIRECTION_EGRESS, result, note);
  }
  // `bytes` may be null where the program does not get them.
  ssize_t Received(ssize_t result, const void* bytes, const Note& note = {});
  void ReceivedEnd(const Note& note = {});
  void Peeked(ssize_t result, const Note& note = {});

  // The plain ways, for where the way does not matter.
  ssize_t Send(size_t size);
  // Everything, in as many calls as it takes.
  bool Receive(size_t size);

  bool wrong_bytes = false;  // the program itself received something else: nothing can be judged

 private:
  ssize_t Moved(zt_direction direction, ssize_t result, Note note);
};

struct Link {
  Family family = Family::kTcp4;
  End client, server;
  std::string path;       // AF_UNIX: as the agent tells it
  bool listened = true;   // false: a socketpair
  bool seeded = false;    // existed before the agent
  bool concurrent = false;   // its ends are used at the same time
  bool judge_close = true;
  bool peer_may_go = false;  // an end may be closed before the other's first record is written

  End& Of(bool client_end) { return client_end ? client : server; }
};

struct Listener {
  Family family;
  UniqueFd fd;
  sockaddr_storage address{};
  socklen_t size = 0;
  std::string path;
};

Listener Listen(Family family, int backlog = 64);
UniqueFd Socket(Family family, int flags = 0);
bool ConnectTo(const UniqueFd& fd, const Listener& listener);
// Fills in what is known of both ends once they are connected.
void Describe(Link& link);
// The same when the server's end is in another process.
void DescribeFromClient(Link& link, uint64_t server_inode);
void Connect(Link& link, const Listener& listener);
void Connect(Link& link);
void ConnectPair(Link& link);

void SetNonBlocking(const UniqueFd& fd, bool on = true);
pid_t ThreadId();

// A failure of the workload, not of the agent: says where and ends the program.
[[noreturn]] void Die(const std::string& what);
void Must(bool good, const char* what);

}  // namespace zerotap::conformance
