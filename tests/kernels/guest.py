"""Packs an initramfs of our own and boots a kernel with it in QEMU, without KVM, modules, disks or a network."""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("ZEROTAP_BUILD", os.path.join(ROOT, "build", "release"))
BUSYBOX = "/bin/busybox"
QEMU = "qemu-system-x86_64"
# Name in the guest: where it is built. The peers have several names, because a service is named by its program.
PROGRAMS = {"zerotap": "zerotap", "clang-14.o": "bpf/zerotap.bpf.o", "clang-19.o": "bpf/clang-19/zerotap.bpf.o",
            "load_programs": "kernel_load_programs",
            "odd_host": "kernel_odd_host", "conformance": "conformance",
            **{name: "kernel_peers" for name in ("web_server", "web_client", "old_client", "brief_client", "load_client",
                                                 "sql_server", "sql_client")}}


def missing_tools():
    return [tool for tool in (QEMU, BUSYBOX, "cpio") if not shutil.which(tool)]


def libraries(program):
    """What the dynamic linker would load; nothing for a static program."""
    result = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return re.findall(r"(/\S+) \(0x", result.stdout.decode()) if result.returncode == 0 else []


def copy(source, root, place):
    """A file or folder of this host at `place` in the guest, with the libraries that it loads."""
    target = root + place
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target)
        return
    shutil.copy(os.path.realpath(source), target)
    for library in libraries(source):
        if not os.path.exists(root + library):
            copy(library, root, library)


def pack(image, programs=None, files=None):
    """The initramfs with what was built, in the file `image`; and with `files`, {place in the guest: here}."""
    with tempfile.TemporaryDirectory(prefix="zerotap-guest.") as root:
        os.chmod(root, 0o755)  # the guest's root, which not only root may enter
        for folder in ("bin", "t"):
            os.makedirs(os.path.join(root, folder))
        shutil.copy(BUSYBOX, os.path.join(root, "bin/busybox"))
        os.symlink("busybox", os.path.join(root, "bin/sh"))
        for name, built in (programs or PROGRAMS).items():
            target = os.path.join(root, "t", name)
            source = built if os.path.isabs(built) else os.path.join(BUILD, built)
            copy(source, root, f"/t/{name}")
            if not name.endswith(".o"):
                subprocess.run(["strip", target], check=True)
        for place, source in (files or {}).items():
            copy(source, root, place)
        shutil.copy(os.path.join(HERE, "guest/init"), os.path.join(root, "init"))
        shutil.copy(os.path.join(HERE, "guest/cases.sh"), os.path.join(root, "t/cases.sh"))
        os.chmod(os.path.join(root, "init"), 0o755)
        subprocess.run(f"find . | cpio -o -H newc --quiet | gzip -1 > '{os.path.abspath(image)}'", shell=True, cwd=root, check=True,
                       stdin=subprocess.DEVNULL)


def boot(kernel, image, folder, cases, smp="2", append="", memory=1536, timeout=240):
    """One run. Its console is in `folder`/console, what the cases left in `folder`/results. Returns an error or None."""
    os.makedirs(folder, exist_ok=True)
    packed = os.path.join(folder, "results.tar.gz")
    open(packed, "wb").close()
    command = ["timeout", "--kill-after=5", str(timeout), QEMU, "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", smp,
               "-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-serial", f"file:{packed}",
               "-no-reboot", "-kernel", kernel, "-initrd", image, "-append",
               f"console=ttyS0 quiet panic=-1 mitigations=off ZT_CASES={','.join(cases)} {append}"]
    with open(os.path.join(folder, "qemu.log"), "wb") as log:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=False)
    console = result.stdout.decode(errors="replace").replace("\r", "")
    with open(os.path.join(folder, "console"), "w") as file:
        file.write(console)
    if os.path.getsize(packed):
        try:
            with tarfile.open(packed) as tar:
                tar.extractall(folder)
        except (tarfile.TarError, EOFError, OSError) as error:
            return f"its results cannot be unpacked: {error}"
    last = "\n".join(console.splitlines()[-12:])
    if "@@BEGIN" not in console:
        return f"it did not boot:\n{last}"
    if "@@RC 0" not in console:
        why = f"was not done in {timeout} s" if result.returncode == 124 else "did not go through all of its cases"
        return f"the guest {why}:\n{last}"
    return None


def seconds(folder):
    """Case: how long it took in the guest."""
    with open(os.path.join(folder, "console")) as file:
        return {name: float(end) - float(begin) for name, begin, end in re.findall(r"^@@CASE (\S+) (\S+) (\S+)$", file.read(), re.MULTILINE)}
