/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Numbers and argument registers of the calls that move bytes through a socket. At the exit of a
 * call, and inside it, the saved registers still hold both, so nothing has to be remembered from
 * its entry. */
#ifndef ZEROTAP_BPF_SYSCALLS_H
#define ZEROTAP_BPF_SYSCALLS_H

#include "bpf/lib/kernel.h"

#if defined(__TARGET_ARCH_x86)
enum {
	NR_READ = 0,
	NR_WRITE = 1,
	NR_READV = 19,
	NR_WRITEV = 20,
	NR_SENDFILE = 40,
	NR_SENDTO = 44,
	NR_RECVFROM = 45,
	NR_SENDMSG = 46,
	NR_RECVMSG = 47,
	NR_GETSOCKOPT = 55,
	NR_SPLICE = 275,
	NR_RECVMMSG = 299,
	NR_SENDMMSG = 307,
	NR_PREADV2 = 327,
	NR_PWRITEV2 = 328,
	NR_IO_URING_ENTER = 426,
};
/* Of 32-bit callers; none is a number above. */
enum {
	NR_COMPAT_READ = 3,
	NR_COMPAT_WRITE = 4,
	NR_COMPAT_SOCKETCALL = 102,
	NR_COMPAT_READV = 145,
	NR_COMPAT_WRITEV = 146,
	NR_COMPAT_SENDFILE = 187,
	NR_COMPAT_SENDFILE64 = 239,
	NR_COMPAT_GETSOCKOPT = 365,
	NR_COMPAT_SENDTO = 369,
	NR_COMPAT_SENDMSG = 370,
	NR_COMPAT_RECVFROM = 371,
	NR_COMPAT_RECVMSG = 372,
};
#else
enum {
	NR_READ = 63,
	NR_WRITE = 64,
	NR_READV = 65,
	NR_WRITEV = 66,
	NR_SENDFILE = 71,
	NR_SENDTO = 206,
	NR_RECVFROM = 207,
	NR_GETSOCKOPT = 209,
	NR_SENDMSG = 211,
	NR_RECVMSG = 212,
	NR_SPLICE = 76,
	NR_RECVMMSG = 243,
	NR_SENDMMSG = 269,
	NR_PREADV2 = 286,
	NR_PWRITEV2 = 287,
	NR_IO_URING_ENTER = 426,
};
#endif

struct zt_syscall {
	__u64 number;
	__u64 argument[4];
};

/* `regs` must be a pointer the verifier knows as struct pt_regs. */
static __always_inline void zt_read_syscall(struct zt_syscall *call, struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	call->number = regs->orig_ax;
	call->argument[0] = regs->di;
	call->argument[1] = regs->si;
	call->argument[2] = regs->dx;
	call->argument[3] = regs->r10;
#else
	call->number = (__u32)regs->syscallno;
	call->argument[0] = regs->orig_x0;
	call->argument[1] = regs->regs[1];
	call->argument[2] = regs->regs[2];
	call->argument[3] = regs->regs[3];
#endif
}

/* The argument behind those, for which few calls are asked. */
static __always_inline __u64 zt_fifth_argument(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->r8;
#else
	return regs->regs[4];
#endif
}

/* Where struct thread_info tells that the task runs a 32-bit call: other numbers, another layout of
 * the arguments. */
#if defined(__TARGET_ARCH_x86)
#define ZT_COMPAT_FIELD status
#define ZT_COMPAT_BITS TS_COMPAT
#else
#define ZT_COMPAT_FIELD flags
#define ZT_COMPAT_BITS (1ull << TIF_32BIT)
#endif

#endif
