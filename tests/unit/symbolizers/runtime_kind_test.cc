#include "symbolizers/runtime_kind.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/symbolizers/elf_image.h"

namespace zerotap {
namespace {

TEST(RuntimeFromName, KnowsInterpretersWithAndWithoutVersion) {
  const std::pair<const char*, RuntimeKind> cases[] = {
      {"/usr/bin/node", RuntimeKind::kNode},
      {"node20", RuntimeKind::kNode},
      {"/usr/bin/nodejs", RuntimeKind::kNode},
      {"/usr/bin/python3.11", RuntimeKind::kPython},
      {"/usr/bin/python", RuntimeKind::kPython},
      {"pypy3.10", RuntimeKind::kPython},
      {"/usr/lib/jvm/x/bin/java", RuntimeKind::kJava},
      {"ruby3.1", RuntimeKind::kRuby},
      {"php8.2", RuntimeKind::kPhp},
      {"/usr/sbin/php-fpm8.2", RuntimeKind::kPhp},
      {"php-fpm", RuntimeKind::kPhp},
      {"perl5.36.0", RuntimeKind::kPerl},
      {"beam.smp", RuntimeKind::kErlang},
      {"dotnet", RuntimeKind::kDotnet},
      {"deno", RuntimeKind::kDeno},
      {"bun", RuntimeKind::kBun},
      {"/bin/dash", RuntimeKind::kShell},
      {"nginx", RuntimeKind::kNative},
      {"nodemon", RuntimeKind::kNative},
      {"pythonista", RuntimeKind::kNative},
      {"3.11", RuntimeKind::kNative},
      {"", RuntimeKind::kNative},
      {"/", RuntimeKind::kNative},
  };
  for (const auto& [name, kind] : cases) EXPECT_EQ(RuntimeFromName(name), kind) << name;
}

std::string WithNeeded(const std::string& library) {
  ElfImage image;
  uint32_t strings = image.Add(".dynstr", SHT_STRTAB, std::string(1, '\0') + library + '\0');
  image.Add(".dynamic", SHT_DYNAMIC,
            image.Word(DT_NEEDED, 8) + image.Word(1, 8) + image.Word(DT_NULL, 8) + image.Word(0, 8),
            strings);
  return image.Build();
}

RuntimeKind KindOf(const std::string& content) {
  TemporaryFile file(content);
  return InspectBinary("/srv/shop/shopd", file.path()).runtime;
}

TEST(InspectBinary, ProgramsThatLinkARuntime) {
  EXPECT_EQ(KindOf(WithNeeded("libpython3.11.so.1.0")), RuntimeKind::kPython);
  EXPECT_EQ(KindOf(WithNeeded("libnode.so.108")), RuntimeKind::kNode);
  EXPECT_EQ(KindOf(WithNeeded("libjvm.so")), RuntimeKind::kJava);
  EXPECT_EQ(KindOf(WithNeeded("libruby-3.1.so.3.1")), RuntimeKind::kRuby);
  EXPECT_EQ(KindOf(WithNeeded("libhostfxr.so")), RuntimeKind::kDotnet);
  EXPECT_EQ(KindOf(WithNeeded("libc.so.6")), RuntimeKind::kNative);
}

TEST(InspectBinary, RustSaysSoInItsComment) {
  ElfImage image;
  image.Add(".comment", SHT_PROGBITS, std::string("GCC: 12\0rustc version 1.75.0", 29));
  EXPECT_EQ(KindOf(image.Build()), RuntimeKind::kRust);
}

TEST(InspectBinary, WhatCannotBeReadIsWhatItsNameSays) {
  EXPECT_EQ(InspectBinary("/usr/bin/node", "/nonexistent").runtime, RuntimeKind::kNode);
  EXPECT_EQ(InspectBinary("/usr/bin/x", "/nonexistent").runtime, RuntimeKind::kNative);
  EXPECT_EQ(InspectBinary("", "").runtime, RuntimeKind::kNative);
  EXPECT_EQ(KindOf("no ELF"), RuntimeKind::kNative);
  EXPECT_EQ(InspectBinary("/x", "/proc/self/exe").runtime, RuntimeKind::kNative);
}

}  // namespace
}  // namespace zerotap
