// Loads every program of a BPF object on its own and prints what the verifier says of it, one JSON
// object a line: {"program", "loaded", "instructions", "why"}; before them its maps: {"map",
// "per_cpu"}. On its own, because one program that
// a kernel refuses must not hide the others; by the verifier's statistics, because kernels before
// 5.16 do not keep the count.
//
// usage: load_programs OBJECT        exit status 0: every program whose hook exists was accepted
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr int kLogStatistics = 4;  // BPF_LOG_STATS
constexpr int kLogSteps = 1;       // BPF_LOG_LEVEL1

struct ObjectDeleter {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPtr = std::unique_ptr<bpf_object, ObjectDeleter>;

struct Outcome {
  bool loaded = false;
  long instructions = 0;
  int error = 0;
  std::string log;
};

int Quiet(libbpf_print_level, const char*, va_list) { return 0; }

long InstructionsIn(const std::string& log) {
  const size_t at = log.rfind("processed ");
  return at == std::string::npos ? 0 : std::strtol(log.c_str() + at + 10, nullptr, 10);
}

// Loads `name` alone out of the object.
Outcome Load(const char* path, const std::string& name, int log_level) {
  Outcome outcome;
  ObjectPtr object(bpf_object__open_file(path, nullptr));
  if (!object) {
    outcome.error = errno;
    return outcome;
  }
  std::vector<char> log(16 << 20);
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get()) {
    const bool wanted = name == bpf_program__name(program);
    bpf_program__set_autoload(program, wanted);
    if (!wanted) continue;
    bpf_program__set_log_level(program, log_level);
    bpf_program__set_log_buf(program, log.data(), log.size());
  }
  const int result = bpf_object__load(object.get());
  outcome.loaded = result == 0;
  outcome.error = -result;
  outcome.log.assign(log.data(), ::strnlen(log.data(), log.size()));
  outcome.instructions = InstructionsIn(outcome.log);
  return outcome;
}

// The tracepoint in "tp_btf/NAME" must be in the kernel's BTF; so must those of the programs that
// find theirs at run time.
bool HasHook(const btf* kernel, const std::string& name, const std::string& section) {
  const size_t slash = section.find('/');
  std::string tracepoint;
  if (section.compare(0, slash, "tp_btf") == 0) tracepoint = section.substr(slash + 1);
  if (name.compare(0, 7, "tier_a_") == 0) tracepoint = "sock_send_length";
  if (tracepoint.empty()) return true;
  const std::string type = "btf_trace_" + tracepoint;
  return btf__find_by_name_kind(kernel, type.c_str(), BTF_KIND_TYPEDEF) > 0;
}

std::string Json(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      quoted += c;
    } else {
      quoted += ' ';
    }
  }
  return quoted + "\"";
}

void Print(const std::string& name, const char* section, const Outcome& outcome,
           const std::string& why) {
  std::printf(
      "{\"program\": %s, \"section\": %s, \"loaded\": %s, \"instructions\": %ld, \"why\": %s}\n",
      Json(name).c_str(), Json(section).c_str(), outcome.loaded ? "true" : "false",
      outcome.instructions, Json(why).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s OBJECT\n", argv[0]);
    return 2;
  }
  libbpf_set_print(Quiet);
  ObjectPtr object(bpf_object__open_file(argv[1], nullptr));
  std::unique_ptr<btf, void (*)(btf*)> kernel(btf__load_vmlinux_btf(), btf__free);
  if (!object || !kernel) {
    std::fprintf(stderr, "%s: %s\n", object ? "/sys/kernel/btf/vmlinux" : argv[1],
                 std::strerror(errno));
    return 2;
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) {
    const bpf_map_type type = bpf_map__type(map);
    const bool per_cpu = type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
                         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
    std::printf("{\"map\": %s, \"per_cpu\": %s}\n", Json(bpf_map__name(map)).c_str(),
                per_cpu ? "true" : "false");
  }
  int refused = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get()) {
    const std::string name = bpf_program__name(program);
    const char* section = bpf_program__section_name(program);
    if (!HasHook(kernel.get(), name, section)) {
      Print(name, section, {}, "no such hook in this kernel");
      continue;
    }
    Outcome outcome = Load(argv[1], name, kLogStatistics);
    std::string why;
    if (!outcome.loaded) {
      ++refused;
      const std::string log = Load(argv[1], name, kLogSteps).log;
      why = std::string(std::strerror(outcome.error)) + "\n" +
            log.substr(log.size() > 3000 ? log.size() - 3000 : 0);
    }
    Print(name, section, outcome, why);
  }
  return refused == 0 ? 0 : 1;
}
