// What a PostgreSQL session remembers between messages: query texts, counted by reference so that a
// prepared text is never copied, and the names of prepared statements and portals, least recently
// used ones going first. Storage is reused, so that steady traffic allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace zerotap::postgres {

constexpr uint32_t kNone = UINT32_MAX;

class TextPool {
 public:
  // A text with one reference. kNone when the pool's memory is used up.
  uint32_t Add(std::string_view text, bool truncated);
  // kNone is allowed below.
  void Retain(uint32_t id);
  void Release(uint32_t id);

  std::string_view text(uint32_t id) const {
    return id == kNone ? std::string_view() : std::string_view(slots_[id].text);
  }
  bool truncated(uint32_t id) const { return id != kNone && slots_[id].truncated; }
  size_t MemorySize() const;

  static constexpr size_t kMaxBytes = 4 << 20;

 private:
  struct Slot {
    std::string text;
    uint32_t references = 0;
    uint32_t next_free = kNone;
    bool truncated = false;
  };
  std::vector<Slot> slots_;
  uint32_t first_free_ = kNone;
  size_t bytes_ = 0;          // of texts in use
  size_t free_capacity_ = 0;  // of strings kept for reuse
  size_t capacity_ = 0;       // of all strings
};

// Where a request begins that a message of this name opens, and which message run it belongs to.
struct Opening {
  uint64_t start_ns = 0;
  uint64_t offset = 0;
  uint64_t segment = 0;  // messages between two Flush or Sync; 0 = none
};

struct NamedEntry {
  uint32_t text = kNone;    // owned reference
  uint64_t registered = 0;  // number of the frontend message that did it
  uint32_t handle = kNone;  // of this entry in its table
  Opening opening;          // not yet taken by a later message
  uint32_t unit = kNone;    // statement in flight that the opening message belongs to
  uint32_t unit_generation = 0;
};

// Names of statements or portals of one connection. The empty name has a place of its own and is
// never evicted.
class NameTable {
 public:
  NameTable(TextPool& texts, size_t capacity) : texts_(texts), capacity_(capacity) {}

  // Null when unknown. A found entry becomes the most recently used one.
  NamedEntry* Find(std::string_view name);
  // The entry of that name, without its old text; takes over the reference to `text`. Null for an
  // overlong name.
  NamedEntry* Set(std::string_view name, uint32_t text, uint64_t registered);
  void Erase(std::string_view name);
  // Only entries registered before message number `before`.
  void EraseOlder(std::string_view name, uint64_t before);
  void ClearOlder(uint64_t before);
  // The entry with that handle if message number `registered` made it.
  void EraseRegistered(uint32_t handle, uint64_t registered);
  bool EvictOldest();

  size_t size() const { return count_; }
  size_t MemorySize() const;

 private:
  struct Node {
    std::string name;
    uint64_t hash = 0;
    uint32_t next_in_bucket = kNone;  // also the free list
    uint32_t newer = kNone;
    uint32_t older = kNone;
    NamedEntry entry;
  };
  static constexpr uint32_t kUnnamedHandle = kNone - 1;
  uint32_t FindNode(std::string_view name, uint64_t hash) const;
  void Remove(uint32_t index);
  void Unlink(uint32_t index);
  void LinkNewest(uint32_t index);
  void Grow();

  TextPool& texts_;
  const size_t capacity_;
  NamedEntry unnamed_;
  bool has_unnamed_ = false;
  std::vector<Node> nodes_;
  std::vector<uint32_t> buckets_;
  uint32_t first_free_ = kNone;
  uint32_t newest_ = kNone;
  uint32_t oldest_ = kNone;
  size_t count_ = 0;
  size_t name_capacity_ = 0;
};

}  // namespace zerotap::postgres
