// The reader of the kernel's ring, over memory that is laid out as the kernel does.
#include "agent/capture/ring_reader.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/unique_fd.h"

namespace zerotap {
namespace {

constexpr uint32_t kBusy = 1u << 31;
constexpr uint32_t kDiscarded = 1u << 30;

class RingReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = UniqueFd(::memfd_create("ring", MFD_CLOEXEC));
    ASSERT_TRUE(static_cast<bool>(fd_));
    ASSERT_EQ(::ftruncate(fd_.get(), static_cast<off_t>(2 * page_ + size_)), 0);
    memory_ = static_cast<char*>(
        ::mmap(nullptr, 2 * page_ + size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
    ASSERT_NE(memory_, MAP_FAILED);
    Result<RingReader> reader = RingReader::Create(fd_.get(), size_);
    ASSERT_TRUE(reader.has_value());
    reader_.emplace(std::move(*reader));
  }
  void TearDown() override { ::munmap(memory_, 2 * page_ + size_); }

  // As the kernel writes: a header, the text, room up to a multiple of 8; over the end it goes on at the beginning.
  uint64_t Write(const std::string& text, uint32_t flags = 0) {
    const uint64_t at = written_;
    const uint32_t word = static_cast<uint32_t>(text.size()) | flags;
    std::memcpy(data() + at % size_, &word, sizeof(word));
    for (size_t i = 0; i < text.size(); ++i) data()[(at + 8 + i) % size_] = text[i];
    written_ += (text.size() + 15) / 8 * 8;
    std::memcpy(memory_ + page_, &written_, sizeof(written_));
    return at;
  }
  std::vector<std::string> Read(size_t most = 1000) {
    std::vector<std::string> texts;
    reader_->Consume([&](const void* bytes, size_t size) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % 8, 0u);
      texts.emplace_back(static_cast<const char*>(bytes), size);
      return texts.size() < most;
    });
    return texts;
  }
  char* data() { return memory_ + 2 * page_; }

  const size_t page_ = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t size_ = page_;
  UniqueFd fd_;
  char* memory_ = nullptr;
  uint64_t written_ = 0;
  std::optional<RingReader> reader_;
};

using Texts = std::vector<std::string>;

TEST_F(RingReaderTest, RecordsComeInOrderAndOnce) {
  EXPECT_EQ(Read(), Texts());
  Write("one");
  Write("two, longer than eight");
  EXPECT_EQ(reader_->used_bytes(), written_);
  EXPECT_EQ(Read(), (Texts{"one", "two, longer than eight"}));
  EXPECT_EQ(Read(), Texts());
  EXPECT_EQ(reader_->used_bytes(), 0u);
}

TEST_F(RingReaderTest, WhatIsDiscardedIsSteppedOverAndWhatIsBeingWrittenAwaited) {
  Write("gone", kDiscarded);
  Write("one");
  const uint64_t busy = Write("slow", kBusy);
  Write("behind");
  EXPECT_EQ(Read(), Texts{"one"});
  const uint32_t done = 4;
  std::memcpy(data() + busy % size_, &done, sizeof(done));
  EXPECT_EQ(Read(), (Texts{"slow", "behind"}));
}

TEST_F(RingReaderTest, AReaderThatStopsGoesOnWithTheNext) {
  for (const char* text : {"one", "two", "three"}) Write(text);
  EXPECT_EQ(Read(2), (Texts{"one", "two"}));
  EXPECT_EQ(Read(2), Texts{"three"});
}

TEST_F(RingReaderTest, RecordsGoOnOverTheEndAtEveryPlace) {
  std::string long_text(1000, ' ');
  size_t over_the_end = 0;
  for (int i = 0; i < 500; ++i) {
    for (char& c : long_text) c = static_cast<char>('a' + (i + (&c - long_text.data())) % 26);
    const std::string text = long_text.substr(0, 600 + static_cast<size_t>(i) % 400);
    const size_t begin = (Write(text) + 8) % size_;
    over_the_end += begin + text.size() > size_;
    ASSERT_EQ(Read(), Texts{text}) << i;
  }
  EXPECT_GT(over_the_end, 50u);
}

TEST_F(RingReaderTest, WhatIsNoRingIsRefused) {
  UniqueFd nothing(::open("/dev/null", O_RDWR));
  EXPECT_FALSE(RingReader::Create(nothing.get(), size_).has_value());
}

}  // namespace
}  // namespace zerotap
