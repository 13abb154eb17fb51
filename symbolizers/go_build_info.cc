// Layout (Go's debug/buildinfo and cmd/link; the header is aligned to 16 bytes):
//
//   0   14  magic "\xff Go buildinf:"
//   14   1  pointer size (pointer format only)
//   15   1  flags: 0x1 = big endian, 0x2 = strings are inline (Go 1.18 and later)
//   16  16  pointer format: address of the version's string header, address of the module text's
//   string header 32      inline format: uvarint length + version, uvarint length + module text
//
// A string header is (address, length). The module text is wrapped in two 16-byte marks; its lines
// are tab-separated: "path\t<package>", "mod\t<module>\t<version>\t<sum>", then dependencies and
// build settings.
#include "symbolizers/go_build_info.h"

#include <elf.h>

#include <algorithm>
#include <string_view>

namespace zerotap {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kMagic = "\xff Go buildinf:"sv;
constexpr size_t kAlignment = 16;
constexpr size_t kHeaderSize = 32;
constexpr size_t kMarkSize = 16;
constexpr size_t kMaxRead = 64 * 1024;  // the first lines of the module text are all that is wanted
constexpr size_t kMaxVersion = 256;
constexpr size_t kMaxPath = 1024;

// Takes a length-prefixed string off the front; what the read bound cut off is missing at its end.
bool TakeInline(std::string_view& bytes, std::string_view& text) {
  uint64_t length = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (bytes.empty() || shift > 56) return false;
    auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    length |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) break;
  }
  text = bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(length, bytes.size())));
  bytes.remove_prefix(text.size());
  return true;
}

std::string ReadGoString(const ElfFile& elf, uint64_t header, size_t pointer_size, size_t limit) {
  std::string bytes = elf.ReadAddress(header, 2 * pointer_size);
  if (bytes.size() < 2 * pointer_size) return {};
  uint64_t address = elf.Word(bytes, pointer_size);
  uint64_t length = elf.Word(std::string_view(bytes).substr(pointer_size), pointer_size);
  return elf.ReadAddress(address, static_cast<size_t>(std::min<uint64_t>(length, limit)));
}

bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

// The next tab-separated field of a line, empty when it is too long or not text.
std::string TakeField(std::string_view& line) {
  size_t end = std::min(line.find('\t'), line.size());
  std::string_view field = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  if (field.size() > kMaxPath || !IsPrintable(field)) return {};
  return std::string(field);
}

void ParseModuleText(std::string_view text, GoBuildInfo& info) {
  if (text.size() <= kMarkSize) return;
  text.remove_prefix(kMarkSize);
  while (!text.empty()) {
    size_t end = text.find('\n');
    if (end == std::string_view::npos) return;  // the closing mark, or the read bound
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    std::string kind = TakeField(line);
    if (kind == "path") {
      info.package_path = TakeField(line);
    } else if (kind == "mod") {
      info.module_path = TakeField(line);
      info.module_version = TakeField(line);
      return;
    } else if (kind == "dep" || kind == "build" || kind.empty()) {
      return;
    }
  }
}

std::optional<GoBuildInfo> Parse(const ElfFile& elf, std::string_view data) {
  for (size_t start = 0; start + kHeaderSize <= data.size(); start += kAlignment) {
    std::string_view bytes = data.substr(start);
    if (bytes.substr(0, kMagic.size()) != kMagic) continue;
    auto pointer_size = static_cast<size_t>(static_cast<unsigned char>(bytes[14]));
    auto flags = static_cast<unsigned char>(bytes[15]);
    GoBuildInfo info;
    if ((flags & 0x2) != 0) {
      bytes.remove_prefix(kHeaderSize);
      std::string_view version;
      std::string_view module_text;
      if (!TakeInline(bytes, version)) return std::nullopt;
      info.go_version = version.substr(0, kMaxVersion);
      if (TakeInline(bytes, module_text)) ParseModuleText(module_text, info);
    } else {
      if (pointer_size != 4 && pointer_size != 8) return std::nullopt;
      if (((flags & 0x1) != 0) != elf.is_big_endian()) return std::nullopt;
      uint64_t version = elf.Word(bytes.substr(16), pointer_size);
      uint64_t module_text = elf.Word(bytes.substr(16 + pointer_size), pointer_size);
      info.go_version = ReadGoString(elf, version, pointer_size, kMaxVersion);
      ParseModuleText(ReadGoString(elf, module_text, pointer_size, kMaxRead), info);
    }
    if (info.go_version.empty() || !IsPrintable(info.go_version)) return std::nullopt;
    return info;
  }
  return std::nullopt;
}

}  // namespace

std::optional<GoBuildInfo> ReadGoBuildInfo(const ElfFile& elf) {
  if (const ElfSection* section = elf.FindSection(".go.buildinfo")) {
    return Parse(elf, elf.ReadSection(*section, kMaxRead));
  }
  if (!elf.sections().empty()) return std::nullopt;
  // No section table: the linker puts the record at the start of the first writable segment.
  for (const ElfSegment& segment : elf.segments()) {
    if ((segment.flags & (PF_X | PF_W)) != PF_W) continue;
    return Parse(elf, elf.ReadAddress(segment.address, kMaxRead));
  }
  return std::nullopt;
}

}  // namespace zerotap
