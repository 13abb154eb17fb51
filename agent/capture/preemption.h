// Whether the kernel preempts programs that are attached directly to a tracepoint.
#pragma once

#include <string>

struct btf;

namespace zerotap {

// From kernel 7.0 on (commits f7d327654b88, a46023d5616e) such a program can be preempted, and
// every event that comes on its CPU meanwhile passes it by. This asks the kernel itself: a program
// of a few instructions, attached to `tracepoint` for the length of one write to a socket of our
// own, reads whether the kernel has disabled its migration to another CPU. It has to where it does
// not disable preemption. True also when that could not be found out. `kernel` is the kernel's BTF;
// `tracepoint` must be one that a write to a socket passes.
bool DirectProgramsArePreemptible(const btf* kernel, const std::string& tracepoint);

}  // namespace zerotap
