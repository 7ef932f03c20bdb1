"""What is built and where: our driver, the raw file, the peers. What cannot be built is named, and skipped."""

import os
import pathlib
import shutil
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = REPOSITORY / "Benchmarks"
SOURCES = BENCHMARKS / "Peers"
BUILD = REPOSITORY / ".build-bench"
PEERS_BUILD = BUILD / "peers"
DRIVER = BUILD / "release/wal-peer-driver"
VIRTUAL_ENVIRONMENT = REPOSITORY / ".venv-bench"
NATS_SERVER = VIRTUAL_ENVIRONMENT / "bin/nats-server"

CXX_FLAGS = ["-O2", "-std=c++17", "-msse4.2"]
GO_ENVIRONMENT = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}

# Name of the source, with the library that it needs.
CXX_PROGRAMS = {"raw": [], "rocksdb": ["-lrocksdb"], "sqlite": ["-lsqlite3"], "lmdb": ["-llmdb"]}
GO_PROGRAMS = {"etcd-wal": "etcd_wal.go", "nats": "nats.go"}
RAW_NAMES = ("raw-grow", "raw-zeroed", "raw-direct", "raw-dsync")


class Programs:
    """Where each name's program is; `skipped` has the reasons of those that are not there."""

    def __init__(self):
        self.paths = {}
        self.skipped = {}
        self.versions = {}

    def program(self, name):
        """The program for a name such as `bsfg-blocking-keys`, or None."""
        if name in RAW_NAMES:
            return self.paths.get("raw")
        return self.paths.get("bsfg" if name.startswith("bsfg") else name)


def _run(command, environment=None):
    """What went wrong, or nothing."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=REPOSITORY,
            env=dict(os.environ, **(environment or {})))
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
    lines = lines or (done.stderr + done.stdout).splitlines() or ["no reason told"]
    return f"it does not build: {lines[0].strip()}"


def _is_newer(program, sources):
    return program.exists() and all(
        source.stat().st_mtime < program.stat().st_mtime for source in sources)


def _build_cxx(programs, name, libraries):
    program = PEERS_BUILD / name
    sources = [SOURCES / f"{name}.cpp", SOURCES / "workload.cpp"]
    problem = None
    if not _is_newer(program, [*sources, SOURCES / "workload.hpp"]):
        problem = _run(["g++", *CXX_FLAGS, "-o", program, *sources, *libraries, "-lpthread"])
    _note(programs, name, program, problem)


def _build_go(programs, name, source):
    program = PEERS_BUILD / name
    sources = [SOURCES / source, SOURCES / "workload.go"]
    problem = None
    if not _is_newer(program, sources):
        problem = _run(["go", "build", "-o", program, *sources], GO_ENVIRONMENT)
    if not problem and name == "nats" and not NATS_SERVER.exists():
        problem = "nats-server is not installed"
    _note(programs, name, program, problem)


def _note(programs, name, program, problem):
    if problem:
        programs.skipped[name] = f"{problem} (make bench-deps)"
    else:
        programs.paths[name] = program


def _package_version(package):
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return done.stdout.strip()


def _versions(programs):
    packages = {
        "etcd-wal": "golang-etcd-server-dev", "rocksdb": "librocksdb-dev",
        "sqlite": "libsqlite3-dev", "lmdb": "liblmdb-dev"}
    for name, package in packages.items():
        if name in programs.paths:
            programs.versions[name] = _package_version(package)
    if "nats" in programs.paths:
        done = subprocess.run([NATS_SERVER, "--version"], capture_output=True, text=True)
        programs.versions["nats"] = done.stdout.split("v")[-1].strip()


def build(driver=None, wanted=None):
    """Builds what is not there yet.

    driver: a program with the driver's command line, instead of building ours.
    wanted: names of peers; None is all.
    """
    PEERS_BUILD.mkdir(parents=True, exist_ok=True)
    programs = Programs()
    for name, libraries in CXX_PROGRAMS.items():
        if name == "raw" or wanted is None or name in wanted:
            _build_cxx(programs, name, libraries)
    if "raw" not in programs.paths:
        raise SystemExit(f"bench: the raw file's program: {programs.skipped['raw']}")
    for name, source in GO_PROGRAMS.items():
        if wanted is None or name in wanted:
            _build_go(programs, name, source)
    if driver:
        programs.paths["bsfg"] = pathlib.Path(shutil.which(driver) or driver).resolve()
    else:
        problem = _run(
            ["swift", "build", "-c", "release", "--package-path", BENCHMARKS, "--scratch-path",
             BUILD, "--product", "wal-peer-driver"])
        if problem:
            raise SystemExit(f"bench: wal-peer-driver: {problem}")
        programs.paths["bsfg"] = DRIVER
    _versions(programs)
    return programs
