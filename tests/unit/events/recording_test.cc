#include "agent/events/recording.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace zerotap {
namespace {

class RecordingTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = (std::filesystem::temp_directory_path() /
             ("zerotap-recording-" + std::to_string(::getpid()) + "-" +
              testing::UnitTest::GetInstance()->current_test_info()->name()))
                .string();
  }
  void TearDown() override { std::filesystem::remove(path_); }

  std::unique_ptr<RecordingWriter> Create(RecordingHeader header = {7, -3}) {
    auto writer = RecordingWriter::Create(path_, header);
    EXPECT_TRUE(writer.has_value()) << (writer ? "" : writer.error().message);
    return writer ? std::move(*writer) : nullptr;
  }

  // What was read, one line an item.
  struct Read {
    std::vector<std::string> items;
    Status status;
  };
  Read ReadBack() {
    Read result;
    auto reader = RecordingReader::Open(path_);
    if (!reader) {
      result.status = tl::unexpected<Error>(reader.error());
      return result;
    }
    RecordingCallbacks callbacks;
    callbacks.on_record = [&](ByteSpan bytes) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % 8, 0u);
      zt_event_header header;
      std::memcpy(&header, bytes.data(), sizeof(header));
      EXPECT_EQ(header.size, bytes.size());
      result.items.push_back("record " + std::to_string(header.kind) + " " +
                             std::string(AsText(bytes.subspan(sizeof(header)))));
    };
    callbacks.on_process = [&](const RecordedProcess& process) {
      result.items.push_back("process " + std::to_string(process.tgid) +
                             (process.traced ? " traced " : " ignored ") +
                             std::string(process.resource_json));
    };
    callbacks.on_clock = [&](uint64_t now_ns) {
      result.items.push_back("clock " + std::to_string(now_ns));
    };
    result.status = (*reader)->ReadAll(callbacks);
    return result;
  }

  static std::vector<std::byte> Record(uint16_t kind, std::string_view body, size_t spare = 0) {
    zt_event_header header{};
    header.kind = kind;
    header.size = static_cast<zt_u32>(sizeof(header) + body.size());
    std::vector<std::byte> bytes(header.size + spare);
    std::memcpy(bytes.data(), &header, sizeof(header));
    std::memcpy(bytes.data() + sizeof(header), body.data(), body.size());
    return bytes;
  }

  void Truncate(size_t drop) {
    std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - drop);
  }

  std::string path_;
};

TEST_F(RecordingTest, GivesBackWhatWasWrittenInOrder) {
  auto writer = Create({0x1122334455667788, -1234567890123});
  writer->WriteProcess({42, true, R"({"service.name":"shop"})"});
  writer->WriteRecord(Record(ZT_EVENT_DATA, "odd"));  // padded to eight bytes
  writer->WriteClock(99);
  writer->WriteProcess({43, false, "{}"});
  writer->WriteRecord(Record(ZT_EVENT_CONNECTION_CLOSED, "eight by"));
  ASSERT_TRUE(writer->Flush().has_value());

  auto reader = RecordingReader::Open(path_);
  ASSERT_TRUE(reader.has_value());
  EXPECT_EQ((*reader)->header().id_seed, 0x1122334455667788u);
  EXPECT_EQ((*reader)->header().realtime_minus_monotonic_ns, -1234567890123);
  Read read = ReadBack();
  ASSERT_TRUE(read.status.has_value());
  EXPECT_EQ(read.items, (std::vector<std::string>{R"(process 42 traced {"service.name":"shop"})",
                                                  "record 2 odd", "clock 99",
                                                  "process 43 ignored {}", "record 4 eight by"}));
}

TEST_F(RecordingTest, KeepsOnlyWhatTheRecordClaims) {
  auto writer = Create();
  writer->WriteRecord(
      Record(ZT_EVENT_DATA, "payload", 100));  // a size class larger than its content
  writer.reset();
  EXPECT_EQ(ReadBack().items, (std::vector<std::string>{"record 2 payload"}));
}

TEST_F(RecordingTest, LeavesOutRecordsThatWouldBreakTheFraming) {
  auto writer = Create();
  std::vector<std::byte> lying = Record(ZT_EVENT_DATA, "12345678");
  const uint32_t claimed = 4096;
  std::memcpy(lying.data() + offsetof(zt_event_header, size), &claimed, sizeof(claimed));
  writer->WriteRecord(lying);
  std::vector<std::byte> tiny(8);
  writer->WriteRecord(tiny);
  const uint32_t zero = 0;
  std::memcpy(lying.data() + offsetof(zt_event_header, size), &zero, sizeof(zero));
  writer->WriteRecord(lying);
  writer->WriteClock(1);
  writer.reset();
  EXPECT_EQ(ReadBack().items, (std::vector<std::string>{"clock 1"}));
}

TEST_F(RecordingTest, RecordsMayBeMuchMoreThanTheBuffer) {
  auto writer = Create();
  const std::string body(ZT_PAYLOAD_HUGE, 'x');
  for (int i = 0; i < 300; ++i)
    writer->WriteRecord(Record(ZT_EVENT_DATA, body + std::to_string(i)));
  ASSERT_TRUE(writer->Flush().has_value());
  Read read = ReadBack();
  ASSERT_TRUE(read.status.has_value());
  ASSERT_EQ(read.items.size(), 300u);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(read.items[i], "record 2 " + body + std::to_string(i));
  }
}

TEST_F(RecordingTest, CutAnywhereInItsTailGivesTheRecordsBefore) {
  auto writer = Create();
  writer->WriteClock(1);
  writer->WriteRecord(Record(ZT_EVENT_DATA, "the last record, 29 bytes text"));
  writer.reset();
  const size_t last = (16 + 30 + 7) & ~size_t{7};
  for (size_t drop = 1; drop < last; ++drop) {
    Truncate(1);
    Read read = ReadBack();
    ASSERT_TRUE(read.status.has_value()) << "dropped " << drop;
    EXPECT_EQ(read.items.size(), drop < 3 ? 2u : 1u) << "dropped " << drop;
  }
}

TEST_F(RecordingTest, DamagedSizeIsAnErrorThatSaysWhere) {
  auto writer = Create();
  writer->WriteClock(1);
  writer->WriteClock(2);
  writer.reset();
  for (uint32_t bad : {0u, 15u, 0xFFFFFFFFu, 1024u * 1024 + 1}) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(24 + 16 + 8);  // the second record's size
    file.write(reinterpret_cast<const char*>(&bad), sizeof(bad));
    file.close();
    Read read = ReadBack();
    ASSERT_FALSE(read.status.has_value());
    EXPECT_NE(read.status.error().message.find("damaged at byte 40"), std::string::npos)
        << read.status.error().message;
    EXPECT_EQ(read.items, (std::vector<std::string>{"clock 1"}));
  }
}

TEST_F(RecordingTest, ShortProcessRecordIsDamage) {
  auto writer = Create();
  writer->WriteRecord(Record(0x1001, "4321"));
  writer.reset();
  EXPECT_FALSE(ReadBack().status.has_value());
}

TEST_F(RecordingTest, RefusesOtherFilesAndOtherVersions) {
  std::ofstream(path_) << "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
  auto reader = RecordingReader::Open(path_);
  ASSERT_FALSE(reader.has_value());
  EXPECT_NE(reader.error().message.find("is not a zerotap recording"), std::string::npos);

  std::ofstream(path_) << "ZT";
  EXPECT_FALSE(RecordingReader::Open(path_).has_value());

  std::ofstream(path_, std::ios::binary) << std::string("ZTREC\0\0\2", 8) << std::string(16, '\0');
  reader = RecordingReader::Open(path_);
  ASSERT_FALSE(reader.has_value());
  EXPECT_NE(reader.error().message.find("format 2"), std::string::npos) << reader.error().message;

  EXPECT_FALSE(RecordingReader::Open(path_ + ".absent").has_value());
}

TEST_F(RecordingTest, IsPrivateEvenWhenTheFileWasThereBefore) {
  std::ofstream(path_) << "old and longer than a header, so that truncation shows";
  ::chmod(path_.c_str(), 0644);
  Create().reset();
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(info.st_size, 24);
}

TEST_F(RecordingTest, FullDiskAtTheStartIsAnError) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "needs /dev/full";
  auto created = RecordingWriter::Create("/dev/full", {});
  ASSERT_FALSE(created.has_value());
  EXPECT_EQ(created.error().errno_value, ENOSPC);
}

TEST_F(RecordingTest, LaterWriteErrorStopsItAndIsToldOnce) {
  auto writer = Create();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 64;
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  for (int i = 0; i < 10; ++i) writer->WriteClock(static_cast<uint64_t>(i));
  Status first = writer->Flush();
  Status second = writer->Flush();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(first.has_value());
  EXPECT_EQ(first.error().errno_value, EFBIG);
  EXPECT_TRUE(second.has_value());
  writer->WriteClock(11);  // after the error: ignored
  EXPECT_TRUE(writer->Flush().has_value());
  writer.reset();
  EXPECT_EQ(ReadBack().items, (std::vector<std::string>{"clock 0", "clock 1"}));
}

TEST_F(RecordingTest, DirectoryThatIsMissingIsNamed) {
  auto created = RecordingWriter::Create(path_ + "/no/such/file", {});
  ASSERT_FALSE(created.has_value());
  EXPECT_NE(created.error().message.find("/no/such/file"), std::string::npos);
}

}  // namespace
}  // namespace zerotap
