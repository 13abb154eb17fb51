#include "symbolizers/tls_code.h"

#include <algorithm>
#include <string_view>

#include "symbolizers/elf_file.h"

namespace zerotap {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kMaxSectionBytes = size_t{64} << 20;

// Reads in pieces that overlap by the length of what is looked for.
bool SectionHas(const ElfFile& elf, std::string_view section_name, std::string_view text) {
  const ElfSection* section = elf.FindSection(section_name);
  if (section == nullptr) return false;
  const uint64_t size = std::min<uint64_t>(section->size, kMaxSectionBytes);
  for (uint64_t at = 0; at < size; at += kPieceBytes) {
    const std::string piece =
        elf.ReadAt(section->offset + at, std::min(kPieceBytes + text.size(), size - at));
    if (piece.find(text) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::string TlsCodeOf(const std::string& file) {
  Result<ElfFile> elf = ElfFile::Open(file);
  if (!elf) return {};
  if (SectionHas(*elf, ".gopclntab", "crypto/tls.(*Conn).Read")) return "crypto/tls";
  // Programs that call a library have its names among those that they import, too.
  for (const std::string& library : elf->NeededLibraries()) {
    if (library.rfind("libssl", 0) == 0) return {};
  }
  constexpr std::string_view kName("\0SSL_read\0", 10);
  if (SectionHas(*elf, ".dynstr", kName) || SectionHas(*elf, ".strtab", kName)) {
    return "OpenSSL in the program";
  }
  return {};
}

}  // namespace zerotap
