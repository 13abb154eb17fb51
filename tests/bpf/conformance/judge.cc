#include "tests/bpf/conformance/judge.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace zerotap::conformance {
namespace {

constexpr size_t kMaxProblems = 4;

std::string Text(uint64_t value) { return std::to_string(value); }
const char* SideOf(const End& end) { return end.client ? "client" : "server"; }
const char* WayOf(uint8_t direction) {
  return direction == ZT_DIRECTION_EGRESS ? "egress" : "ingress";
}

// Compares values and says what differs.
class Comparison {
 public:
  Comparison(Findings& findings, std::string where)
      : findings_(findings), where_(std::move(where)) {}
  template <typename T, typename U>
  void Equal(const char* what, T seen, U right) {
    if (static_cast<uint64_t>(seen) == static_cast<uint64_t>(right)) return;
    findings_.Problem(where_ + ": " + what + " is " + Text(static_cast<uint64_t>(seen)) +
                      ", not " + Text(static_cast<uint64_t>(right)));
  }
  void True(bool good, const std::string& what) {
    if (!good) findings_.Problem(where_ + ": " + what);
  }

 private:
  Findings& findings_;
  std::string where_;
};

bool IsSeen(const Transfer& transfer) {
  return transfer.note.sight == Sight::kBytes || transfer.note.sight == Sight::kLength;
}

const Transfer* FirstSeen(const End& end) {
  for (const Transfer& transfer : end.transfers) {
    if (IsSeen(transfer)) return &transfer;
  }
  return nullptr;
}

uint8_t RightRole(const Link& link, const End& end) {
  if (!link.listened) return ZT_ROLE_UNKNOWN;
  return end.client ? ZT_ROLE_CLIENT : ZT_ROLE_SERVER;
}

void JudgeOpener(const Link& link, const End& end, const zt_connection_opened_event& opened,
                 Comparison& compare) {
  if (link.seeded) {
    compare.Equal("opener's tgid", opened.tgid, end.tgid);
  } else if (IsTcp(link.family)) {
    // Who will accept is not known yet.
    compare.Equal("opener's tgid", opened.tgid, end.client ? end.tgid : 0);
  } else if (const Transfer* first = FirstSeen(end)) {
    compare.Equal("opener's tgid", opened.tgid, first->note.tgid);
    compare.Equal("opener's tid", opened.tid, first->note.tid);
  }
}

void JudgeOpened(const Link& link, const End& end, const SeenEnd& seen, Findings& findings) {
  Comparison compare(findings, std::string(SideOf(end)) + " opened");
  const zt_connection_opened_event& opened = seen.opened;
  compare.Equal("their count", seen.opened_count, 1);
  compare.Equal("family", opened.family, end.told_family);
  compare.Equal("role", opened.role, RightRole(link, end));
  compare.Equal("local port", opened.local_port, end.local_port);
  compare.Equal("remote port", opened.remote_port, end.remote_port);
  compare.True(std::memcmp(opened.local_address, end.local_address.data(), ZT_ADDRESS_SIZE) == 0,
               "another local address");
  compare.True(std::memcmp(opened.remote_address, end.remote_address.data(), ZT_ADDRESS_SIZE) == 0,
               "another remote address");
  bool may_lack_inode = IsTcp(link.family) && !end.client && opened.socket_inode == 0;
  if (!may_lack_inode) compare.Equal("inode", opened.socket_inode, end.inode);
  if (opened.peer_inode != 0 || !link.peer_may_go)
    compare.Equal("peer inode", opened.peer_inode, end.peer_inode);
  // Of a unix socket nobody can tell what passed before.
  bool exact = IsTcp(link.family) || !link.seeded;
  bool midstream = link.seeded && (!exact || end.HadTraffic());
  uint8_t flags = exact ? ZT_OPENED_POSITIONS_EXACT : 0;
  if (midstream) flags |= ZT_OPENED_MIDSTREAM;
  compare.Equal("flags", opened.flags, flags);
  size_t length = ::strnlen(opened.unix_path, sizeof(opened.unix_path));
  compare.True(std::string(opened.unix_path, length) == link.path, "another path");
  JudgeOpener(link, end, opened, compare);
}

// The records of one call are one transfer.
struct Told {
  zt_data_event event;  // of the first, with the length of all
  size_t captured = 0;
  std::string wrong;  // what is wrong with the bytes
};

void CheckBytes(const SeenData& seen, uint64_t stream, uint64_t position, Told& told) {
  const zt_data_event& event = seen.event;
  if (seen.payload.compare(0, event.head, Pattern(stream, position, event.head)) != 0)
    told.wrong = "wrong bytes";
  uint64_t tail = position + event.length - event.tail;
  if (seen.payload.compare(event.head, event.tail, Pattern(stream, tail, event.tail)) != 0)
    told.wrong = "wrong last bytes";
  if (event.start_ns > event.end_ns || event.end_ns > event.header.time_ns)
    told.wrong = "times out of order";
  if (event.lost_before != 0) told.wrong = "lost records before it";
  told.captured += seen.payload.size();
}

// Walks through the records of one end beside the transfers that were made.
class Walk {
 public:
  Walk(const Link& link, const End& end, const SeenEnd& seen, Findings& findings)
      : link_(link), end_(end), seen_(seen), findings_(findings) {}

  void Run() {
    for (const Transfer& transfer : end_.transfers) {
      if (!IsSeen(transfer)) {
        unseen_[transfer.direction] += transfer.length;
        jumped_[transfer.direction] |= (transfer.note.flags & ZT_DATA_PEEK) == 0;
        if (transfer.note.sight == Sight::kUnseen) findings_.unseen_bytes += transfer.length;
        continue;
      }
      if (next_ >= seen_.data.size()) {
        findings_.Problem(std::string(SideOf(end_)) + ": " + Text(end_.transfers.size()) +
                          " transfers, told of only " + Text(next_) + " records; the first that " +
                          "is missing is " + Describe(transfer));
        return;
      }
      Compare(transfer, Take(transfer));
    }
    if (next_ < seen_.data.size()) {
      const zt_data_event& extra = seen_.data[next_].event;
      findings_.Problem(std::string(SideOf(end_)) + ": " + Text(seen_.data.size() - next_) +
                        " records too many, the first " + WayOf(extra.direction) + " of " +
                        Text(extra.length) + " at " + Text(extra.offset));
    }
  }

 private:
  std::string Describe(const Transfer& transfer) const {
    return std::string(WayOf(transfer.direction)) + " of " + Text(transfer.length) + " at " +
           Text(transfer.position);
  }

  Told Take(const Transfer& transfer) {
    const SeenData& first = seen_.data[next_];
    Told told{first.event};
    told.event.length = 0;
    uint64_t position = transfer.position;
    bool more = true;
    while (more && next_ < seen_.data.size()) {
      const SeenData& seen = seen_.data[next_++];
      if (seen.event.direction != transfer.direction) told.wrong = "a record of another direction";
      if (seen.event.offset != told.event.offset + told.event.length)
        told.wrong = "pieces that do not adjoin";
      CheckBytes(seen, end_.stream[transfer.direction], position, told);
      position += seen.event.length;
      told.event.length += seen.event.length;
      more = (seen.event.flags & ZT_DATA_CONTINUES) != 0 ||
             (transfer.note.split && told.event.length < transfer.length);
    }
    return told;
  }

  void Compare(const Transfer& transfer, const Told& told) {
    Comparison compare(findings_, std::string(SideOf(end_)) + ": " + Describe(transfer));
    const zt_data_event& event = told.event;
    bool tcp = IsTcp(link_.family);
    size_t before = findings_.problems.size();
    // AF_UNIX positions are counted by the hooks: what they do not see is not counted.
    uint64_t shift = tcp ? 0 : unseen_[transfer.direction] + end_.start[transfer.direction];
    compare.True(told.wrong.empty(), told.wrong);
    compare.Equal("direction", event.direction, transfer.direction);
    compare.Equal("length", event.length, transfer.length);
    compare.Equal("position", event.offset, transfer.position - shift);
    compare.Equal("tgid", event.tgid, transfer.note.tgid);
    if (!transfer.note.any_tid) compare.Equal("tid", event.tid, transfer.note.tid);
    uint8_t right = transfer.note.flags;
    if (transfer.note.sight == Sight::kLength) right |= ZT_DATA_NO_PAYLOAD;
    if (tcp && jumped_[transfer.direction]) right |= ZT_DATA_POSITION_ESTIMATED;
    uint8_t ignored = ZT_DATA_CONTINUES | transfer.note.either;
    // The kernel asks without waiting by itself when it moves bytes on its own.
    if (transfer.note.sight == Sight::kLength) ignored |= ZT_DATA_NONBLOCKING;
    compare.Equal("flags", event.flags & ~ignored, right & ~ignored);
    bool peek = (transfer.note.flags & ZT_DATA_PEEK) != 0;
    if (transfer.note.sight == Sight::kBytes && !peek) {
      size_t least = std::min<uint64_t>(transfer.length, transfer.note.least);
      compare.True(told.captured >= least, "captured " + Text(told.captured) + " bytes of " +
                                               Text(least) + " that should be there");
      compare.True(transfer.note.least == kSurelyCaptured || told.captured == least,
                   "captured " + Text(told.captured) + " bytes, expected " + Text(least));
    } else {
      compare.Equal("number of captured bytes", told.captured, 0);
    }
    if (!peek) jumped_[transfer.direction] = false;
    if (findings_.problems.size() == before) ++findings_.transfers;
    findings_.bytes += transfer.length;
  }

  const Link& link_;
  const End& end_;
  const SeenEnd& seen_;
  Findings& findings_;
  size_t next_ = 0;
  uint64_t unseen_[2] = {};
  bool jumped_[2] = {};
};

// No byte is read before it was sent.
void JudgeTimes(const Link& link, const SeenEnd& sender, const SeenEnd& receiver,
                Findings& findings) {
  // AF_UNIX has only the time at which the send returned.
  if (!IsTcp(link.family) && link.concurrent) return;
  std::map<uint64_t, uint64_t> sent;  // position to start
  for (const SeenData& seen : sender.data) {
    if (seen.event.direction == ZT_DIRECTION_EGRESS)
      sent.emplace(seen.event.offset, seen.event.start_ns);
  }
  for (const SeenData& seen : receiver.data) {
    if (seen.event.direction != ZT_DIRECTION_INGRESS || seen.event.length == 0) continue;
    auto source = sent.upper_bound(seen.event.offset);
    if (source == sent.begin()) continue;  // of a send that went unseen
    --source;
    if (source->second > seen.event.start_ns) {
      findings.Problem("read " + Text(source->second - seen.event.start_ns) +
                       " ns before it was sent, at " + Text(seen.event.offset));
    }
  }
}

void JudgePair(const SeenEnd& client, const SeenEnd& server, Findings& findings) {
  Comparison compare(findings, "the two ends");
  compare.Equal("first sequence number out", client.opened.first_out, server.opened.first_in);
  compare.Equal("first sequence number in", client.opened.first_in, server.opened.first_out);
}

}  // namespace

void Findings::Problem(std::string text) { problems.push_back(std::move(text)); }

std::string Findings::Text() const {
  std::string text;
  for (size_t i = 0; i < problems.size() && i < kMaxProblems; ++i) {
    if (i > 0) text += "; ";
    text += problems[i];
  }
  if (problems.size() > kMaxProblems)
    text += "; and " + std::to_string(problems.size() - kMaxProblems) + " more";
  return text;
}

void JudgeLink(const Link& link, const Witness& witness, Findings& findings) {
  const SeenEnd* ends[2] = {};
  for (bool is_client : {true, false}) {
    const End& end = is_client ? link.client : link.server;
    if (end.wrong_bytes) findings.Problem("the workload itself received wrong bytes");
    const SeenEnd* seen = witness.Find(end);
    ends[is_client ? 0 : 1] = seen;
    if (seen == nullptr) {
      // A unix socket is told of at its first transfer.
      if (IsTcp(link.family) || FirstSeen(end) != nullptr)
        findings.Problem(std::string(SideOf(end)) + ": nothing was told of it");
      continue;
    }
    JudgeOpened(link, end, *seen, findings);
    Walk(link, end, *seen, findings).Run();
  }
  if (ends[0] == nullptr || ends[1] == nullptr) return;
  JudgePair(*ends[0], *ends[1], findings);
  if (link.seeded && !IsTcp(link.family)) return;  // the ends count from different places
  JudgeTimes(link, *ends[0], *ends[1], findings);
  JudgeTimes(link, *ends[1], *ends[0], findings);
}

bool JudgeClosed(const Link& link, const Witness& witness, Findings& findings) {
  if (!IsTcp(link.family)) return true;
  for (bool is_client : {true, false}) {
    const End& end = is_client ? link.client : link.server;
    const SeenEnd* seen = witness.Find(end);
    if (seen == nullptr || seen->closed.empty()) return false;
    Comparison compare(findings, std::string(SideOf(end)) + " closed");
    compare.Equal("their count", seen->closed.size(), 1);
    uint64_t right[2] = {};
    for (const Transfer& transfer : end.transfers) {
      if (IsSeen(transfer) && (transfer.note.flags & ZT_DATA_PEEK) == 0)
        right[transfer.direction] += transfer.length;
    }
    compare.Equal("bytes sent", seen->closed[0].bytes_sent, right[ZT_DIRECTION_EGRESS]);
    compare.Equal("bytes received", seen->closed[0].bytes_received, right[ZT_DIRECTION_INGRESS]);
    compare.Equal("lost events", seen->closed[0].lost_events, 0);
    if (end.close_error >= 0) compare.Equal("error", seen->closed[0].error, end.close_error);
  }
  return true;
}

uint64_t RightUnseenBytes(const Link& link) {
  uint64_t jumps = 0;
  uint64_t seen[2] = {};  // from client to server: sent, read
  bool end_was_read = false;
  for (const End* end : {&link.client, &link.server}) {
    uint64_t open[2] = {};
    for (const Transfer& transfer : end->transfers) {
      if ((transfer.note.flags & ZT_DATA_PEEK) != 0) continue;
      bool to_server = end->client == (transfer.direction == ZT_DIRECTION_EGRESS);
      if (!IsSeen(transfer)) {
        open[transfer.direction] += transfer.length;
        continue;
      }
      if ((transfer.note.flags & ZT_DATA_EOF) != 0) {
        end_was_read |= to_server;
        continue;
      }
      if (to_server) seen[end->client ? 0 : 1] += transfer.length;
      jumps += open[transfer.direction];
      open[transfer.direction] = 0;
    }
  }
  if (IsTcp(link.family)) return jumps;
  return end_was_read ? std::max(seen[0], seen[1]) - std::min(seen[0], seen[1]) : 0;
}

void JudgeCrowd(const Link& link, const Crowd& crowd, const Witness& witness, Findings& findings) {
  const SeenEnd* client = witness.Find(link.client);
  const SeenEnd* server = witness.Find(link.server);
  if (client == nullptr || server == nullptr) {
    findings.Problem("nothing was told of an end");
    return;
  }
  Comparison compare(findings, "the writers");
  uint64_t records = static_cast<uint64_t>(crowd.threads) * static_cast<uint64_t>(crowd.records);
  compare.Equal("number of records", client->data.size(), records);
  std::map<uint32_t, int> by_thread;
  std::map<std::string, int> by_content;
  uint64_t sum = 0;
  uint64_t highest = 0;
  for (const SeenData& seen : client->data) {
    compare.Equal("direction", seen.event.direction, ZT_DIRECTION_EGRESS);
    compare.Equal("length", seen.event.length, crowd.size);
    compare.Equal("flags beside the position's",
                  seen.event.flags & ~ZT_DATA_POSITION_ESTIMATED, 0);
    sum += seen.event.length;
    highest = std::max(highest, seen.event.offset + seen.event.length);
    ++by_thread[seen.event.tid];
    ++by_content[seen.payload];
  }
  compare.Equal("their sum", sum, records * crowd.size);
  // A claimed end is never below the true one, and lengths are exact.
  compare.Equal("highest end", highest, records * crowd.size);
  compare.Equal("number of threads", by_thread.size(), crowd.threads);
  for (const auto& [tid, count] : by_thread)
    compare.Equal("records of a thread", count, crowd.records);
  for (int thread = 0; thread < crowd.threads; ++thread) {
    std::string right = Pattern(crowd.base + static_cast<uint64_t>(thread), 0, crowd.size);
    compare.Equal("records with a thread's bytes", by_content[right], crowd.records);
  }
  Comparison reader(findings, "the reader");
  uint64_t position = 0;
  for (const SeenData& seen : server->data) {
    reader.Equal("direction", seen.event.direction, ZT_DIRECTION_INGRESS);
    reader.Equal("position", seen.event.offset, position);
    position += seen.event.length;
  }
  reader.Equal("sum", position, records * crowd.size);
  if (findings.problems.empty()) {
    findings.transfers += client->data.size() + server->data.size();
    findings.bytes += 2 * sum;
  }
}

}  // namespace zerotap::conformance
