"""Packet captures: tcpdump beside a test, and the same packets in other file forms and below other link layers."""

import re
import signal
import struct

from harness import tail, wait_until

ETHERNET, NULL, RAW, LINUX_COOKED, LINUX_COOKED2 = 1, 0, 101, 113, 276
MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D


class Tcpdump:
    """Captures what a filter lets through, from the moment on that this returns."""

    def __init__(self, workspace, name, expression, interface="lo", arguments=()):
        self.workspace, self.path = workspace, workspace.file(name + ".pcap")
        # A user of its own is no use in a folder of ours. Each packet takes room for the longest one in the buffer.
        self.process = workspace.start(["tcpdump", "-Z", "root", "-i", interface, "-U", "--immediate-mode", "-B", "65536",
                                        "-s", "70000", "-w", self.path, *arguments, expression], "tcpdump-" + name)
        wait_until(lambda: self._begun(), "tcpdump does not start")

    def _begun(self):
        if self.process.poll() is not None:
            raise AssertionError("tcpdump ended: " + tail(self.process.log_path))
        return "listening on" in tail(self.process.log_path)

    def stop(self):
        """The path of the capture; fails if the kernel dropped packets, which would be no fault of zerotap."""
        self.workspace.stop(self.process, signal.SIGINT)
        text = tail(self.process.log_path)
        dropped = re.search(r"(\d+) packets dropped by kernel", text)
        if dropped is None or int(dropped.group(1)) != 0:
            raise AssertionError("tcpdump lost packets: " + text)
        return self.path


def read_pcap(path):
    """(link type, [(time in nanoseconds, bytes, length on the wire)])"""
    with open(path, "rb") as file:
        data = file.read()
    magic, _, _, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    unit = {MICROSECONDS: 1000, NANOSECONDS: 1}[magic]
    packets, offset = [], 24
    while offset + 16 <= len(data):
        seconds, fraction, captured, length = struct.unpack_from("<IIII", data, offset)
        offset += 16
        packets.append((seconds * 10**9 + fraction * unit, data[offset:offset + captured], length))
        offset += captured
    return link & 0xFFFF, packets


def write_pcap(path, link, packets, magic=NANOSECONDS, order="<"):
    unit = 1000 if magic == MICROSECONDS else 1
    with open(path, "wb") as file:
        file.write(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link))
        for time_ns, data, length in packets:
            file.write(struct.pack(order + "IIII", time_ns // 10**9, time_ns % 10**9 // unit, len(data), length) + data)
    return path


def write_pcapng(path, link, packets):
    def block(kind, body):
        body += b"\0" * (-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    with open(path, "wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack("<HHI", link, 0, 0) + struct.pack("<HHBxxxHH", 9, 1, 9, 0, 0)))
        for time_ns, data, length in packets:
            file.write(block(6, struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), length) + data))
    return path


def relinked(packets, link, tags=()):
    """Packets below Ethernet as they would be below another link layer, or with VLAN tags (type, number)."""
    result = []
    for time_ns, data, length in packets:
        kind = data[12:14]
        if link == ETHERNET:
            head = data[:12] + b"".join(struct.pack(">HH", tag, number) for tag, number in tags) + kind
        elif link == NULL:
            head = struct.pack("<I", {b"\x08\x00": 2, b"\x86\xdd": 10}[kind])
        elif link == LINUX_COOKED:
            head = struct.pack(">HHH8s", 0, 772, 6, b"\0" * 8) + kind
        elif link == LINUX_COOKED2:
            head = kind + struct.pack(">HIHBB8s", 0, 1, 772, 0, 6, b"\0" * 8)
        else:
            head = b""
        result.append((time_ns, head + data[14:], length - 14 + len(head)))
    return result
