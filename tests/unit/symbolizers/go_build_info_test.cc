#include "symbolizers/go_build_info.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>
#include <string>

#include "symbolizers/runtime_kind.h"
#include "tests/unit/symbolizers/elf_image.h"

namespace zerotap {
namespace {

const std::string kMagic = "\xff Go buildinf:";

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string ModuleText(const std::string& lines) {
  return std::string(16, '\x30') + lines + std::string(16, '\x31');
}

const std::string kLines =
    "path\tgithub.com/acme/shop/cmd/checkout\n"
    "mod\tgithub.com/acme/shop\tv1.4.0\th1:abc=\n"
    "dep\tgithub.com/lib/pq\tv1.10.9\th1:def=\n"
    "build\t-compiler=gc\n";

std::string InlineInfo(const std::string& version, const std::string& text) {
  std::string info = kMagic;
  info.push_back('\x08');
  info.push_back('\x02');
  info.resize(32, '\0');
  return info + Varint(version.size()) + version + Varint(text.size()) + text;
}

std::string InlineElf(bool with_sections = true) {
  ElfImage image;
  image.Add(".go.buildinfo", SHT_PROGBITS, InlineInfo("go1.22.1", ModuleText(kLines)));
  return image.Build(with_sections);
}

std::string PointerElf(bool is_64_bit, bool is_big_endian) {
  ElfImage image(is_64_bit, is_big_endian);
  const size_t width = is_64_bit ? 8 : 4;
  std::string text = ModuleText(kLines);
  uint64_t version_at = image.NextAddress();
  image.Add(".rodata", SHT_PROGBITS, "go1.16.3");
  uint64_t text_at = image.NextAddress();
  image.Add(".modtext", SHT_PROGBITS, text);
  uint64_t headers_at = image.NextAddress();
  image.Add(".data", SHT_PROGBITS,
            image.Word(version_at, width) + image.Word(8, width) + image.Word(text_at, width) +
                image.Word(text.size(), width));
  std::string info = kMagic;
  info.push_back(static_cast<char>(width));
  info.push_back(is_big_endian ? '\x01' : '\x00');
  info += image.Word(headers_at, width) + image.Word(headers_at + 2 * width, width);
  info.resize(32, '\0');
  image.Add(".go.buildinfo", SHT_PROGBITS, info);
  return image.Build();
}

std::optional<GoBuildInfo> Read(const std::string& content) {
  TemporaryFile file(content);
  auto elf = ElfFile::Open(file.path());
  if (!elf) return std::nullopt;
  return ReadGoBuildInfo(*elf);
}

TEST(GoBuildInfo, InlineFormat) {
  auto info = Read(InlineElf());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->go_version, "go1.22.1");
  EXPECT_EQ(info->package_path, "github.com/acme/shop/cmd/checkout");
  EXPECT_EQ(info->module_path, "github.com/acme/shop");
  EXPECT_EQ(info->module_version, "v1.4.0");
}

TEST(GoBuildInfo, WithoutSectionTableItIsFoundInTheDataSegment) {
  auto info = Read(InlineElf(/*with_sections=*/false));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->module_path, "github.com/acme/shop");
}

TEST(GoBuildInfo, PointerFormatOfEveryClassAndByteOrder) {
  for (bool is_64_bit : {false, true}) {
    for (bool is_big_endian : {false, true}) {
      auto info = Read(PointerElf(is_64_bit, is_big_endian));
      ASSERT_TRUE(info) << is_64_bit << is_big_endian;
      EXPECT_EQ(info->go_version, "go1.16.3");
      EXPECT_EQ(info->package_path, "github.com/acme/shop/cmd/checkout");
      EXPECT_EQ(info->module_path, "github.com/acme/shop");
    }
  }
}

TEST(GoBuildInfo, ProgramWithoutModule) {
  ElfImage image;
  image.Add(".go.buildinfo", SHT_PROGBITS, InlineInfo("go1.20", ""));
  auto info = Read(image.Build());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->go_version, "go1.20");
  EXPECT_EQ(info->module_path, "");
}

TEST(GoBuildInfo, OtherProgramsHaveNone) {
  ElfImage image;
  image.Add(".text", SHT_PROGBITS, "code");
  EXPECT_FALSE(Read(image.Build()));
  EXPECT_FALSE(Read(""));
  EXPECT_FALSE(Read("#!/bin/sh\n"));
  EXPECT_FALSE(Read(std::string(4096, '\0')));
  auto self = ElfFile::Open("/proc/self/exe");
  ASSERT_TRUE(self);
  EXPECT_FALSE(ReadGoBuildInfo(*self));
}

TEST(GoBuildInfo, RecordsThatAreNoTextAreRefused) {
  ElfImage image;
  image.Add(".go.buildinfo", SHT_PROGBITS, InlineInfo(std::string("go\x01\xff"), ""));
  EXPECT_FALSE(Read(image.Build()));
  ElfImage endless;
  endless.Add(".go.buildinfo", SHT_PROGBITS,
              InlineInfo("go1.22", "").substr(0, 32) + std::string(100, '\xff'));
  EXPECT_FALSE(Read(endless.Build()));
  ElfImage long_line;
  long_line.Add(".go.buildinfo", SHT_PROGBITS,
                InlineInfo("go1.22", ModuleText("path\t" + std::string(60'000, 'x') + "\n")));
  auto info = Read(long_line.Build());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->package_path, "");
}

TEST(GoBuildInfo, FilesCutAnywhereDoNoHarm) {
  for (const std::string& whole : {InlineElf(), PointerElf(true, false), PointerElf(false, true)}) {
    TemporaryFile file;
    for (size_t size = 0; size < whole.size(); size += size < 512 ? 1 : 7) {
      file.Write(std::string_view(whole).substr(0, size));
      BinaryFacts facts = InspectBinary("/x/prog", file.path());
      EXPECT_TRUE(!facts.go || !facts.go->go_version.empty());
    }
  }
}

TEST(GoBuildInfo, CorruptedFilesDoNoHarm) {
  std::mt19937_64 random(7);
  for (const std::string& whole : {InlineElf(), PointerElf(true, false), PointerElf(false, true)}) {
    TemporaryFile file;
    for (int round = 0; round < 3000; ++round) {
      std::string bytes = whole;
      // Headers and tables are hit more often than their share.
      size_t flips = 1 + random() % 8;
      for (size_t i = 0; i < flips; ++i) {
        size_t span = random() % 2 == 0 ? 256 : bytes.size();
        size_t at = random() % 3 == 0
                        ? bytes.size() - 1 - random() % std::min<size_t>(bytes.size(), 400)
                        : random() % span;
        const char values[] = {'\0', '\x01', '\x7f', '\x80', '\xff', static_cast<char>(random())};
        bytes[at] = values[random() % sizeof(values)];
      }
      file.Write(bytes);
      BinaryFacts facts = InspectBinary("/x/prog", file.path());
      if (facts.go) {
        EXPECT_LE(facts.go->go_version.size(), 256u);
        EXPECT_LE(facts.go->module_path.size(), 1024u);
      }
    }
  }
}

TEST(ElfFile, HugeCountsAndSizesAreRefusedBeforeAnythingIsAllocated) {
  std::string bytes = InlineElf();
  bytes[60] = '\xff';  // e_shnum
  bytes[61] = '\xff';
  TemporaryFile file(bytes);
  EXPECT_FALSE(ElfFile::Open(file.path()));
  bytes = InlineElf();
  bytes[60] = '\0';  // a count kept in section 0
  bytes[61] = '\0';
  file.Write(bytes);
  EXPECT_FALSE(ElfFile::Open(file.path()));
}

TEST(ElfFile, WhatIsNoRegularFileIsNotRead) {
  EXPECT_FALSE(ElfFile::Open("/dev/zero"));
  EXPECT_FALSE(ElfFile::Open("/tmp"));
  EXPECT_FALSE(ElfFile::Open("/nonexistent"));
  std::string fifo = "/tmp/zerotap-elf-fifo-" + std::to_string(getpid());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_FALSE(ElfFile::Open(fifo)) << "and does not wait for a writer";
  unlink(fifo.c_str());
}

TEST(ElfFile, ReadsItself) {
  auto elf = ElfFile::Open("/proc/self/exe");
  ASSERT_TRUE(elf);
  EXPECT_TRUE(elf->is_64_bit());
  ASSERT_NE(elf->FindSection(".text"), nullptr);
  EXPECT_EQ(elf->FindSection(".nothing"), nullptr);
  EXPECT_FALSE(elf->segments().empty());
  bool has_libc = false;
  for (const std::string& library : elf->NeededLibraries()) {
    has_libc = has_libc || library.rfind("libc.so", 0) == 0;
  }
  EXPECT_TRUE(has_libc);
  EXPECT_EQ(elf->ReadAddress(0xffff'ffff'ffff'0000, 100), "");
  EXPECT_EQ(elf->ReadAt(UINT64_MAX, 100), "");
  EXPECT_EQ(elf->ReadAt(0, 4),
            "\x7f"
            "ELF");
}

}  // namespace
}  // namespace zerotap
