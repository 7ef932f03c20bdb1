#!/usr/bin/env python3
"""Puts ten classic bugs into the engine, one at a time, and demands that the simulation finds each.

Each bug is a set of exact replacements in a copy of the sources, active when the environment names
it: so one build serves them all. A snippet that is no longer there, or there twice, is an error: the
suite never passes because a bug could not be put in. With none active the same build has to pass.

usage: run.py [--seconds N] [--first-seed N] [--scratch DIRECTORY] [--only NAME]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from mutations import EDITS, MUTATIONS, SWITCH

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGETS = ["CPlatform", "COpenSSL", "CLZ4", "WriteAheadLog", "LogSimulation"]
PACKAGE = """// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
let package = Package(
    name: "mutations",
    targets: [
        .target(name: "CPlatform", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto"),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4"),
        .target(
            name: "WriteAheadLog", dependencies: ["CPlatform", "CLZ4", "COpenSSL"],
            swiftSettings: settings),
        .target(
            name: "LogSimulation", dependencies: ["WriteAheadLog", "CPlatform"],
            swiftSettings: settings),
        .executableTarget(
            name: "driver", dependencies: ["LogSimulation", "WriteAheadLog"],
            swiftSettings: settings),
    ]
)
"""


def make_package(scratch):
    sources = os.path.join(scratch, "Sources")
    shutil.rmtree(sources, ignore_errors=True)
    for target in TARGETS:
        shutil.copytree(os.path.join(ROOT, "Sources", target), os.path.join(sources, target))
    os.makedirs(os.path.join(sources, "driver"))
    shutil.copy(
        os.path.join(ROOT, "Tests", "Mutations", "driver.swift"),
        os.path.join(sources, "driver", "main.swift"))
    with open(os.path.join(scratch, "Package.swift"), "w") as file:
        file.write(PACKAGE)


def replaced(text, edit):
    """The text with an edit made; its snippet must be there exactly once."""
    count = text.count(edit.old)
    if count != 1:
        raise SystemExit(
            f"the snippet of {edit.file} is there {count} times, not once; bring the mutation up to "
            f"date:\n{edit.old}")
    return text.replace(edit.old, edit.new)


def mutate(scratch):
    directory = os.path.join(scratch, "Sources", "WriteAheadLog")
    for edit in EDITS:
        path = os.path.join(directory, edit.file)
        with open(path) as file:
            text = replaced(file.read(), edit)
        with open(path, "w") as file:
            file.write(text)
    with open(os.path.join(directory, "Mutation.swift"), "w") as file:
        file.write(SWITCH)


def build(scratch):
    command = ["swift", "build", "-c", "release", "--package-path", scratch, "--product", "driver"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit("the mutated engine does not build:\n" + result.stdout + result.stderr)


def simulate(scratch, mutation, arguments):
    """What the simulation says of the engine with a mutation: None, or what it found."""
    driver = os.path.join(scratch, ".build", "release", "driver")
    limit = arguments.seconds + 120
    environment = dict(os.environ, BSFG_MUTATION=mutation)
    try:
        result = subprocess.run(
            [driver, str(arguments.first_seed), str(arguments.seconds)], capture_output=True,
            text=True, timeout=limit, env=environment)
        output, code = result.stdout, result.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = (expired.stdout or b"").decode(), "hang"
    seeds = re.findall(r"^seed (\d+)$", output, re.MULTILINE)
    seed = seeds[-1] if seeds else "none"
    found = re.search(r"^FOUND (.*)$", output, re.MULTILINE)
    if found:
        return f"seed {seed}: {found.group(1)}"
    if code == 0:
        print("    " + output.strip().splitlines()[-1])
        return None
    return f"seed {seed}: the process ended with {code}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of simulation for each mutation")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--scratch", help="a directory for the mutated package")
    parser.add_argument("--only", help="the name of one mutation, or 'none' for the engine as it is")
    arguments = parser.parse_args()
    scratch = arguments.scratch or tempfile.mkdtemp(prefix="mutations-")
    os.makedirs(scratch, exist_ok=True)
    make_package(scratch)
    mutate(scratch)
    build(scratch)
    failures = 0
    if arguments.only in (None, "none"):
        found = simulate(scratch, "", arguments)
        print("SOUND    the engine as it is" if found is None else f"UNSOUND  {found}", flush=True)
        failures += found is not None
    for mutation in MUTATIONS:
        if arguments.only not in (None, mutation):
            continue
        began = time.monotonic()
        found = simulate(scratch, mutation, arguments)
        seconds = time.monotonic() - began
        verdict = "SURVIVED" if found is None else "CAUGHT"
        print(f"{verdict:8} {mutation} ({seconds:.0f} s)  {found or ''}"[:400], flush=True)
        failures += found is None
    if not arguments.scratch:
        shutil.rmtree(scratch)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
