// The small headers: hash, result, unique_fd, clock, log.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "agent/base/clock.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/base/result.h"
#include "agent/base/unique_fd.h"

namespace zerotap {
namespace {

TEST(Hash, IsTheSameInEveryRun) {
  // Ids of replayed captures derive from these.
  EXPECT_EQ(MixHash(0), 0u);
  EXPECT_EQ(MixHash(1), 0x5692161D100B05E5ull);
  EXPECT_EQ(CombineHash(0, 0), MixHash(0x9E3779B97F4A7C15ull));
  EXPECT_EQ(HashText("abc"), HashText(std::string("abc")));
}

TEST(Hash, PairsOfSmallNumbersDoNotMeet) {
  std::set<uint64_t> seen;
  for (uint64_t a = 0; a < 512; ++a) {
    for (uint64_t b = 0; b < 512; ++b) seen.insert(CombineHash(a, b));
  }
  EXPECT_EQ(seen.size(), 512u * 512u);
}

TEST(Hash, OfATextIsThatOfItsWordsByteByByte) {
  std::string text;
  for (size_t size = 0; size < 40; ++size) {
    std::vector<uint64_t> expected(size / 8 + 1, 0);
    for (size_t i = 0; i < size; ++i) {
      expected[i / 8] |= static_cast<uint64_t>(static_cast<unsigned char>(text[i])) << (8 * (i % 8));
    }
    // At the end of what may be read.
    const std::vector<char> copy(text.begin(), text.end());
    std::vector<uint64_t> words;
    ForEachWord({copy.data(), copy.size()}, [&words](uint64_t word) { words.push_back(word); });
    EXPECT_EQ(words, expected) << size;
    text.push_back(static_cast<char>(0x81 + 7 * size));
  }
  EXPECT_EQ(HashText("abcdefghijk"), 0x2CB46E3BE08FF388ull);
}

TEST(Hash, TextsDifferByContentLengthAndSeed) {
  std::set<uint64_t> hashes;
  std::string text;
  for (int i = 0; i < 100; ++i) {
    hashes.insert(HashText(text));
    text.push_back('\0');  // zero padding must not make them equal
  }
  hashes.insert(HashText("abcdefgh"));
  hashes.insert(HashText("abcdefgi"));
  EXPECT_EQ(hashes.size(), 102u);
  EXPECT_NE(HashText("abc", 1), HashText("abc", 2));
  EXPECT_EQ(HashText(std::string_view()), HashText(""));
}

TEST(Hash, OneBitChangesHalfOfTheBits) {
  int changed = 0;
  for (int bit = 0; bit < 64; ++bit) {
    changed += __builtin_popcountll(MixHash(0x1234567890ABCDEFull) ^ MixHash(0x1234567890ABCDEFull ^ (1ull << bit)));
  }
  EXPECT_NEAR(changed / 64.0, 32, 3);
}

TEST(Hash, OrderOfCombiningMatters) {
  EXPECT_NE(CombineHash(CombineHash(0, 1), 2), CombineHash(CombineHash(0, 2), 1));
}

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail("odd");
  return value / 2;
}

TEST(ResultType, HoldsAValueOrAnError) {
  EXPECT_EQ(Half(4).value(), 2);
  Result<int> failed = Half(3);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().message, "odd");
  EXPECT_EQ(failed.error().errno_value, 0);
  Status fine;
  EXPECT_TRUE(fine.has_value());
}

TEST(ResultType, ErrnoErrorsSayWhatFailedAndWhy) {
  Status failed = FailErrno("open /x", ENOENT);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().message, "open /x: No such file or directory");
  EXPECT_EQ(failed.error().errno_value, ENOENT);
  errno = EACCES;
  EXPECT_EQ(Error::FromErrno("read").errno_value, EACCES);
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) != -1; }

TEST(UniqueFdType, ClosesExactlyOnce) {
  int raw = open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    UniqueFd first(raw);
    EXPECT_TRUE(first);
    UniqueFd second(std::move(first));
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): moved-from is empty by contract
    EXPECT_EQ(second.get(), raw);
    UniqueFd& alias = second;
    second = std::move(alias);
    EXPECT_EQ(second.get(), raw) << "self-move keeps it";
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFdType, ReleaseAndReset) {
  UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  int raw = fd.Release();
  EXPECT_FALSE(fd);
  EXPECT_TRUE(IsOpen(raw));
  fd.Reset(raw);
  int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
  fd.Reset(other);
  EXPECT_FALSE(IsOpen(raw));
  EXPECT_TRUE(IsOpen(other));
}

TEST(Clock, MonotonicGoesOnAndTheOffsetLeadsToUnixTime) {
  uint64_t before = MonotonicNs();
  EXPECT_GE(MonotonicNs(), before);
  auto unix_now = static_cast<int64_t>(MonotonicNs()) + RealtimeMinusMonotonicNs();
  EXPECT_NEAR(static_cast<double>(unix_now), static_cast<double>(RealtimeNs()), 5e8);
}

TEST(Log, LevelsAreTakenInAnyCaseAndUnknownOnesAreRefused) {
  EXPECT_TRUE(SetUpLogging("warn"));
  EXPECT_EQ(spdlog::get_level(), spdlog::level::warn);
  EXPECT_TRUE(SetUpLogging("ERROR")) << "again, and in capitals";
  EXPECT_EQ(spdlog::get_level(), spdlog::level::err);
  EXPECT_FALSE(SetUpLogging("loud"));
  EXPECT_EQ(spdlog::get_level(), spdlog::level::info);
  EXPECT_TRUE(SetUpLogging("off"));
  EXPECT_EQ(spdlog::get_level(), spdlog::level::off);
  EXPECT_TRUE(SetUpLogging(""));
  EXPECT_EQ(spdlog::get_level(), spdlog::level::info);
}

}  // namespace
}  // namespace zerotap
