// Connections from packets: what the records say, in one line each.
#include "agent/packets/packet_tracker.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "agent/events/event.h"
#include "tests/support/packet_builder.h"

namespace zerotap {
namespace {

using namespace testing;
using Lines = std::vector<std::string>;

// The records of a capture as text: "client > GET" is what the client's end sent, "server < GET" what the server's read;
// "lost" stands before bytes that others are missing before, "(5)" for bytes that were not captured.
class Capture {
 public:
  explicit Capture(PacketOptions options = {})
      : tracker_(options, [this](ByteSpan bytes) { Take(bytes); }) {}

  Capture& Add(const BuiltPacket& packet) {
    tracker_.OnPacket(packet.raw());
    return *this;
  }
  Capture& Add(const std::vector<BuiltPacket>& packets) {
    for (const BuiltPacket& packet : packets) Add(packet);
    return *this;
  }
  Lines Flushed() {
    tracker_.Flush();
    return lines_;
  }
  // Of one end only, as "> text" and so on.
  Lines Of(const std::string& end) {
    Lines lines;
    for (const std::string& line : lines_) {
      if (line.starts_with(end + " ")) lines.push_back(line.substr(end.size() + 1));
    }
    return lines;
  }
  const PacketStats& stats() const { return tracker_.stats(); }
  const Lines& lines() const { return lines_; }
  PacketTracker& tracker() { return tracker_; }
  std::vector<zt_data_event> data;
  std::vector<zt_connection_opened_event> opened;

 private:
  void Take(ByteSpan bytes) {
    ASSERT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % 8, 0u);
    std::optional<Event> event = DecodeEvent(bytes);
    ASSERT_TRUE(event) << "not a record";
    EXPECT_GE(event->header->time_ns, last_ns_);
    last_ns_ = event->header->time_ns;
    if (event->opened != nullptr) {
      opened.push_back(*event->opened);
      Name(*event->opened);
    } else if (event->data != nullptr) {
      data.push_back(*event->data);
      std::string text(event->data->direction == ZT_DIRECTION_EGRESS ? "> " : "< ");
      if ((event->data->flags & ZT_DATA_EOF) != 0) text = "<<";
      if (event->data->lost_before > 0) text += "lost ";
      text += AsText(event->head);
      const size_t missing = event->data->length - event->head.size();
      if (missing > 0) text += "(" + std::to_string(missing) + ")";
      lines_.push_back(names_[event->data->connection_id] + " " + text);
    } else if (event->shutdown != nullptr) {
      lines_.push_back(names_[event->shutdown->connection_id] + " >>");
    } else if (event->closed != nullptr) {
      lines_.push_back(names_[event->closed->connection_id] + " closed" +
                       (event->closed->error != 0 ? " by reset" : "") +
                       (event->closed->lost_events != 0 ? " unknown" : ""));
    }
  }
  void Name(const zt_connection_opened_event& event) {
    std::string name = event.local_port < 1024 ? "server" : "client";
    names_[event.connection_id] = name;
    lines_.push_back(name + (event.flags & ZT_OPENED_MIDSTREAM ? " joined" : " opened"));
  }

  PacketTracker tracker_;
  std::map<uint64_t, std::string> names_;
  Lines lines_;
  uint64_t last_ns_ = 0;
};

PacketOptions Only(EndChoice ends) {
  PacketOptions options;
  options.ends = ends;
  return options;
}

// A handshake, two requests with their answers, and the end. 9 packets with something in them.
std::vector<BuiltPacket> Dialogue(PacketScript script = {}) {
  return {script.Syn(),         script.SynAck(),         script.Client(""),
          script.Client("ask1"), script.Server("answer1"), script.Client("ask2"),
          script.Server("ans"), script.Server("wer2"),   script.Client(""),
          script.Client("", kFin | kAck), script.Server("", kFin | kAck), script.Client("")};
}
const Lines kServerLines = {"opened", "< ask1", "> answer1", "< ask2", "> ans", "> wer2",
                            "<<",     ">>",     "closed"};

TEST(PacketTracker, BothEndsOfAConnection) {
  Capture capture(Only(EndChoice::kBoth));
  capture.Add(Dialogue());
  EXPECT_EQ(capture.Of("server"), kServerLines);
  EXPECT_EQ(capture.Of("client"), (Lines{"opened", "> ask1", "< answer1", "> ask2", "< ans", "< wer2",
                                         ">>", "<<", "closed"}));
  ASSERT_EQ(capture.opened.size(), 2u);
  const auto& one = capture.opened[0];
  const auto& two = capture.opened[1];
  EXPECT_EQ(one.flags, ZT_OPENED_POSITIONS_EXACT);
  EXPECT_EQ(one.first_out, 1001u);
  EXPECT_EQ(one.first_in, 9001u);
  EXPECT_EQ(two.first_out, one.first_in);  // what makes them each other's peers
  EXPECT_EQ(two.first_in, one.first_out);
  EXPECT_EQ(one.role, ZT_ROLE_CLIENT);
  EXPECT_EQ(two.role, ZT_ROLE_SERVER);
  EXPECT_EQ(one.local_port, 40000);
  EXPECT_EQ(two.local_port, 80);
  EXPECT_EQ(capture.tracker().NameOf(one.tgid), "10.0.0.1");
  EXPECT_EQ(capture.tracker().NameOf(two.tgid), "10.0.0.2:80");
  EXPECT_EQ(capture.stats().gaps, 0u);
  EXPECT_EQ(capture.stats().repeated_bytes, 0u);
}

TEST(PacketTracker, OneEndUnlessBothAreOnOneHost) {
  auto ends = [](EndChoice choice, const char* client, const char* server) {
    PacketScript script;
    script.client_address.assign(client, 4);
    script.server_address.assign(server, 4);
    Capture capture(Only(choice));
    capture.Add(Dialogue(script));
    return std::pair(!capture.Of("client").empty(), !capture.Of("server").empty());
  };
  using Ends = std::pair<bool, bool>;
  EXPECT_EQ(ends(EndChoice::kAuto, "\x0a\0\0\1", "\x0a\0\0\2"), Ends(false, true));
  EXPECT_EQ(ends(EndChoice::kAuto, "\x0a\0\0\1", "\x0a\0\0\1"), Ends(true, true));
  EXPECT_EQ(ends(EndChoice::kAuto, "\x7f\0\0\1", "\x7f\0\0\2"), Ends(true, true));
  EXPECT_EQ(ends(EndChoice::kClient, "\x7f\0\0\1", "\x7f\0\0\1"), Ends(true, false));
  EXPECT_EQ(ends(EndChoice::kServer, "\x7f\0\0\1", "\x7f\0\0\1"), Ends(false, true));
  EXPECT_EQ(ends(EndChoice::kBoth, "\x0a\0\0\1", "\x0a\0\0\2"), Ends(true, true));
}

TEST(PacketTracker, TheEndOfTheCapturingHost) {
  for (auto [syn_type, told] : {std::pair(char{4}, "client"), std::pair(char{0}, "server")}) {
    Capture capture;
    for (BuiltPacket packet : Dialogue()) {
      const bool from_client = packet.bytes[15] == '\1';
      const char type = from_client ? syn_type : static_cast<char>(4 - syn_type);
      packet.link = LinkLayer::kLinuxCooked;
      packet.bytes = std::string({0, type}) + std::string(12, '\0') + BigEndian(0x0800, 2) + packet.bytes;
      packet.wire_length += 16;
      capture.Add(packet);
    }
    for (const std::string& line : capture.lines()) EXPECT_TRUE(line.starts_with(told)) << line;
    EXPECT_EQ(capture.lines().size(), kServerLines.size());
  }
}

TEST(PacketTracker, EveryPacketTwice) {
  Capture capture(Only(EndChoice::kServer));
  for (const BuiltPacket& packet : Dialogue()) capture.Add(packet).Add(packet);
  EXPECT_EQ(capture.Of("server"), kServerLines);
  EXPECT_GT(capture.stats().repeated_bytes, 0u);
}

TEST(PacketTracker, NeighboursSwapped) {
  const std::vector<BuiltPacket> packets = Dialogue();
  for (size_t at = 0; at + 1 < packets.size(); ++at) {
    std::vector<BuiltPacket> swapped = packets;
    std::swap(swapped[at], swapped[at + 1]);
    Capture capture(Only(EndChoice::kServer));
    capture.Add(swapped);
    Lines lines = capture.Flushed();
    EXPECT_EQ(capture.Of("server"), kServerLines) << "swapped " << at;
    EXPECT_EQ(capture.stats().gaps, 0u);
  }
}

TEST(PacketTracker, AnyOrderWithinTheWait) {
  std::vector<BuiltPacket> packets = Dialogue();
  std::reverse(packets.begin(), packets.end() - 3);  // the end would be no reason to follow a connection
  Capture capture(Only(EndChoice::kServer));
  capture.Add(packets);
  EXPECT_EQ(capture.Of("server"), kServerLines);
}

TEST(PacketTracker, SequenceNumbersWrap) {
  PacketScript script;
  script.client_sequence = 0xFFFFFFFD;
  script.server_sequence = 0xFFFFFFFA;
  Capture capture(Only(EndChoice::kServer));
  capture.Add(Dialogue(script));
  EXPECT_EQ(capture.Of("server"), kServerLines);
}

TEST(PacketTracker, PositionsGoBeyondFourGigabytes) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck()});
  const std::string block(60000, 'x');
  const size_t blocks = (uint64_t{1} << 32) / block.size() + 2;
  for (size_t i = 0; i < blocks; ++i) {
    BuiltPacket packet = script.Client(block);
    capture.Add(packet.Snapped(40));  // the true length counts
    capture.data.erase(capture.data.begin(), capture.data.end() - 1);
  }
  EXPECT_EQ(capture.data.back().offset, (blocks - 1) * block.size());
  EXPECT_GT(capture.data.back().offset, uint64_t{1} << 32);
}

TEST(PacketTracker, TheFirstCopyOfOverlappingBytesCounts) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck()});
  capture.Add(script.From(true, kAck, "CDE", 1001 + 2));
  capture.Add(script.From(true, kAck, "abcdefg", 1001));  // brings a, b, f and g
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< ab", "< CDE", "< fg"}));
  EXPECT_EQ(capture.stats().repeated_bytes, 3u);
  capture.Add(script.From(true, kAck, "FGhi", 1001 + 5));
  EXPECT_EQ(capture.Of("server").back(), "< hi");
}

TEST(PacketTracker, ALostPacketIsWaitedForUntilItComesAgain) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck()});
  BuiltPacket first = script.Client("first ");
  capture.Add(script.From(true, kAck, "second", 1007));
  script.now_ns += 5'000'000'000;  // retransmission takes its time, and nobody acknowledged
  capture.Add(script.From(true, kAck, "first ", 1001));
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< first ", "< second"}));
  EXPECT_EQ(capture.stats().gaps, 0u);
  ASSERT_EQ(capture.data.size(), 2u);
  // Read when it could be read, whenever its packet came.
  EXPECT_EQ(capture.data[0].start_ns, capture.data[1].start_ns);
}

TEST(PacketTracker, AcknowledgedBytesThatAreNotThereAreAGap) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck()});
  script.Client("missing");
  capture.Add(script.Server("answer"));  // acknowledges what was not captured
  EXPECT_EQ(capture.Of("server"), Lines{"opened"});
  script.now_ns += 300'000'000;
  capture.Add(script.Client("next"));
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "> answer", "< lost next"}));
  EXPECT_EQ(capture.data.back().offset, 7u);
  EXPECT_EQ(capture.stats().missing_bytes, 7u);
}

TEST(PacketTracker, MissingBytesBeforeTheEndAreTold) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  script.Server("missing");
  capture.Add({script.Server("", kFin | kAck), script.Client("", kFin | kAck)});
  EXPECT_EQ(capture.Flushed(), (Lines{"server opened", "server < ask", "server > lost (1)", "server >>",
                                      "server <<", "server closed"}));
  EXPECT_EQ(capture.data[1].offset, 6u);
  EXPECT_EQ(capture.stats().missing_bytes, 7u);
}

TEST(PacketTracker, AnAnswerThatOnlyItsAcknowledgmentShowsIsAGapBeforeAReset) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  script.Server("missing");
  capture.Add({script.Client(""), script.Client("", kRst)});
  EXPECT_EQ(capture.Of("server"),
            (Lines{"opened", "< ask", "> lost (1)", "closed by reset"}));
}

TEST(PacketTracker, TheResetIsAnErrorForTheOtherSide) {
  for (bool by_client : {true, false}) {
    PacketScript script;
    Capture capture(Only(EndChoice::kBoth));
    capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
    capture.Add(by_client ? script.Client("", kRst) : script.Server("", kRst | kAck));
    EXPECT_EQ(capture.Of("client").back(), by_client ? "closed" : "closed by reset");
    EXPECT_EQ(capture.Of("server").back(), by_client ? "closed by reset" : "closed");
  }
}

TEST(PacketTracker, AnOldResetIsNotHeeded) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  capture.Add(script.From(true, kRst, "", 1001));
  capture.Add(script.Server("answer"));
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< ask", "> answer"}));
}

TEST(PacketTracker, JoinedInTheMiddle) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Client("ask"), script.Server("answer"), script.Client("more")});
  EXPECT_EQ(capture.Flushed(),
            (Lines{"server joined", "server < ask", "server > answer", "server < more"}));
  EXPECT_EQ(capture.opened[0].flags, ZT_OPENED_MIDSTREAM);
  EXPECT_EQ(capture.opened[0].role, ZT_ROLE_UNKNOWN);
  EXPECT_EQ(capture.tracker().NameOf(capture.opened[0].tgid), "10.0.0.2:80");
  EXPECT_EQ(capture.data[0].offset, 0u);
}

TEST(PacketTracker, KeepAliveProbesAreNoData) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  capture.Add(script.From(true, kAck, "", script.client_sequence - 1));
  capture.Add(script.From(true, kAck, std::string_view("\0", 1), script.client_sequence - 1));
  capture.Add(script.Server(""));
  capture.Add(script.Server("answer"));
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< ask", "> answer"}));
}

TEST(PacketTracker, BytesThatTheSnapLengthCutAreSaidToBeThere) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck()});
  capture.Add(script.Client("hello world").Snapped(45));
  capture.Add(script.Client("again"));
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< hello(6)", "< again"}));
  EXPECT_EQ(capture.stats().cut_bytes, 6u);
}

TEST(PacketTracker, DataWithTheFirstPacket) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  BuiltPacket syn = script.From(true, kSyn, "fast", script.client_sequence);
  script.client_sequence += 5;
  capture.Add({syn, script.SynAck(), script.Server("open")});
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< fast", "> open"}));
}

TEST(PacketTracker, TheSamePortsAgain) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add(Dialogue(script));
  script.client_sequence = 70000;
  script.now_ns += 1'000'000'000;
  capture.Add(Dialogue(script));
  Lines twice = kServerLines;
  twice.insert(twice.end(), kServerLines.begin(), kServerLines.end());
  EXPECT_EQ(capture.Of("server"), twice);
  EXPECT_EQ(capture.stats().connections, 2u);
}

TEST(PacketTracker, ThePortsOfAConnectionWhoseEndWasNotSeen) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  script.client_sequence = 70000;
  capture.Add(script.Syn());
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< ask", "closed unknown"}));
}

TEST(PacketTracker, ARefusedConnectionSaysNothing) {
  PacketScript script;
  Capture capture(Only(EndChoice::kBoth));
  capture.Add(script.Syn());
  capture.Add(script.From(false, kRst | kAck, "", 0));
  EXPECT_EQ(capture.Flushed(), Lines{});
  script.client_sequence = 5000;
  capture.Add(Dialogue(script));
  EXPECT_EQ(capture.Of("server"), kServerLines);
}

TEST(PacketTracker, ConnectionsAreCapped) {
  PacketOptions options = Only(EndChoice::kServer);
  options.max_connections = 8;
  Capture capture(options);
  for (uint16_t port = 2000; port < 2100; ++port) {
    PacketScript script;
    script.client_port = port;
    capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
    EXPECT_LE(capture.tracker().live_connections(), 8u);
  }
  EXPECT_EQ(capture.stats().connections_evicted, 92u);
  const Lines& lines = capture.lines();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& line) { return line.ends_with("closed unknown"); }),
            92);
}

TEST(PacketTracker, BytesThatWaitAreCapped) {
  PacketOptions options = Only(EndChoice::kServer);
  options.connection.max_held_bytes = 10000;
  options.max_held_bytes = 30000;
  Capture capture(options);
  const std::string block(1000, 'x');
  for (uint16_t port = 2000; port < 2020; ++port) {
    PacketScript script;
    script.client_port = port;
    capture.Add({script.Syn(), script.SynAck()});
    script.Client("hole");
    for (int i = 0; i < 30; ++i) {
      capture.Add(script.Client(block));
      EXPECT_LE(capture.tracker().held_bytes(), 31000u);
    }
  }
  EXPECT_EQ(capture.stats().gaps, 20u);
  Lines lines = capture.Flushed();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& line) { return line.find("lost") != std::string::npos; }),
            20);
}

TEST(PacketTracker, SilentConnectionsDoNotWaitForEver) {
  PacketScript script, other;
  other.client_port = 2222;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck()});
  script.Client("hole");
  capture.Add(script.Client("after"));
  EXPECT_EQ(capture.lines().size(), 1u);
  other.now_ns = script.now_ns + 61'000'000'000;
  capture.Add(other.Syn());
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< lost after"}));
}

TEST(PacketTracker, NamesAreCapped) {
  PacketOptions options = Only(EndChoice::kBoth);
  options.max_addresses = 4;
  Capture capture(options);
  for (uint16_t port = 2000; port < 2010; ++port) {
    PacketScript script;
    script.client_address[3] = static_cast<char>(port - 1990);
    script.client_port = port;
    capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  }
  EXPECT_EQ(capture.tracker().NameOf(capture.opened.back().tgid), "10.0.0.2:80");
  EXPECT_EQ(capture.tracker().NameOf(capture.opened[capture.opened.size() - 2].tgid), "(other addresses)");
}

TEST(PacketTracker, PositionsFarFromEverythingAreNotFollowed) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  capture.Add(script.From(true, kAck, "far", 1001 + 0x50000000));
  script.server_sequence += 0x50000000;
  capture.Add(script.From(true, kAck, "far", 1004));
  EXPECT_EQ(capture.stats().unplaced_packets, 2u);
  EXPECT_EQ(capture.Flushed(), (Lines{"server opened", "server < ask"}));
}

TEST(PacketTracker, SidesThatClaimToWaitForEachOther) {
  PacketScript script;
  Capture capture(Only(EndChoice::kServer));
  capture.Add({script.Syn(), script.SynAck(), script.Client("ask")});
  TcpFields tcp;
  tcp.sequence = 1004;
  tcp.acknowledgment = 9001 + 500;
  tcp.payload = "one";
  capture.Add(Packet(script.now_ns, LinkLayer::kRaw,
                     Ipv4Bytes(script.client_address, script.server_address, TcpBytes(tcp))));
  std::swap(tcp.source_port, tcp.destination_port);
  tcp.sequence = 9001;
  tcp.acknowledgment = 1004 + 500;
  tcp.payload = "two";
  capture.Add(Packet(script.now_ns, LinkLayer::kRaw,
                     Ipv4Bytes(script.server_address, script.client_address, TcpBytes(tcp))));
  capture.Flushed();
  EXPECT_EQ(capture.Of("server"), (Lines{"opened", "< ask", "< one", "> two"}));
}

}  // namespace
}  // namespace zerotap
