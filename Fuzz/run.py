#!/usr/bin/env python3
"""Builds the fuzzers and runs each for a while, from its corpus and what it found before.

Prints one line a target: its name, how many inputs ran, how many places of the code they reached, how
many inputs that reach something new were added to its working corpus, and how many crashes were found.
A crash is kept in FailCases of its target, where the tests give it to the code in every run. Exit
status 1 says that there was one.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

FUZZ = pathlib.Path(__file__).resolve().parent
PROGRAMS = {
    "scanner": "FuzzScanner",
    "manifest": "FuzzManifest",
    "log": "FuzzLog",
    "sealed": "FuzzSealed",
    "run": "FuzzRun",
    "json": "FuzzJSON",
    "wire": "FuzzWire",
    "http1": "FuzzHTTP1",
    "http2": "FuzzHTTP2",
    "connect": "FuzzConnect",
    "grpc": "FuzzGRPC",
    "configuration": "FuzzConfiguration",
    "certificate": "FuzzCertificate",
    "revocation": "FuzzRevocation",
}
INPUT_BYTES_MAXIMUM = 16384
# Of one input. The slowest, a whole directory, takes a hundredth.
INPUT_SECONDS_MAXIMUM = 20
MEMORY_MEBIBYTES_MAXIMUM = 4096


def build(scratch_path, target):
    command = ["swift", "build", "-c", "release", "--package-path", str(FUZZ),
               "--scratch-path", str(scratch_path), "--product", PROGRAMS[target]]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        sys.exit(f"{PROGRAMS[target]} was not built")


def files(directory):
    return {path.name for path in directory.iterdir() if path.is_file()} if directory.exists() else set()


def environment():
    # The backtracer would outlive a trapped process, and hang.
    return dict(os.environ, SWIFT_BACKTRACE="enable=no")


def program(scratch_path, target):
    return str(scratch_path / "release" / PROGRAMS[target])


def numbers(output):
    """Executions, places reached, and added inputs, as far as the run got."""
    runs = re.findall(r"^#(\d+)\s", output, re.M)
    covered = re.findall(r"cov: (\d+)", output)
    added = re.findall(r"stat::new_units_added:\s+(\d+)", output)
    return (int(runs[-1]) if runs else 0, int(covered[-1]) if covered else 0,
            int(added[-1]) if added else 0)


def run(scratch_path, target, seconds, seed):
    work = scratch_path / "work" / target
    work.mkdir(parents=True, exist_ok=True)
    failures = FUZZ / "FailCases" / target
    failures.mkdir(parents=True, exist_ok=True)
    before = files(failures)
    command = [program(scratch_path, target), f"-max_total_time={seconds}",
               f"-max_len={INPUT_BYTES_MAXIMUM}", f"-timeout={INPUT_SECONDS_MAXIMUM}",
               f"-rss_limit_mb={MEMORY_MEBIBYTES_MAXIMUM}", "-print_final_stats=1",
               f"-artifact_prefix={failures}/", f"-seed={seed}",
               str(work), str(FUZZ / "corpus" / target), str(failures)]
    done = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode(errors="replace")
    crashes = sorted(files(failures) - before)
    if done.returncode != 0:
        sys.stderr.write("\n".join(output.splitlines()[-60:]) + "\n")
        # One that was kept before, or a failure without an input, is a crash as well.
        crashes = crashes or [f"exit status {done.returncode}"]
    executions, coverage, added = numbers(output)
    return {"target": target, "executions": executions, "coverage": coverage,
            "new_corpus": added, "crashes": crashes, "seed": seed}


def minimise(scratch_path, target):
    """Makes the committed corpus the smallest that reaches what it and the working corpus reach."""
    corpus = FUZZ / "corpus" / target
    small = scratch_path / "minimised" / target
    subprocess.run(["rm", "-rf", str(small)], check=True)
    small.mkdir(parents=True)
    # Places reached count, not how often: that keeps few inputs.
    subprocess.run(
        [program(scratch_path, target), "-set_cover_merge=1", "-use_counters=0",
         f"-max_len={INPUT_BYTES_MAXIMUM}", str(small), str(corpus),
         str(scratch_path / "work" / target)],
        env=environment(), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    return small


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", action="append", choices=sorted(PROGRAMS),
                        help="only this one; may be given more than once")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big") + 1)
    parser.add_argument("--scratch-path", type=pathlib.Path, default=FUZZ.parent / ".build-fuzz")
    parser.add_argument("--json", type=pathlib.Path, help="also write the results here")
    parser.add_argument("--minimise", action="store_true",
                        help="instead of fuzzing, write minimised corpora into the scratch path")
    options = parser.parse_args()
    options.scratch_path = options.scratch_path.resolve()
    results = []
    for target in options.target or list(PROGRAMS):
        build(options.scratch_path, target)
        if options.minimise:
            small = minimise(options.scratch_path, target)
            print(f"{target} {len(files(small))} inputs in {small}", flush=True)
            continue
        result = run(options.scratch_path, target, options.seconds, options.seed)
        results.append(result)
        print(f"{target} {result['executions']} executions {result['coverage']} coverage "
              f"{result['new_corpus']} new-corpus {len(result['crashes'])} crashes", flush=True)
        for crash in result["crashes"]:
            print(f"{target}: {crash} (seed {options.seed})", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if any(result["crashes"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
