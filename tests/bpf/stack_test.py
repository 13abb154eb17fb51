#!/usr/bin/env python3
"""Adds up the stack of every chain of calls in BPF objects, as the kernel's verifier does: what no kernel here is old enough to
refuse, others would.

usage: tests/bpf/stack_test.py OBJECT...   (linked objects: every function that is called is in them)
"""

import struct
import sys
import unittest

sys.dont_write_bytecode = True
MOST = 512           # MAX_BPF_STACK, of all frames together
MOST_FRAMES = 8      # MAX_CALL_FRAMES
ROUNDING = 32        # of each; 16 in newer kernels with a JIT
# What has to be among the programs; else the object was misread.
PROGRAMS = {"tier_a_length", "tier_a_send", "tier_a_receive", "tier_b_exit", "tier_b_exit_btf", "tcp_state", "process_exec"}

FRAME = 10           # the register that points to the end of the frame
SECTION, FUNCTION = 3, 2
OBJECTS = []


def frame_size(code):
    """How far below its end a function's frame is used."""
    lowest = 0
    pointers = {FRAME: 0}  # register -> where in the frame it points
    for at in range(0, len(code), 8):
        operation, registers, offset, value = struct.unpack_from("<BBhi", code, at)
        target, source = registers & 15, registers >> 4
        kind = operation & 7
        if kind in (2, 3) and target in pointers:      # a store
            lowest = min(lowest, pointers[target] + offset)
        if kind == 1:                                  # a load
            if source in pointers:
                lowest = min(lowest, pointers[source] + offset)
            pointers.pop(target, None)
        elif operation == 0x07 and target in pointers:  # r += value
            pointers[target] += value
            lowest = min(lowest, pointers[target])
        elif operation == 0xbf and source in pointers:  # r = r
            pointers[target] = pointers[source]
        elif operation == 0x85:
            pointers = {register: place for register, place in pointers.items() if register > 5}
        elif kind in (0, 4, 7):
            pointers.pop(target, None)
    return -lowest


class Object:
    """Functions of an ELF file, with the sizes of their frames and whom they call."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        if self.bytes[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path} is not an ELF file of 64 bits, little-endian")
        table, = struct.unpack_from("<Q", self.bytes, 0x28)
        size, count, _ = struct.unpack_from("<HHH", self.bytes, 0x3A)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.bytes, table + i * size) for i in range(count)]
        symbols = next(section for section in self.sections if section[1] == 2)
        self.symbols = [struct.unpack_from("<IBBHQQ", self.bytes, at)
                        for at in range(symbols[4], symbols[4] + symbols[5], 24)]
        names = self.sections[symbols[6]][4]
        self.functions = {}  # (section, begin) -> name
        self.sizes, self.calls, self.programs = {}, {}, set()
        ends = {}
        for name, info, _, section, begin, length in self.symbols:
            if info & 15 == FUNCTION and section:
                text = self.bytes[names + name:self.bytes.index(b"\0", names + name)].decode()
                self.functions[section, begin] = text
                ends[section, begin] = begin + length
                if self.name_of(section) != ".text":
                    self.programs.add(text)
        for (section, begin), name in self.functions.items():
            code = self.code_of(section)[begin:ends[section, begin]]
            self.sizes[name] = frame_size(code)
            self.calls[name] = set(self.called(section, begin, code))

    def name_of(self, section):
        header = struct.unpack_from("<H", self.bytes, 0x3E)[0]
        at = self.sections[header][4] + self.sections[section][0]
        return self.bytes[at:self.bytes.index(b"\0", at)].decode()

    def code_of(self, section):
        return self.bytes[self.sections[section][4]:self.sections[section][4] + self.sections[section][5]]

    def relocations(self, section):
        """Where in the section -> the symbol that is meant."""
        return {place: self.symbols[info >> 32] for header in self.sections if header[1] == 9 and header[7] == section
                for place, info in struct.iter_unpack("<QQ", self.bytes[header[4]:header[4] + header[5]])}

    def called(self, section, begin, code):
        """Names of the functions of this object that are called, or given to a helper that calls them."""
        symbols = self.relocations(section)
        at = 0
        while at < len(code):
            operation, registers, _, value = struct.unpack_from("<BBhi", code, at)
            symbol = symbols.get(begin + at)
            here = begin + at
            at += 16 if operation == 0x18 else 8
            if operation == 0x85 and registers >> 4 == 1:
                if symbol is None:
                    place = section, here + 8 * (value + 1)
                elif symbol[3] == 0:
                    continue  # a function of the kernel
                else:
                    place = symbol[3], symbol[4] + 8 * (value + 1)
            elif operation == 0x18 and symbol and symbol[1] & 15 in (SECTION, FUNCTION) and self.sections[symbol[3]][2] & 4:
                place = symbol[3], symbol[4] + value
            else:
                continue
            yield self.functions[place]

    def deepest(self, name, above=()):
        """The most that the frames of a function and of those that it calls take together, and who they are."""
        if name in above:
            raise ValueError(f"{name} calls itself")
        rest = max((self.deepest(other, (*above, name)) for other in self.calls[name]), default=(0, []))
        return rest[0] + -(-max(self.sizes[name], 1) // ROUNDING) * ROUNDING, [name, *rest[1]]

    def longest(self, name):
        return 1 + max(map(self.longest, self.calls[name]), default=0)


def instructions(*those):
    return b"".join(struct.pack("<BBhi", operation, source << 4 | target, offset, value)
                    for operation, target, source, offset, value in those)


class StackTest(unittest.TestCase):
    def test_a_frame_is_as_large_as_what_is_used_of_it(self):
        self.assertEqual(frame_size(instructions((0xb7, 0, 0, 0, 0), (0x95, 0, 0, 0, 0))), 0)
        self.assertEqual(frame_size(instructions((0x7b, 10, 1, -40, 0), (0x79, 1, 10, -48, 0))), 48)
        # r2 = r10; r2 += -136, and what stands before that
        place = ((0xbf, 2, 10, 0, 0), (0x07, 2, 0, 0, -136))
        self.assertEqual(frame_size(instructions(*place)), 136)
        self.assertEqual(frame_size(instructions(*place, (0x7b, 2, 1, -8, 0))), 144)
        # r2 is something else: loaded, or lost in a call
        self.assertEqual(frame_size(instructions(*place, (0x79, 2, 1, 0, 0), (0x7b, 2, 1, -200, 0))), 136)
        self.assertEqual(frame_size(instructions(*place, (0x85, 0, 0, 0, 5), (0x7b, 2, 1, -200, 0))), 136)

    def test_no_chain_of_calls_needs_more_than_there_is(self):
        self.assertTrue(OBJECTS, "no object is given")
        for path in OBJECTS:
            binary = Object(path)
            self.assertLessEqual(PROGRAMS, binary.programs, path)
            for name in sorted(binary.programs):
                with self.subTest(object=path, program=name):
                    size, chain = binary.deepest(name)
                    if name.startswith("tier_"):
                        self.assertGreater(len(chain), 1, "its calls were misread")
                    self.assertLessEqual(size, MOST, " > ".join(f"{each} {binary.sizes[each]}" for each in chain))
                    self.assertLessEqual(binary.longest(name), MOST_FRAMES)


if __name__ == "__main__":
    OBJECTS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
