#include "agent/capture/kernel_btf.h"

#include <bpf/btf.h>

namespace zerotap {
namespace {

std::optional<uint32_t> OffsetWithin(const btf* kernel, uint32_t id, std::string_view member) {
  const btf_type* type = btf__type_by_id(kernel, id);
  if (type == nullptr || !btf_is_composite(type)) return std::nullopt;
  const btf_member* members = btf_members(type);
  for (int i = 0; i < btf_vlen(type); ++i) {
    const std::string_view name = btf__name_by_offset(kernel, members[i].name_off);
    const uint32_t offset = btf_member_bit_offset(type, i) / 8;
    if (name == member) return offset;
    if (!name.empty()) continue;
    const std::optional<uint32_t> within = OffsetWithin(kernel, members[i].type, member);
    if (within) return offset + *within;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint32_t> MemberOffset(const btf* kernel, const char* struct_name,
                                     std::string_view member) {
  const int id = btf__find_by_name_kind(kernel, struct_name, BTF_KIND_STRUCT);
  if (id < 0) return std::nullopt;
  return OffsetWithin(kernel, static_cast<uint32_t>(id), member);
}

}  // namespace zerotap
