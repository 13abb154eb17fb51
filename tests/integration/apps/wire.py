"""Sockets by every system call that moves bytes, and just enough HTTP to read messages from them."""

import ctypes
import os
import socket
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(_Iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("header", _Msghdr), ("length", ctypes.c_uint32)]


def _mmsg(parts):
    buffers = [ctypes.create_string_buffer(p, len(p)) for p in parts]
    iovecs = [_Iovec(ctypes.addressof(b), len(p)) for b, p in zip(buffers, parts)]
    messages = (_Mmsghdr * len(parts))()
    for message, iovec in zip(messages, iovecs):
        message.header.iov = ctypes.pointer(iovec)
        message.header.iovlen = 1
    return messages, buffers, iovecs


def pieces(data, count):
    """`data` cut into `count` parts of nearly equal size."""
    step = max(1, -(-len(data) // count))
    return [data[i:i + step] for i in range(0, len(data), step)]


def send_all(sock, data, how="send"):
    """Sends all of `data` by the named system call."""
    if how == "send":
        sock.sendall(data)
    elif how == "write":
        while data:
            data = data[os.write(sock.fileno(), data):]
    elif how == "bytes":  # one system call, and mostly one segment, a byte
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            sock.sendall(data[i:i + 1])
    elif how == "halves":
        middle = len(data) // 2
        sock.sendall(data[:middle])
        time.sleep(0.03)
        sock.sendall(data[middle:])
    elif how == "writev":
        while data:
            data = data[os.writev(sock.fileno(), pieces(data, 40)):]
    elif how == "sendmsg":
        while data:
            data = data[sock.sendmsg(pieces(data, 5)):]
    elif how == "sendto":
        while data:
            data = data[sock.send(data[:4096]):]
    elif how == "sendmmsg":
        parts = pieces(data, 6)
        while parts:
            messages, _buffers, _iovecs = _mmsg(parts)
            sent = libc.sendmmsg(sock.fileno(), messages, len(parts), 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            last = messages[sent - 1].length
            rest = parts[sent - 1][last:]
            parts = ([rest] if rest else []) + parts[sent:]
    elif how in ("sendfile", "splice"):
        # A head by send, a body from a file: what is sent from a file cannot be read in the sender's memory by anyone.
        head, mark, data = data.partition(b"\r\n\r\n")
        sock.sendall(head + mark)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            file.seek(0)
            (send_file if how == "sendfile" else splice_file)(sock, file, len(data))
    else:
        raise ValueError(how)


def send_file(sock, file, length):
    offset = 0
    while offset < length:
        offset += os.sendfile(sock.fileno(), file.fileno(), offset, length - offset)


def splice_file(sock, file, length):
    read_end, write_end = os.pipe()
    try:
        left = length
        while left:
            moved = os.splice(file.fileno(), write_end, min(left, 65536))
            left -= moved
            while moved:
                moved -= os.splice(read_end, sock.fileno(), moved)
    finally:
        os.close(read_end)
        os.close(write_end)


class Reader:
    """Reads lines and byte counts from a socket by the named system call."""

    def __init__(self, sock, how="recv"):
        self.sock, self.how, self.buffer = sock, how, b""

    def _more(self):
        how, sock = self.how, self.sock
        if how == "recv":
            return sock.recv(65536)
        if how == "read":
            return os.read(sock.fileno(), 65536)
        if how == "small":
            return sock.recv(7)
        if how == "peek":
            sock.recv(10, socket.MSG_PEEK)
            sock.recv(65536, socket.MSG_PEEK)
            return sock.recv(65536)
        if how == "recvmsg":
            return sock.recvmsg(65536)[0]
        if how == "readv":
            parts = [bytearray(11), bytearray(3), bytearray(65536)]
            count = os.readv(sock.fileno(), parts)
            return b"".join(parts)[:count]
        if how == "recvmmsg":
            messages, buffers, _iovecs = _mmsg([bytes(4096)] * 4)
            count = libc.recvmmsg(sock.fileno(), messages, 4, 0x10000, None)  # MSG_WAITFORONE
            if count < 0:
                raise OSError(ctypes.get_errno(), "recvmmsg")
            return b"".join(b.raw[:m.length] for b, m in zip(buffers, messages[:count]))
        raise ValueError(how)

    def fill(self):
        data = self._more()
        self.buffer += data
        return bool(data)

    def until(self, mark):
        """Bytes up to and with `mark`; None at the end of the stream."""
        while mark not in self.buffer:
            if not self.fill():
                return None
        end = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError("the stream ended")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def skip(self, count):
        """Reads and throws away; for bodies of any size."""
        while count:
            if not self.buffer and not self.fill():
                raise EOFError("the stream ended")
            step = min(count, len(self.buffer))
            self.buffer = self.buffer[step:]
            count -= step

    def to_end(self):
        total = len(self.buffer)
        self.buffer = b""
        while True:
            data = self._more()
            if not data:
                return total
            total += len(data)


def read_head(reader):
    """(start line, {lower-case name: value}); (None, None) at the end of the stream."""
    head = reader.until(b"\r\n\r\n")
    if head is None:
        return None, None
    start, *lines = head.decode("latin-1").split("\r\n")
    return start, {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}


def read_chunked(reader):
    total = 0
    while True:
        size = int(reader.until(b"\r\n").split(b";")[0], 16)
        if size == 0:
            while reader.until(b"\r\n") != b"\r\n":
                pass
            return total
        reader.skip(size)
        reader.skip(2)
        total += size
