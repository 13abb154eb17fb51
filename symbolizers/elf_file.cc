#include "symbolizers/elf_file.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

namespace zerotap {
namespace {

constexpr size_t kMaxSections = 4096;
constexpr size_t kMaxSegments = 512;
constexpr size_t kMaxNameTable = 256 * 1024;
constexpr size_t kMaxDynamic = 64 * 1024;
constexpr size_t kMaxNeeded = 64;
constexpr size_t kMaxLibraryName = 256;
constexpr size_t kMaxSectionName = 256;

struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};

std::string ReadFrom(int fd, uint64_t offset, size_t limit) {
  std::string bytes(limit, '\0');
  size_t filled = 0;
  while (filled < limit) {
    ssize_t count =
        pread(fd, bytes.data() + filled, limit - filled, static_cast<off_t>(offset + filled));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    filled += static_cast<size_t>(count);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

Result<ElfFile> ElfFile::Open(const std::string& path) {
  ElfFile elf;
  // O_NONBLOCK: a FIFO put in the file's place must not hold us.
  elf.file_.Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!elf.file_) return FailErrno("open " + path);
  struct stat info{};
  if (fstat(elf.file_.get(), &info) != 0) return FailErrno("fstat " + path);
  if (!S_ISREG(info.st_mode)) return Fail(path + " is not a regular file");
  Status status = elf.ReadHeaders();
  if (!status) return tl::unexpected<Error>(status.error());
  return elf;
}

uint64_t ElfFile::Word(std::string_view bytes, size_t width) const {
  if (bytes.size() < width) return 0;
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) {
    size_t index = is_big_endian_ ? i : width - 1 - i;
    value = (value << 8) | static_cast<unsigned char>(bytes[index]);
  }
  return value;
}

Status ElfFile::ReadHeaders() {
  std::string header = ReadFrom(file_.get(), 0, sizeof(Elf64_Ehdr));
  if (header.size() < sizeof(Elf32_Ehdr) || header.compare(0, SELFMAG, ELFMAG) != 0) {
    return Fail("not an ELF file");
  }
  is_64_bit_ = header[EI_CLASS] == ELFCLASS64;
  is_big_endian_ = header[EI_DATA] == ELFDATA2MSB;
  if (is_64_bit_ && header.size() < sizeof(Elf64_Ehdr)) return Fail("ELF header is cut short");
  size_t counts = is_64_bit_ ? offsetof(Elf64_Ehdr, e_phnum) : offsetof(Elf32_Ehdr, e_phnum);
  std::string_view bytes(header);
  uint64_t segment_count = Word(bytes.substr(counts), 2);
  uint64_t section_count = Word(bytes.substr(counts + 4), 2);
  size_t table = is_64_bit_ ? offsetof(Elf64_Ehdr, e_shoff) : offsetof(Elf32_Ehdr, e_shoff);
  bool extended = section_count == 0 && Word(bytes.substr(table), is_64_bit_ ? 8 : 4) != 0;
  // Extended numbering (a count kept in section 0) is for objects with over 65,000 sections.
  if (extended || section_count > kMaxSections || segment_count > kMaxSegments) {
    return Fail("ELF header counts are out of bounds");
  }

  if (elf_version(EV_CURRENT) == EV_NONE) return Fail("libelf is too old");
  std::unique_ptr<Elf, ElfCloser> elf(elf_begin(file_.get(), ELF_C_READ, nullptr));
  if (elf == nullptr || elf_kind(elf.get()) != ELF_K_ELF) return Fail("not an ELF file");

  for (size_t i = 0; i < segment_count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &segment) == nullptr) break;
    if (segment.p_type != PT_LOAD) continue;
    segments_.push_back({segment.p_flags, segment.p_vaddr, segment.p_offset, segment.p_filesz});
  }
  std::vector<uint64_t> name_offsets;
  for (size_t i = 0; i < section_count; ++i) {
    ElfSection section;
    uint64_t name_offset = UINT64_MAX;
    GElf_Shdr raw;
    Elf_Scn* scn = elf_getscn(elf.get(), i);
    // Indices must stay those of the file, so a section that cannot be read stays in the list,
    // empty.
    if (scn != nullptr && gelf_getshdr(scn, &raw) != nullptr) {
      name_offset = raw.sh_name;
      section.type = raw.sh_type;
      section.link = raw.sh_link;
      section.address = raw.sh_addr;
      section.offset = raw.sh_offset;
      section.size = raw.sh_size;
    }
    sections_.push_back(std::move(section));
    name_offsets.push_back(name_offset);
  }
  size_t name_table = 0;
  if (elf_getshdrstrndx(elf.get(), &name_table) == 0) NameSections(name_table, name_offsets);
  return {};
}

void ElfFile::NameSections(size_t name_table, const std::vector<uint64_t>& name_offsets) {
  if (name_table >= sections_.size()) return;
  std::string names = ReadSection(sections_[name_table], kMaxNameTable);
  for (size_t i = 0; i < sections_.size(); ++i) {
    if (name_offsets[i] >= names.size()) continue;
    std::string_view name = std::string_view(names).substr(static_cast<size_t>(name_offsets[i]));
    sections_[i].name = name.substr(0, std::min(name.find('\0'), kMaxSectionName));
  }
}

const ElfSection* ElfFile::FindSection(std::string_view name) const {
  for (const ElfSection& section : sections_) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

std::string ElfFile::ReadAt(uint64_t offset, size_t limit) const {
  if (offset > static_cast<uint64_t>(INT64_MAX) - limit) return {};
  return ReadFrom(file_.get(), offset, limit);
}

std::string ElfFile::ReadSection(const ElfSection& section, size_t limit) const {
  if (section.type == SHT_NOBITS || section.type == SHT_NULL) return {};
  return ReadAt(section.offset, static_cast<size_t>(std::min<uint64_t>(section.size, limit)));
}

std::string ElfFile::ReadAddress(uint64_t address, size_t limit) const {
  for (const ElfSegment& segment : segments_) {
    if (address < segment.address || address - segment.address >= segment.file_size) continue;
    uint64_t into = address - segment.address;
    uint64_t offset = segment.offset + into;
    if (offset < segment.offset) return {};
    return ReadAt(offset, static_cast<size_t>(std::min<uint64_t>(segment.file_size - into, limit)));
  }
  return {};
}

std::vector<std::string> ElfFile::NeededLibraries() const {
  std::vector<std::string> libraries;
  const size_t width = is_64_bit_ ? 8 : 4;
  for (const ElfSection& section : sections_) {
    if (section.type != SHT_DYNAMIC || section.link >= sections_.size()) continue;
    const ElfSection& strings = sections_[section.link];
    std::string bytes = ReadSection(section, kMaxDynamic);
    std::string_view rest(bytes);
    for (; rest.size() >= 2 * width; rest.remove_prefix(2 * width)) {
      uint64_t tag = Word(rest, width);
      if (tag == DT_NULL || libraries.size() >= kMaxNeeded) break;
      uint64_t offset = Word(rest.substr(width), width);
      if (tag != DT_NEEDED || offset >= strings.size) continue;
      uint64_t position = strings.offset + offset;
      if (position < strings.offset) continue;
      std::string name = ReadAt(position, kMaxLibraryName);
      libraries.push_back(name.substr(0, name.find('\0')));
    }
    break;
  }
  return libraries;
}

}  // namespace zerotap
