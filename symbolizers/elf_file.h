// The layout of an ELF file: sections, load segments and bounded reads of their bytes.
//
// The files belong to the traced programs and may be anything. libelf decodes the headers (classes,
// byte orders); bytes are read with pread and a bound by whoever asks, never mapped, because a
// mapping of a file that is being truncated kills the reader. Header counts are checked before
// libelf allocates by them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/unique_fd.h"

namespace zerotap {

struct ElfSection {
  std::string name;
  uint32_t type = 0;  // SHT_*
  uint32_t link = 0;
  uint64_t address = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
};

struct ElfSegment {    // PT_LOAD
  uint32_t flags = 0;  // PF_*
  uint64_t address = 0;
  uint64_t offset = 0;
  uint64_t file_size = 0;
};

class ElfFile {
 public:
  static Result<ElfFile> Open(const std::string& path);

  const std::vector<ElfSection>& sections() const { return sections_; }
  const std::vector<ElfSegment>& segments() const { return segments_; }
  bool is_64_bit() const { return is_64_bit_; }
  bool is_big_endian() const { return is_big_endian_; }

  const ElfSection* FindSection(std::string_view name) const;
  // At most `limit` bytes at a file offset; shorter when the file ends.
  std::string ReadAt(uint64_t offset, size_t limit) const;
  // The section's first bytes; empty for sections without bytes in the file.
  std::string ReadSection(const ElfSection& section, size_t limit) const;
  // Bytes at a virtual address; empty when no load segment has it in the file.
  std::string ReadAddress(uint64_t address, size_t limit) const;
  // An integer of 4 or 8 bytes in the file's byte order at the start of `bytes`.
  uint64_t Word(std::string_view bytes, size_t width) const;
  // Names of the shared libraries it needs (DT_NEEDED), at most 64.
  std::vector<std::string> NeededLibraries() const;

 private:
  Status ReadHeaders();
  void NameSections(size_t name_table, const std::vector<uint64_t>& name_offsets);

  UniqueFd file_;
  bool is_64_bit_ = false;
  bool is_big_endian_ = false;
  std::vector<ElfSection> sections_;
  std::vector<ElfSegment> segments_;
};

}  // namespace zerotap
