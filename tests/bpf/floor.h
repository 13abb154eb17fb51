/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Steps of floor.bpf.c, as bits. */
#ifndef ZEROTAP_TESTS_BPF_FLOOR_H
#define ZEROTAP_TESTS_BPF_FLOOR_H

enum floor_step {
	FLOOR_TASK = 0x01,
	FLOOR_REGISTERS = 0x02, /* needs the task */
	FLOOR_STATE = 0x04,
	FLOOR_CLOCK = 0x08,
	FLOOR_RECORD = 0x10,
	FLOOR_HEADER = 0x20,  /* these two need the record, */
	FLOOR_PAYLOAD = 0x40, /* and this one the registers */
};

#endif
