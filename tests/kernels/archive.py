"""Debian's kernel images, out of the archive that this host's own apt is set up for.

apt works here in a root of its own: nothing is installed, and the host's lists and packages are neither used nor changed.
The images are kept by the package's SHA-256, so that each is fetched once.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Where kernels of each age are. "-security" suites are in the archive of their own.
SUITES = ("bullseye-security", "bookworm-security", "bookworm-backports", "trixie-security", "trixie-backports")
# What the set of every change boots; "newest" is whatever of all suites has the highest version.
STANDARD = ("5.10", "6.1", "6.12", "7.0", "newest")
COMMANDS = {"update": "apt-get", "download": "apt-get", "indextargets": "apt-get", "show": "apt-cache", "pkgnames": "apt-cache"}
# Not the flavours for clouds, realtime and debugging, and not what has no signature.
NAME = re.compile(r"linux-(?:image|binary)-(\d+\.\d+\.[0-9][0-9a-z.+]*(?:-[0-9][0-9a-z.+]*)?)-amd64")


class Unavailable(Exception):
    """Why a kernel cannot be had here."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache"))
    return os.environ.get("ZEROTAP_KERNELS", os.path.join(base, "zerotap", "kernels"))


def order(version):
    """Sorts 6.12.9 before 6.12.10."""
    return [int(number) for number in re.findall(r"\d+", version)]


def mirrors():
    """The host's Debian archive and the one of its security updates."""
    result = subprocess.run(["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    main = security = None
    for line in result.stdout.decode().splitlines():
        uri, _, release = line.partition(" ")
        if release.endswith("-security") and "debian" in uri:
            security = security or uri
        elif re.fullmatch(r"[a-z]+(-updates|-backports)?", release) and re.search(r"/debian/?$", uri):
            main = main or uri
    if main and not security:
        security = re.sub(r"/debian/?$", "/debian-security/", main)  # side by side on every full mirror
    return main, security


class Archive:
    """Names of kernel packages by version, and their images."""

    def __init__(self, folder=None):
        self.folder = folder or cache_folder()
        os.makedirs(self.folder, exist_ok=True)
        self.root = tempfile.mkdtemp(prefix="zerotap-apt.")
        self.packages = {}   # version: package
        self.missing = {}    # suite: why it has none
        self.refresh()

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def apt(self, command, *arguments, cwd=None):
        # APT_CONFIG only here: in a shell that also installs, it would make apt take this root for the host's.
        program = COMMANDS[command]
        environment = dict(os.environ, APT_CONFIG=os.path.join(self.root, "apt.conf"), LC_ALL="C")
        return subprocess.run([program, "-qq", command, *arguments] if program == "apt-get" else [program, command, *arguments],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                              cwd=cwd, timeout=300, check=False)

    def refresh(self):
        main, security = mirrors()
        if not main:
            self.missing = {suite: "this host's apt knows no Debian archive" for suite in SUITES}
            return
        for folder in ("etc/sources.list.d", "etc/preferences.d", "etc/trusted.gpg.d", "etc/apt.conf.d", "state/lists/partial",
                       "cache/archives/partial"):
            os.makedirs(os.path.join(self.root, folder))
        open(os.path.join(self.root, "state/status"), "w").close()
        with open(os.path.join(self.root, "etc/sources.list"), "w") as file:
            for suite in SUITES:
                uri = security if suite.endswith("-security") else main
                file.write(f"deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n")
        with open(os.path.join(self.root, "apt.conf"), "w") as file:
            file.write(f'Dir::Etc "{self.root}/etc/";\nDir::State "{self.root}/state/";\nDir::State::status '
                       f'"{self.root}/state/status";\nDir::Cache "{self.root}/cache/";\nAPT::Architecture "amd64";\n'
                       'Acquire::Languages "none";\nAPT::Sandbox::User "root";\nAcquire::Retries "2";\nAcquire::http::Timeout "20";\n')
        update = self.apt("update")
        said = (update.stdout + update.stderr).decode(errors="replace").splitlines()
        present = set(self.apt("indextargets", "--format", "$(RELEASE)", "Identifier: Packages").stdout.decode().split())
        present |= set(self.apt("indextargets", "--format", "$(CODENAME)", "Identifier: Packages").stdout.decode().split())
        for suite in SUITES:
            if suite not in present:
                about = [line for line in said if f" {suite} " in line or f"/{suite}/" in line]
                self.missing[suite] = (about or said or ["the archive does not have it"])[0].strip()
        for name in self.apt("pkgnames", "linux-").stdout.decode().split():
            match = NAME.fullmatch(name)
            # Where the image is split from its modules, "linux-binary-" is the image.
            if match and (match[1] not in self.packages or name.startswith("linux-binary-")):
                self.packages[match[1]] = name

    def index(self):
        try:
            with open(os.path.join(self.folder, "index.json")) as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def versions(self, prefix):
        known = set(self.packages) | (set() if self.packages else set(self.index()))
        found = sorted((v for v in known if prefix == "newest" or v == prefix or re.match(re.escape(prefix) + r"[.+-]", v)), key=order)
        if not found:
            gone = "; ".join(f"{suite}: {why}" for suite, why in sorted(self.missing.items()))
            raise Unavailable(f"no suite that can be reached has a kernel {prefix}" + (f" ({gone})" if gone else ""))
        return found

    def series(self):
        """The newest of each a.b that is served."""
        newest = {}
        for version in sorted(self.packages or self.index(), key=order):
            newest[tuple(order(version)[:2])] = version
        return list(newest.values())

    def kernel(self, prefix):
        """(version, path of its vmlinuz) of the newest that begins with `prefix`."""
        version = self.versions(prefix)[-1]
        package = self.packages.get(version)
        if package is None:
            sha256 = self.index()[version]
        else:
            show = self.apt("show", package).stdout.decode(errors="replace")
            match = re.search(r"^SHA256: ([0-9a-f]{64})$", show, re.MULTILINE)
            if not match:
                raise Unavailable(f"{package}: the archive tells no checksum")
            sha256 = match[1]
        path = os.path.join(self.folder, sha256, "vmlinuz")
        if not os.path.exists(path):
            if package is None:
                raise Unavailable(f"{version} is no longer in {self.folder}")
            self.fetch(package, sha256)
            index = dict(self.index(), **{version: sha256})
            with open(os.path.join(self.folder, "index.json.new"), "w") as file:
                json.dump(index, file, indent=1, sort_keys=True)
            os.replace(os.path.join(self.folder, "index.json.new"), os.path.join(self.folder, "index.json"))
        return version, path

    def download(self, package, folder):
        """The .deb of a package in `folder`."""
        result = self.apt("download", package, cwd=folder)
        files = [name for name in os.listdir(folder) if name.startswith(package + "_")]
        if result.returncode != 0 or not files:
            raise Unavailable(f"{package}: {(result.stderr.decode(errors='replace').strip() or 'not downloaded').splitlines()[-1]}")
        return os.path.join(folder, files[0])

    def fetch(self, package, sha256):
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            deb = self.download(package, folder)
            with open(deb, "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != sha256:
                    raise Unavailable(f"{package}: what was downloaded has another checksum than the archive tells")
            unpacked = os.path.join(folder, "unpacked")
            os.makedirs(unpacked)
            subprocess.run(f"dpkg-deb --fsys-tarfile '{deb}' | tar -x -C '{unpacked}' --wildcards '*/vmlinuz*'", shell=True, check=True,
                           stdin=subprocess.DEVNULL)
            images = [os.path.join(where, name) for where, _, names in os.walk(unpacked) for name in names
                      if name.startswith("vmlinuz") and not os.path.islink(os.path.join(where, name))]
            if len(images) != 1:
                raise Unavailable(f"{package}: has {len(images)} kernel images")
            os.makedirs(os.path.join(self.folder, sha256), exist_ok=True)
            target = os.path.join(self.folder, sha256, "vmlinuz")
            os.replace(images[0], target + ".new")
            os.replace(target + ".new", target)
