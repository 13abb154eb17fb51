#include "agent/capture/preemption.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <iterator>
#include <optional>

#include "agent/base/unique_fd.h"
#include "agent/capture/kernel_btf.h"

namespace zerotap {
namespace {

// Where struct task_struct says how often its migration was disabled.
std::optional<int16_t> MigrationDisabledOffset(const btf* kernel) {
  const auto offset = MemberOffset(kernel, "task_struct", "migration_disabled");
  if (!offset) return std::nullopt;
  return static_cast<int16_t>(*offset);
}

constexpr uint64_t kSeen = 0x10000;
constexpr uint64_t kCountMask = 0xffff;  // an unsigned short

bpf_insn Instruction(uint8_t code, uint8_t destination, uint8_t source, int16_t offset,
                     int32_t immediate) {
  bpf_insn instruction{};
  instruction.code = code;
  instruction.dst_reg = destination;
  instruction.src_reg = source;
  instruction.off = offset;
  instruction.imm = immediate;
  return instruction;
}

// if (bpf_get_current_pid_tgid() == thread) *result = kSeen | current->migration_disabled;
UniqueFd LoadProgram(int16_t offset, int result_map, uint64_t thread) {
  constexpr uint8_t kLoad64 = BPF_LD | BPF_IMM | BPF_DW;
  auto low = static_cast<int32_t>(thread);
  auto high = static_cast<int32_t>(thread >> 32);
  const bpf_insn program[] = {
      Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_pid_tgid),
      Instruction(kLoad64, BPF_REG_1, 0, 0, low),
      Instruction(0, 0, 0, 0, high),
      Instruction(BPF_JMP | BPF_JNE | BPF_X, BPF_REG_0, BPF_REG_1, 6, 0),
      Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_task_btf),
      Instruction(BPF_LDX | BPF_MEM | BPF_H, BPF_REG_0, BPF_REG_0, offset, 0),
      Instruction(BPF_ALU64 | BPF_OR | BPF_K, BPF_REG_0, 0, 0, kSeen),
      Instruction(kLoad64, BPF_REG_1, BPF_PSEUDO_MAP_VALUE, 0, result_map),
      Instruction(0, 0, 0, 0, 0),
      Instruction(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_0, 0, 0),
      Instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
      Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  return UniqueFd(bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "zt_preemption", "GPL", program,
                                std::size(program), nullptr));
}

}  // namespace

bool DirectProgramsArePreemptible(const btf* kernel, const std::string& tracepoint) {
  std::optional<int16_t> offset = MigrationDisabledOffset(kernel);
  if (!offset) return false;  // before 5.11, where programs always ran with preemption disabled
  UniqueFd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "zt_preemption", sizeof(uint32_t),
                              sizeof(uint64_t), 1, nullptr));
  if (!map) return true;
  uint64_t thread = static_cast<uint64_t>(::getpid()) << 32 | static_cast<uint32_t>(::gettid());
  UniqueFd program = LoadProgram(*offset, map.get(), thread);
  if (!program) return true;
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return true;
  UniqueFd from(pair[0]);
  UniqueFd to(pair[1]);
  UniqueFd link(bpf_raw_tracepoint_open(tracepoint.c_str(), program.get()));
  if (!link) return true;
  if (::send(from.get(), "", 1, MSG_NOSIGNAL) != 1) return true;
  uint32_t key = 0;
  uint64_t result = 0;
  if (bpf_map_lookup_elem(map.get(), &key, &result) != 0) return true;
  return !(result & kSeen) || (result & kCountMask) != 0;
}

}  // namespace zerotap
