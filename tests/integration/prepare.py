"""Builds the traced programs and installs their drivers, pinned, into the cache folder; does nothing when that is done."""

import hashlib
import os
import shutil
import subprocess

from harness import APPS, CACHE, PYTHON, SYSTEM_PYTHON

JDBC = "/usr/share/java/postgresql.jar"
GO_APPS = os.path.join(CACHE, "go-apps")
COLLECTOR = os.path.join(CACHE, "otel-collector")
JAVA_CLASSES = os.path.join(CACHE, "java")
NODE_FOLDER = os.path.join(CACHE, "node")
BENCH_APPS = os.path.join(os.path.dirname(os.path.dirname(APPS)), "bench", "apps")
EXPRESS_FOLDER = os.path.join(CACHE, "express")  # for tests/bench/run


def _digest(*paths):
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _once(name, sources, make):
    """Runs make() unless it ran for these very sources already."""
    stamp = os.path.join(CACHE, f"{name}.stamp")
    wanted = _digest(*sources)
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        return
    print(f"preparing {name} ...", flush=True)
    make()
    with open(stamp, "w") as file:
        file.write(wanted)


def _run(command, **options):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout.decode(errors='replace')[-4000:]}")


def _python():
    folder = os.path.join(CACHE, "venv")
    shutil.rmtree(folder, ignore_errors=True)
    _run([SYSTEM_PYTHON, "-m", "venv", folder])
    _run([PYTHON, "-m", "pip", "install", "-q", "--only-binary", ":all:", "-r", os.path.join(APPS, "requirements.txt")])


def _go_build(folder, program):
    environment = dict(os.environ, GOFLAGS="-mod=readonly -buildvcs=false", GOTOOLCHAIN="local", CGO_ENABLED="0")
    _run(["go", "build", "-o", program, "."], cwd=os.path.join(APPS, folder), env=environment)


def _go():
    _go_build("go", GO_APPS)


def _collector():
    """The OpenTelemetry Collector, in the newest version that Debian 12's Go 1.19 compiles."""
    _go_build("collector", COLLECTOR)


def _java():
    shutil.rmtree(JAVA_CLASSES, ignore_errors=True)
    _run(["javac", "-d", JAVA_CLASSES, os.path.join(APPS, "java", "Apps.java")])


def _node_folder(source, folder, *modules):
    """Modules that Debian's own Node finds by itself serve as well as the pinned ones."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    if shutil.which("npm"):
        _run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder)
    for module in modules:
        _run(["node", "-e", f"require('{module}')"], cwd=folder)


def _node():
    _node_folder(os.path.join(APPS, "node"), NODE_FOLDER, "pg")


def _express():
    _node_folder(os.path.join(BENCH_APPS, "express"), EXPRESS_FOLDER, "pg", "express")


def java(*arguments):
    return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{JAVA_CLASSES}:{JDBC}", "Apps", *arguments]


def node(script, *arguments):
    return ["node", os.path.join(NODE_FOLDER, script), *arguments]


def prepare_node():
    os.makedirs(CACHE, exist_ok=True)
    _once("node", [os.path.join(APPS, "node", n) for n in ("driver.js", "pieces.js", "server.js", "package-lock.json")], _node)


def prepare():
    os.makedirs(CACHE, exist_ok=True)
    _once("python", [os.path.join(APPS, "requirements.txt")], _python)
    _once("go", [os.path.join(APPS, "go", n) for n in ("main.go", "go.mod", "go.sum")], _go)
    _once("collector", [os.path.join(APPS, "collector", n) for n in ("main.go", "go.mod", "go.sum")], _collector)
    _once("java", [os.path.join(APPS, "java", "Apps.java")], _java)
    prepare_node()


def prepare_bench():
    """What the services of tests/bench/run need."""
    prepare()
    _once("express", [os.path.join(BENCH_APPS, "express", n) for n in ("server.js", "package-lock.json")], _express)


if __name__ == "__main__":
    prepare()
