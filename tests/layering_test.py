#!/usr/bin/env python3
"""Holds the rooms' graph of docs/architecture.md: every #include of the repository is checked against it.

usage: tests/layering_test.py [--self-test]   (without the flag both the self-test and the repository are checked)

A room may include itself, the rooms reachable from it in ROOMS, and the third-party headers of those rooms' rows. Also
checked: no catch-all folder names, and no source file beyond 700 lines.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# room -> (rooms it sees, third-party header prefixes that it may include itself)
ROOMS = {
    "bpf_abi": ((), ()),
    "base": ((), ("spdlog/",)),
    "telemetry": (("base",), ()),
    "events": (("base", "bpf_abi"), ()),
    "packets": (("base", "bpf_abi"), ()),
    "redaction": (("base", "bpf_abi"), ()),
    "pcap": (("events", "packets"), ("pcap/", "pcap.h")),
    "http": (("base",), ("curl/",)),
    "symbolizers": (("base",), ("libelf.h", "gelf.h", "elf.h", "elfutils/", "dwarf.h")),
    "protocols": (("telemetry",), ()),
    "processors": (("telemetry",), ("re2/",)),
    "metrics": (("telemetry",), ()),
    "process": (("telemetry", "symbolizers"), ("nlohmann/", "re2/")),
    "exporters": (("telemetry", "http"),
                  ("google/protobuf/", "opentelemetry/", "libdeflate.h", "nlohmann/")),
    "capture": (("events", "bpf_skeleton"), ("bpf/", "linux/bpf.h")),
    "connection": (("events", "protocols"), ()),
    "traces": (("protocols",), ()),
    "harm": (("base",), ()),
    "pipeline": (("connection", "traces", "metrics", "processors", "harm"), ("nlohmann/",)),
    "app": (("pipeline", "capture", "pcap", "redaction", "process", "symbolizers", "exporters"),
            ("yaml-cpp/", "CLI/", "nlohmann/", "httplib.h")),
    "agent": (("app",), ()),
    "bpf_skeleton": (("bpf_abi",), ()),
}
# Rooms without threads, clocks or I/O of their own.
PURE = ("base", "telemetry", "events", "packets", "redaction", "protocols", "connection", "traces", "metrics", "processors", "harm", "pipeline")
# Headers that a pure room has no use for; base alone wraps some of them.
IMPURE = ("thread", "sys/socket.h", "sys/epoll.h", "filesystem", "fstream")
IMPURE_ALLOWED = {("events", "fstream")}  # the recording file

# Third-party prefixes: an include of one of these needs a row that names it. Anything else in <> is the C or C++
# library, the kernel's user API, or vocabulary that base lays down for all rooms (tl::expected, fmt).
THIRD_PARTY = tuple(sorted({p for _, prefixes in ROOMS.values() for p in prefixes} - {"linux/bpf.h", "elf.h"}
                           | {"gtest/", "gmock/", "benchmark/", "boost/", "absl/", "grpc", "openssl/"}))

FORBIDDEN_FOLDERS = {"util", "utils", "common", "misc", "helper", "helpers"}
SOURCE_SUFFIXES = (".h", ".cc", ".c", ".hpp", ".cpp")
MAX_LINES = 700
SKIPPED_FOLDERS = {".git", "build", "node_modules", "__pycache__"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    """The room of a repository path, or None for what lies outside of all rooms (tests, generated code)."""
    parts = path.split("/")
    if parts[0] in ("symbolizers", "exporters"):
        return parts[0]
    if parts[:2] == ["bpf", "abi"]:
        return "bpf_abi"
    if parts[0] == "bpf":
        return "bpf"
    if parts[0] == "agent":
        return parts[1] if len(parts) > 2 else "agent"
    return None


def visible_rooms(room):
    seen, queue = {room}, [room]
    while queue:
        for other in ROOMS[queue.pop()][0]:
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return seen


def check_include(path, quote, target):
    """The complaint about one include of one file, or None."""
    room = room_of(path)
    if room is None:  # tests see everything, but only through the root
        if quote == '"' and target.startswith("../"):
            return "includes go from the repository root"
        return None
    if room == "bpf":
        if quote == '"' and not target.startswith("bpf/") and "/" in target:
            return "bpf/ includes nothing from outside bpf/"
        return None
    if room not in ROOMS:
        return f"'{room}' is no known room: add it to docs/architecture.md and to tests/layering_test.py"
    if quote == '"':
        if target.startswith("bpf/") and target.endswith(".skel.h"):
            target_room = "bpf_skeleton"
        elif target.startswith("opentelemetry/"):
            return None if room == "exporters" else "protobuf messages are for exporters/ only"
        elif target.startswith("bpf/") and not target.startswith("bpf/abi/"):
            return "only bpf/abi/ is for user space"
        else:
            target_room = room_of(target)
        if target_room is None:
            return f'"{target}" is not a path from the repository root into a room'
        if target_room not in visible_rooms(room):
            return f"room {room} must not see room {target_room}"
        return None
    if room in PURE and target in IMPURE and (room, target) not in IMPURE_ALLOWED:
        return f"<{target}> has no place in {room}, a room without threads or I/O"
    if target.startswith(THIRD_PARTY) or target in ("linux/bpf.h", "elf.h"):
        own = [r for r in ROOMS if any(target.startswith(p) for p in ROOMS[r][1])]
        if room in own:
            return None
        return f"<{target}> may be included only in {', '.join(own) or 'tests'}"
    return None


def check_file(path, text):
    problems = []
    for match in INCLUDE.finditer(text):
        complaint = check_include(path, match.group(1), match.group(2))
        if complaint:
            line = text.count("\n", 0, match.start()) + 1
            problems.append(f"{path}:{line}: {match.group(0).strip()}: {complaint}")
    lines = text.count("\n")
    if lines > MAX_LINES and "/proto/" not in path:
        problems.append(f"{path}: {lines} lines, the limit is {MAX_LINES}: which second job moved in?")
    return problems


def check_folder(path):
    name = path.rsplit("/", 1)[-1]
    if name in FORBIDDEN_FOLDERS and "/proto/" not in path:  # vendored definitions keep their own paths
        return [f"{path}/: a folder is named after what it is about, not '{name}'"]
    return []


def check_graph():
    """The table itself: every row names known rooms and nothing is circular."""
    problems = []
    for room, (others, _) in ROOMS.items():
        for other in others:
            if other not in ROOMS:
                problems.append(f"row {room} names the unknown room {other}")
            elif room in visible_rooms(other):
                problems.append(f"rooms {room} and {other} see each other")
    return problems


def check_repository(root):
    problems, files = check_graph(), 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        relative = os.path.relpath(folder, root)
        if relative != ".":
            problems += check_folder(relative)
        for name in sorted(names):
            if name.endswith(SOURCE_SUFFIXES):
                path = os.path.normpath(os.path.join(relative, name))
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                    problems += check_file(path, file.read())
                files += 1
    if files == 0:
        problems.append(f"no source file found under {root}")
    return problems, files


def self_test():
    """What must be refused is refused, and what is fine is not."""
    refused = [
        ("agent/base/x.h", '#include "agent/telemetry/span.h"'),
        ("agent/protocols/http1.cc", '#include "agent/events/event.h"'),
        ("agent/pipeline/pipeline.cc", '#include "agent/app/config.h"'),
        ("agent/pipeline/pipeline.cc", '#include "agent/process/process.h"'),
        ("agent/connection/x.cc", '#include "agent/capture/probe_loader.h"'),
        ("exporters/batcher.cc", '#include "agent/pipeline/ledger.h"'),
        ("agent/app/runner.cc", "#include <bpf/libbpf.h>"),
        ("agent/app/runner.cc", "#include <curl/curl.h>"),
        ("agent/app/replay_command.cc", "#include <pcap/pcap.h>"),
        ("agent/packets/packet.cc", "#include <pcap.h>"),
        ("agent/packets/packet.cc", '#include "agent/events/event.h"'),
        ("agent/process/x.cc", "#include <libelf.h>"),
        ("agent/traces/x.cc", "#include <google/protobuf/message.h>"),
        ("agent/pipeline/pipeline.cc", "  #  include <thread>"),
        ("agent/events/event.h", '#include "bpf/lib/maps.h"'),
        ("agent/metrics/x.cc", '#include "red_aggregator.h"'),
        ("bpf/socket_io.bpf.c", '#include "agent/base/bytes.h"'),
        ("agent/newroom/x.cc", '#include "agent/base/bytes.h"'),
        ("agent/protocols/x.cc", "#include <gtest/gtest.h>"),
        ("agent/x/long.cc", "\n" * (MAX_LINES + 1)),
    ]
    accepted = [
        ("agent/base/log.cc", "#include <spdlog/spdlog.h>"),
        ("agent/pipeline/pipeline.cc", '#include "agent/events/event_source.h"\n#include "agent/base/bytes.h"'),
        ("agent/capture/probe_loader.cc", '#include <bpf/libbpf.h>\n#include "bpf/zerotap.skel.h"'),
        ("agent/capture/ring.cc", '#include "bpf/abi/event.h"'),
        ("agent/pcap/pcap_source.cc", '#include <pcap/pcap.h>\n#include "agent/packets/packet.h"'),
        ("exporters/otlp/encoder.cc", '#include "opentelemetry/proto/trace/v1/trace.pb.h"'),
        ("agent/app/runner.cc", '#include <thread>\n#include "agent/capture/probe_loader.h"'),
        ("bpf/socket_io.bpf.c", '#include "bpf/abi/event.h"\n#include <bpf/bpf_helpers.h>'),
        ("tests/unit/pipeline/pipeline_test.cc", '#include <gtest/gtest.h>\n#include "agent/pipeline/pipeline.h"'),
        ("agent/metrics/x.cc", "// #include <thread> would be wrong here\n#include <vector>"),
    ]
    failures = [f"accepted: {p}: {t!r}" for p, t in refused if not check_file(p, t)]
    failures += [f"refused: {c}" for p, t in accepted for c in check_file(p, t)]
    if not check_folder("agent/util") or check_folder("agent/base"):
        failures.append("folder names are not checked")
    return failures


def main():
    failures = self_test()
    for failure in failures:
        print(f"self-test: {failure}")
    if "--self-test" in sys.argv[1:]:
        return 1 if failures else 0
    problems, files = check_repository(ROOT)
    for problem in problems:
        print(problem)
    print(f"layering: {files} files checked, {len(problems)} problems")
    return 1 if failures or problems else 0


if __name__ == "__main__":
    sys.exit(main())
