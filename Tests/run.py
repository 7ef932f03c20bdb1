#!/usr/bin/env python3
"""Runs every test of this release: the Swift tests, then the scripts that drive real processes.

A script prints one line a check, `PASS name`, `FAIL name` or `SKIPPED name: why`, and exits with 0 when
none failed. The last line of this run counts them all.
"""
import argparse
import contextlib
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What drives real processes, with the seconds it may take at most: for a machine that is many times slower than
# any that it was written on, since only what hangs may be ended by it.
SCRIPTS = [
    ("Tests/EndToEnd/log_reader_agrees.py", 600),
    # The short forms of the layers of `make prove`.
    ("Tests/EndToEnd/log_kill9.py", 600),
    ("Tests/EndToEnd/log_strace.py", 600),
    ("Tests/EndToEnd/log_syscalls.py", 600),
    ("Tests/EndToEnd/log_powercut.py", 600),
    ("Tests/EndToEnd/log_thin_device.py", 600),
    ("Tests/EndToEnd/log_full_disk.py", 600),
    ("Tests/EndToEnd/log_disk_test.py", 600),
    ("Tests/EndToEnd/cli_test.py", 600),
    ("Tests/EndToEnd/mistakes.py", 600),
    ("Tests/Interop/curl_tls.py", 600),
    ("Tests/Interop/connect_client.py", 600),
    ("Tests/Interop/connect_conformance.py", 600),
    ("Tests/Interop/connect_server.py", 300),
    ("Tests/Interop/grpc_client.py", 600),
    ("Tests/Interop/errors.py", 600),
    ("Tests/Interop/documented_clients.py", 600),
    ("Tests/EndToEnd/replication_faults.py", 1200),
    ("Tests/EndToEnd/replication_powercut.py", 1200),
    ("Tests/EndToEnd/capacity.py", 600),
    ("Tests/EndToEnd/histories.py", 600),
    ("Tests/EndToEnd/quarantine.py", 1200),
    ("Tests/EndToEnd/gates.py", 1200),
    ("Tests/EndToEnd/audit.py", 600),
    ("Tests/EndToEnd/flows.py", 600),
    ("Tests/EndToEnd/cursor_query.py", 300),
    ("Tests/EndToEnd/interaction_diagrams.py", 600),
    ("Tests/EndToEnd/reloads.py", 600),
    ("Tests/EndToEnd/schedules.py", 1200),
    ("Tests/EndToEnd/artifacts.py", 1200),
    ("Tests/EndToEnd/certificates.py", 1200),
    ("Tests/EndToEnd/transport.py", 600),
    ("Tests/EndToEnd/certificate_commands.py", 600),
    ("Tests/EndToEnd/limits.py", 600),
    ("Tests/EndToEnd/hostile.py", 600),
    ("Tests/EndToEnd/federation.py", 600),
    ("Tests/EndToEnd/federation_lies.py", 1200),
    ("Tests/EndToEnd/federation_pairs.py", 600),
    ("Tests/EndToEnd/embedding.py", 600),
    ("Tests/EndToEnd/documents.py", 300),
    ("Tests/EndToEnd/generated.py", 1200),
    ("Tests/EndToEnd/bench_harness.py", 600),
    ("Tests/EndToEnd/micro_benchmarks.py", 2400),
    ("Tests/decisions.py", 300),
    ("Tests/EndToEnd/demo_test.py", 600),
    ("Tests/EndToEnd/bench_nodes.py", 600),
    ("Tests/EndToEnd/install.py", 600),
    ("Tests/EndToEnd/first_hour.py", 600),
    ("Tests/EndToEnd/conformance_append.py", 600),
    ("Tests/EndToEnd/conformance_reading.py", 600),
    ("Tests/EndToEnd/conformance_partition.py", 600),
    ("Tests/EndToEnd/conformance_artifacts.py", 600),
    ("Tests/EndToEnd/conformance_security.py", 600),
    ("Tests/EndToEnd/conformance_configuration.py", 600),
    ("Tests/EndToEnd/conformance_retention.py", 600),
    ("Tests/EndToEnd/conformance_failures.py", 600),
    ("Tests/EndToEnd/conformance_layers.py", 300),
    # Last: it asks which of the numbered checks above did pass.
    ("Tests/conformance.py", 300),
]


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        # Where every line of a check is kept, with the file that printed it; none: nowhere.
        self.lines = None

    def record(self, path, line):
        if self.lines:
            with open(self.lines, "a", encoding="utf-8") as file:
                file.write(f"{path}\t{line.rstrip()}\n")

    def fail(self, line):
        self.failed += 1
        self.failures.append(line)


# For who is told to end, to clean up.
FAREWELL_SECONDS = 60


def stream(command, limit_seconds, environment, on_line):
    """Runs a command, shows its output as it comes, and returns its exit code (124: out of time)."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True)
    deadline = time.monotonic() + limit_seconds
    rest = b""

    def tell(line):
        text = line.decode("utf-8", "replace") + "\n"
        sys.stdout.write(text)
        sys.stdout.flush()
        on_line(text)

    while time.monotonic() < deadline:
        ready, _, _ = select.select([process.stdout], [], [], 0.5)
        if not ready:
            # Who else still holds its output is not waited for.
            if process.poll() is not None:
                break
            continue
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            tell(line)
    if rest:
        tell(rest)
    try:
        return process.wait(max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        end(process)
        return 124
    finally:
        process.stdout.close()


def end(process):
    """First as an operator would, so that mounts and namespaces are given back; then all that it started."""
    for number, seconds in ((signal.SIGTERM, FAREWELL_SECONDS), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


# Tests at a time, each of which may start threads of its own. Without a bound all of them begin at once,
# and on two cores a deadline of 10 seconds is over before its test has had one.
PARALLEL_TESTS = 8


def swift_tests(scratch_path, environment, count):
    passed_test = re.compile(r'^\S+ Test "(.*)" (?:with \d+ test cases? )?passed')
    closing = re.compile(r"Test run with (\d+) tests? .*?(passed|failed)(?:.*with (\d+) issue)?")
    skipped = re.compile(r'^. Test .* skipped')
    failed_test = re.compile(r'^\S+ Test (?!run).* failed after')
    broken_expectation = re.compile(r'^\S+ Test .* recorded an issue')
    seen = {"total": 0, "failed": 0, "skipped": 0}

    def look(line):
        match = closing.search(line)
        if match:
            seen["total"] = int(match.group(1))
        elif failed_test.match(line):
            seen["failed"] += 1
            count.failures.append(line.strip())
        elif broken_expectation.match(line):
            count.failures.append(line.strip())
        elif skipped.match(line):
            seen["skipped"] += 1
        elif match := passed_test.match(line):
            count.record("swift", f"PASS {match[1]}")

    bounded = dict(environment, SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=str(PARALLEL_TESTS))
    code = stream(
        ["swift", "test", "--skip-build", "--scratch-path", scratch_path], 3000, bounded, look)
    failed = seen["failed"] or (1 if code != 0 or seen["total"] == 0 else 0)
    count.failed += failed
    count.skipped += seen["skipped"]
    count.passed += max(0, seen["total"] - failed - seen["skipped"])


def script(path, limit_seconds, environment, count):
    python = ROOT / ".venv/bin/python"
    interpreter = str(python) if python.exists() else sys.executable
    seen = Count()

    def look(line):
        if line.startswith(("PASS ", "SKIPPED ")):
            count.record(path, line)
        seen.passed += line.startswith("PASS ")
        if line.startswith("FAIL "):
            seen.fail(f"{path}: {line[5:].strip()}")
        seen.skipped += line.startswith("SKIPPED ")

    print(f"== {path}", flush=True)
    began = time.monotonic()
    code = stream([interpreter, str(ROOT / path)], limit_seconds, environment, look)
    if code != 0 and seen.failed == 0:
        print(f"FAIL {path}: exit code {code}")
        seen.fail(f"{path}: exit code {code}")
    elif seen.passed + seen.skipped == 0:
        print(f"FAIL {path}: it checked nothing")
        seen.fail(f"{path}: it checked nothing")
    print(f"== {path}: {time.monotonic() - began:.0f} s", flush=True)
    count.passed += seen.passed
    count.failed += seen.failed
    count.failures += seen.failures
    count.skipped += seen.skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch-path", default=".build-debug")
    parser.add_argument("--only", help="run only scripts whose path contains this")
    options = parser.parse_args()
    # A shell that runs this behind the scenes has interrupts ignored, and everything below would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Whatever the machine's language is: what the scripts read and print is UTF-8.
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    environment = dict(os.environ, PYTHONUTF8="1")
    environment["BSFG"] = str(ROOT / options.scratch_path / "debug" / "bsfg")
    environment["SWIFT_BACKTRACE"] = "enable=no"
    count = Count()
    if not options.only:
        count.lines = ROOT / options.scratch_path / "checks.txt"
        count.lines.write_text("")
        environment["BSFG_CHECKS"] = str(count.lines)
        swift_tests(options.scratch_path, environment, count)
    for path, limit_seconds in SCRIPTS:
        if not options.only or options.only in path:
            script(path, limit_seconds, environment, count)
    # Named once more where nobody has to search for them: the last lines are what a log's reader sees first.
    for line in count.failures[:40]:
        print(f"failed: {line}")
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
