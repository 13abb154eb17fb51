#include "agent/protocols/postgres_store.h"

#include <algorithm>

#include "agent/base/hash.h"
#include "agent/protocols/postgres_messages.h"

namespace zerotap::postgres {
namespace {

// String capacity kept for reuse; above it memory goes back.
constexpr size_t kMaxFreeCapacity = 32 * 1024;

}  // namespace

uint32_t TextPool::Add(std::string_view text, bool truncated) {
  if (bytes_ + text.size() > kMaxBytes) return kNone;
  uint32_t id = first_free_;
  if (id == kNone) {
    id = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
    capacity_ += slots_.back().text.capacity();
  } else {
    first_free_ = slots_[id].next_free;
    free_capacity_ -= slots_[id].text.capacity();
  }
  Slot& slot = slots_[id];
  capacity_ -= slot.text.capacity();
  slot.text.assign(text);
  capacity_ += slot.text.capacity();
  slot.references = 1;
  slot.truncated = truncated;
  bytes_ += text.size();
  return id;
}

void TextPool::Retain(uint32_t id) {
  if (id != kNone) ++slots_[id].references;
}

void TextPool::Release(uint32_t id) {
  if (id == kNone || --slots_[id].references > 0) return;
  Slot& slot = slots_[id];
  bytes_ -= slot.text.size();
  if (free_capacity_ + slot.text.capacity() > kMaxFreeCapacity) {
    capacity_ -= slot.text.capacity();
    std::string().swap(slot.text);
    capacity_ += slot.text.capacity();
  }
  slot.text.clear();
  free_capacity_ += slot.text.capacity();
  slot.next_free = first_free_;
  first_free_ = id;
}

size_t TextPool::MemorySize() const { return slots_.capacity() * sizeof(Slot) + capacity_; }

uint32_t NameTable::FindNode(std::string_view name, uint64_t hash) const {
  if (buckets_.empty()) return kNone;
  uint32_t index = buckets_[hash & (buckets_.size() - 1)];
  while (index != kNone && (nodes_[index].hash != hash || nodes_[index].name != name)) {
    index = nodes_[index].next_in_bucket;
  }
  return index;
}

NamedEntry* NameTable::Find(std::string_view name) {
  if (name.empty()) return has_unnamed_ ? &unnamed_ : nullptr;
  uint32_t index = FindNode(name, HashText(name));
  if (index == kNone) return nullptr;
  if (index != newest_) {
    Unlink(index);
    LinkNewest(index);
  }
  return &nodes_[index].entry;
}

NamedEntry* NameTable::Set(std::string_view name, uint32_t text, uint64_t registered) {
  NamedEntry* entry = Find(name);
  uint32_t handle = kUnnamedHandle;
  if (entry != nullptr) {
    texts_.Release(entry->text);
    handle = entry->handle;
  } else if (name.empty()) {
    has_unnamed_ = true;
    entry = &unnamed_;
  } else if (name.size() > kMaxNameBytes || capacity_ == 0) {
    texts_.Release(text);
    return nullptr;
  } else {
    if (count_ >= capacity_) EvictOldest();
    if (count_ >= buckets_.size()) Grow();
    uint32_t index = first_free_;
    if (index == kNone) {
      index = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      name_capacity_ += nodes_.back().name.capacity();
    } else {
      first_free_ = nodes_[index].next_in_bucket;
    }
    Node& node = nodes_[index];
    name_capacity_ -= node.name.capacity();
    node.name.assign(name);
    name_capacity_ += node.name.capacity();
    node.hash = HashText(name);
    uint32_t& bucket = buckets_[node.hash & (buckets_.size() - 1)];
    node.next_in_bucket = bucket;
    bucket = index;
    LinkNewest(index);
    ++count_;
    entry = &node.entry;
    handle = index;
  }
  *entry = NamedEntry();
  entry->handle = handle;
  entry->text = text;
  entry->registered = registered;
  return entry;
}

void NameTable::Erase(std::string_view name) { EraseOlder(name, UINT64_MAX); }

void NameTable::EraseOlder(std::string_view name, uint64_t before) {
  if (name.empty()) {
    if (!has_unnamed_ || unnamed_.registered >= before) return;
    texts_.Release(unnamed_.text);
    unnamed_ = NamedEntry();
    has_unnamed_ = false;
    return;
  }
  uint32_t index = FindNode(name, HashText(name));
  if (index != kNone && nodes_[index].entry.registered < before) Remove(index);
}

void NameTable::ClearOlder(uint64_t before) {
  EraseOlder({}, before);
  uint32_t index = oldest_;
  while (index != kNone) {
    uint32_t newer = nodes_[index].newer;
    if (nodes_[index].entry.registered < before) Remove(index);
    index = newer;
  }
}

void NameTable::EraseRegistered(uint32_t handle, uint64_t registered) {
  if (handle == kUnnamedHandle) {
    if (has_unnamed_ && unnamed_.registered == registered) Erase({});
  } else if (handle < nodes_.size() && nodes_[handle].entry.handle == handle &&
             nodes_[handle].entry.registered == registered) {
    Remove(handle);
  }
}

bool NameTable::EvictOldest() {
  if (oldest_ == kNone) return false;
  Remove(oldest_);
  return true;
}

void NameTable::Remove(uint32_t index) {
  Node& node = nodes_[index];
  uint32_t* link = &buckets_[node.hash & (buckets_.size() - 1)];
  while (*link != index) link = &nodes_[*link].next_in_bucket;
  *link = node.next_in_bucket;
  Unlink(index);
  texts_.Release(node.entry.text);
  node.entry = NamedEntry();
  node.next_in_bucket = first_free_;
  first_free_ = index;
  --count_;
}

void NameTable::Unlink(uint32_t index) {
  Node& node = nodes_[index];
  (node.newer == kNone ? newest_ : nodes_[node.newer].older) = node.older;
  (node.older == kNone ? oldest_ : nodes_[node.older].newer) = node.newer;
}

void NameTable::LinkNewest(uint32_t index) {
  nodes_[index].newer = kNone;
  nodes_[index].older = newest_;
  (newest_ == kNone ? oldest_ : nodes_[newest_].newer) = index;
  newest_ = index;
}

void NameTable::Grow() {
  buckets_.assign(std::max<size_t>(16, buckets_.size() * 2), kNone);
  for (uint32_t index = oldest_; index != kNone; index = nodes_[index].newer) {
    uint32_t& bucket = buckets_[nodes_[index].hash & (buckets_.size() - 1)];
    nodes_[index].next_in_bucket = bucket;
    bucket = index;
  }
}

size_t NameTable::MemorySize() const {
  return nodes_.capacity() * sizeof(Node) + buckets_.capacity() * sizeof(uint32_t) + name_capacity_;
}

}  // namespace zerotap::postgres
