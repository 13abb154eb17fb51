// Builds small ELF files for tests.
#pragma once

#include <elf.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/unique_fd.h"

namespace zerotap {

// Sections in the order of Add; all are also inside one writable load segment that maps the file at
// kBase.
class ElfImage {
 public:
  static constexpr uint64_t kBase = 0x400000;

  explicit ElfImage(bool is_64_bit = true, bool is_big_endian = false)
      : is_64_bit_(is_64_bit), is_big_endian_(is_big_endian) {
    bytes_.resize(256, '\0');  // headers
    Add("", SHT_NULL, "");
    sections_[0].offset = 0;
  }

  // Returns the section's index.
  uint32_t Add(std::string_view name, uint32_t type, std::string_view content, uint32_t link = 0) {
    while (bytes_.size() % 16 != 0) bytes_.push_back('\0');
    sections_.push_back({std::string(name), type, link, bytes_.size(), content.size()});
    bytes_.append(content);
    return static_cast<uint32_t>(sections_.size() - 1);
  }
  // Where the next section will be in memory.
  uint64_t NextAddress() const { return kBase + (bytes_.size() + 15) / 16 * 16; }

  std::string Word(uint64_t value, size_t width) const {
    std::string bytes(width, '\0');
    for (size_t i = 0; i < width; ++i) {
      bytes[is_big_endian_ ? width - 1 - i : i] = static_cast<char>(value >> (8 * i));
    }
    return bytes;
  }

  std::string Build(bool with_sections = true) {
    std::string names(1, '\0');
    std::vector<uint64_t> name_offsets;
    sections_.push_back({".shstrtab", SHT_STRTAB, 0, 0, 0});
    for (const Section& section : sections_) {
      name_offsets.push_back(section.name.empty() ? 0 : names.size());
      if (!section.name.empty()) names.append(section.name).push_back('\0');
    }
    while (bytes_.size() % 16 != 0) bytes_.push_back('\0');
    sections_.back().offset = bytes_.size();
    sections_.back().size = names.size();
    uint64_t loaded = bytes_.size();
    bytes_.append(names);
    while (bytes_.size() % 16 != 0) bytes_.push_back('\0');
    uint64_t table = with_sections ? bytes_.size() : 0;
    size_t count = with_sections ? sections_.size() : 0;

    const size_t word = is_64_bit_ ? 8 : 4;
    for (size_t i = 0; i < count; ++i) {
      const Section& s = sections_[i];
      uint64_t address = s.type == SHT_NULL ? 0 : kBase + s.offset;
      bytes_ += Word(name_offsets[i], 4) + Word(s.type, 4) + Word(SHF_ALLOC, word) +
                Word(address, word) + Word(s.offset, word) + Word(s.size, word) + Word(s.link, 4) +
                Word(0, 4) + Word(16, word) + Word(0, word);
    }
    std::string header = ELFMAG;
    header += static_cast<char>(is_64_bit_ ? ELFCLASS64 : ELFCLASS32);
    header += static_cast<char>(is_big_endian_ ? ELFDATA2MSB : ELFDATA2LSB);
    header += static_cast<char>(EV_CURRENT);
    header.resize(EI_NIDENT, '\0');
    size_t header_size = is_64_bit_ ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
    header += Word(ET_EXEC, 2) + Word(is_64_bit_ ? EM_X86_64 : EM_386, 2) + Word(1, 4) +
              Word(kBase, word) + Word(header_size, word) + Word(table, word) + Word(0, 4) +
              Word(header_size, 2) + Word(is_64_bit_ ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr), 2) +
              Word(1, 2) + Word(is_64_bit_ ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr), 2) +
              Word(count, 2) + Word(count == 0 ? 0 : count - 1, 2);
    // One segment from the first section on.
    uint64_t start = 256;
    std::string segment = Word(PT_LOAD, 4);
    if (is_64_bit_) segment += Word(PF_R | PF_W, 4);
    segment += Word(start, word) + Word(kBase + start, word) + Word(kBase + start, word) +
               Word(loaded - start, word) + Word(loaded - start, word);
    if (!is_64_bit_) segment += Word(PF_R | PF_W, 4);
    segment += Word(16, word);
    header += segment;
    return header + bytes_.substr(header.size());
  }

 private:
  struct Section {
    std::string name;
    uint32_t type;
    uint32_t link;
    uint64_t offset;
    uint64_t size;
  };

  bool is_64_bit_;
  bool is_big_endian_;
  std::string bytes_;
  std::vector<Section> sections_;
};

// A file in memory: rewriting one on disk thousands of times takes minutes.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content = "") : file_(memfd_create("elf", MFD_CLOEXEC)) {
    path_ = "/proc/self/fd/" + std::to_string(file_.get());
    Write(content);
  }

  void Write(std::string_view content) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
  }
  const std::string& path() const { return path_; }

 private:
  UniqueFd file_;
  std::string path_;
};

}  // namespace zerotap
