// What the kernel's own type information says of its structs.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

struct btf;

namespace zerotap {

// Where the struct has the member, in bytes; also where it is one of a nameless struct within, as all
// of task_struct is in kernels that shuffle it (CONFIG_RANDSTRUCT). Nothing where it has none.
std::optional<uint32_t> MemberOffset(const btf* kernel, const char* struct_name,
                                     std::string_view member);

}  // namespace zerotap
