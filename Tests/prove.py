#!/usr/bin/env python3
"""The long round: every layer of faults against the log, one table at the end.

    make prove                                  35 minutes of what goes on as long as it is let,
                                                about an hour in all
    make prove PROVE_MINUTES=120
    Tests/prove.py --only L4,L5 --minutes 5     some layers
    Tests/prove.py --write docs/assumptions.md  puts the table between its markers there
    Tests/prove.py --only L1 --minutes 5 --continue docs/assumptions.md --write docs/assumptions.md
                                                takes up the round whose table stands there: what the
                                                simulation does is added to its row, the row of another
                                                layer is replaced, the others stay. For the same engine

docs/proof.md says what each layer does and how to read the table. A layer whose tool or right is
missing stands in the table as skipped, with the reason. The exit status is 0 when nothing was lost,
no phantom was found, every fault that must be caught was caught and every layer did its least.

In a round of 30 minutes or more each layer has a least number of cases below which it fails; in a
shorter one the numbers shrink with the time, and the table says so.
"""

import argparse
import copy
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / ".build-prove"
BINARY = ROOT / ".build-release/release/bsfg"
FULL_ROUND_MINUTES = 30
BEGIN_MARK = "<!-- The table of make prove begins -->"
END_MARK = "<!-- The table of make prove ends -->"
ROWS = "ABCDEF"
ROW_FIRED_MINIMUM = 1000


class Outcome:
    """What a layer did, as one row of the table."""

    def __init__(self):
        self.cases = self.faults = self.checked = self.lost = self.phantom = None
        self.skipped = None
        self.problems = []
        self.notes = {}
        self.seconds = 0.0

    def take(self, figures):
        for name in ("cases", "faults", "checked", "lost", "phantom"):
            if name in figures:
                setattr(self, name, figures[name])
        self.notes = figures.get("notes", self.notes)

    def add(self, earlier):
        """What an earlier part of the same round did."""
        for name in ("cases", "faults", "checked", "lost", "phantom"):
            setattr(self, name, (getattr(self, name) or 0) + (getattr(earlier, name) or 0))
        self.notes = {
            name: self.notes.get(name, 0) + earlier.notes.get(name, 0)
            for name in {**earlier.notes, **self.notes}}

    @property
    def verdict(self):
        if self.problems:
            return "FAILED"
        return "skipped" if self.skipped else "held"


class Layer:
    """A row of the table: a command, and how its output is read."""

    name = title = ""
    needs_root = False
    # Of the whole time, for layers that go on for as long as they are let.
    share = 0.0

    def __init__(self, round_):
        self.round = round_
        self.outcome = Outcome()

    def scaled(self, count):
        return max(1, round(count * min(1, self.round.minutes / FULL_ROUND_MINUTES)))

    @property
    def minutes(self):
        return self.round.minutes * self.share

    def why_not(self):
        """Why it cannot run here, or None."""
        return None

    def run(self):
        """Runs it to its end and fills the outcome."""
        raise NotImplementedError

    def line(self, text):
        """One line of the command's output."""
        if text.startswith("RESULT "):
            self.outcome.take(json.loads(text[7:]))
            self.round.progress(self)
        elif text.startswith("SKIPPED "):
            self.outcome.skipped = text[8:].split(": ", 1)[-1]
        elif text.startswith("FAIL "):
            self.outcome.problems.append(text[5:])

    def command(self, *arguments, environment=None, nice=False, limit_minutes=None):
        """Runs a command with its output kept in a file; its exit status."""
        log = WORK / "logs" / f"{self.name}.log"
        with open(log, "a") as kept:
            kept.write(f"$ {' '.join(map(str, arguments))}\n")
            kept.flush()
            process = self.round.start(arguments, environment, nice)
            timer = threading.Timer(
                60 * (limit_minutes or 3 * self.minutes + 15), self.round.end, (process,))
            timer.daemon = True
            timer.start()
            try:
                for text in process.stdout:
                    kept.write(text)
                    kept.flush()
                    self.line(text.rstrip("\n"))
                return process.wait()
            finally:
                timer.cancel()
                self.round.ended(process)

    def must(self, status):
        if status != 0 and not self.outcome.problems and not self.outcome.skipped:
            self.outcome.problems.append(
                f"ended with {status}; see {(WORK / 'logs').relative_to(ROOT)}/{self.name}.log")

    def at_least(self, what, found, least):
        if self.outcome.skipped or self.outcome.problems:
            return
        if (found or 0) < least:
            self.outcome.problems.append(f"only {found or 0} {what}, at least {least} are asked for")


class Script(Layer):
    """One of Tests/EndToEnd that ends in RESULT and PASS."""

    script = ""
    cases = 1
    options = ()
    fault_minimum = 0

    def run(self):
        cases = self.scaled(self.cases)
        self.must(self.command(
            sys.executable, ROOT / "Tests/EndToEnd" / self.script, "--cases", cases,
            "--minutes", round(self.minutes, 2), *self.options))
        self.at_least("cases", self.outcome.cases, cases)
        self.at_least("faults", self.outcome.faults, self.scaled(self.fault_minimum))


class Simulation(Layer):
    """`bsfg log simulate --minutes M --json`: the last line of its output is an object with seeds,
    crashes, faults, records, lost, phantom, rows {A..F: count}, faultKinds {name: count} and
    failingSeeds; lines before it, of the same form, are progress."""

    name, title = "L1", "simulated disk, crashes and faults"
    share = 0.85
    crashes = 1_000_000

    def __init__(self, round_):
        super().__init__(round_)
        self.figures = {}
        # What earlier commands of this round did.
        self.earlier = Outcome()

    def line(self, text):
        if not text.startswith("{"):
            return super().line(text)
        self.figures = figures = json.loads(text)
        self.outcome.take({
            "cases": figures["crashes"], "faults": figures["faults"],
            "checked": figures["records"], "lost": figures["lost"],
            "phantom": figures["phantom"],
            "notes": {"seeds": figures["seeds"],
                      **{f"row {row}": figures["rows"].get(row, 0) for row in ROWS},
                      **figures.get("faultKinds", {})}})
        self.outcome.add(self.earlier)
        self.round.progress(self)

    def simulate(self, minutes):
        status = self.command(
            BINARY, "log", "simulate", "--minutes", round(minutes, 2), "--json",
            limit_minutes=minutes + 15)
        failing = self.figures.get("failingSeeds", [])
        if failing:
            self.outcome.problems.append(f"failing seeds: {failing[:20]}")
        self.must(status)

    def run(self):
        self.simulate(self.minutes)
        least = self.scaled(self.crashes)
        # A machine that is busy with something else is slower, and no less has to hold on it.
        if not self.outcome.problems and 0 < self.outcome.cases < least:
            self.earlier = copy.deepcopy(self.outcome)
            missing = least / self.outcome.cases - 1
            self.simulate(min(self.minutes, 1 + 1.2 * missing * self.minutes))
        self.at_least("simulated crashes", self.outcome.cases, least)
        for row in ROWS:
            self.at_least(
                f"times row {row} of the decision table", self.outcome.notes.get(f"row {row}"),
                ROW_FIRED_MINIMUM)


class Explorer(Simulation):
    """`bsfg log simulate --explore --json`: the same object, without rows; cases are states."""

    name, title = "L1x", "every crash state of small traces"
    share = 0.03

    def line(self, text):
        if not text.startswith("{"):
            return Layer.line(self, text)
        self.figures = figures = json.loads(text)
        self.outcome.take({
            "cases": figures["crashes"], "faults": figures["faults"],
            "checked": figures["records"], "lost": figures["lost"],
            "phantom": figures["phantom"], "notes": {"traces": figures["seeds"]}})
        self.round.progress(self)

    def run(self):
        status = self.command(
            BINARY, "log", "simulate", "--explore", "--minutes", round(self.minutes, 2), "--json")
        failing = self.figures.get("failingSeeds", [])
        if failing:
            self.outcome.problems.append(f"failing traces: {failing[:20]}")
        self.must(status)


class SystemCalls(Script):
    name, title = "L2", "every system call failed at every place"
    script = "log_syscalls.py"
    cases = 600

    def run(self):
        if self.round.minutes >= FULL_ROUND_MINUTES:
            self.options = ("--sweep",)
        super().run()


class PowerCutsExt4(Script):
    name, title = "L4 ext4", "power cuts, ext4 on a loop device"
    script = "log_powercut.py"
    cases = fault_minimum = 500
    share = 0.12


class PowerCutsXFS(Script):
    name, title = "L4 XFS", "power cuts, XFS on a loop device"
    script = "log_powercut.py"
    options = ("--file-system", "xfs")
    cases = 60
    share = 0.03


class ThinDevice(Script):
    name, title = "L5", "fsync fails for real, thin device"
    script = "log_thin_device.py"
    cases = fault_minimum = 50
    share = 0.04

    def run(self):
        super().run()
        self.at_least(
            "genuine fsync failures", self.outcome.notes.get("fsync failures", 0),
            self.scaled(self.fault_minimum))


class Kill(Script):
    name, title = "L7", "kill -9"
    script = "log_kill9.py"
    cases = 200
    share = 0.06


class FullDisk(Script):
    name, title = "L8", "0 bytes free"
    script = "log_full_disk.py"
    cases = 40
    share = 0.02


class EngineTests(Layer):
    """The engine's own tests, in a package of the engine alone, optimised."""

    sanitizer = None
    # Words that choose tests, for each process.
    parts = ((),)
    environment = {}
    finding = re.compile(r"(ERROR: AddressSanitizer|WARNING: ThreadSanitizer|SUMMARY: \w+Sanitizer)(.*)")
    closing = re.compile(r"Test run with (\d+) tests? .*?(passed|failed)")

    def line(self, text):
        super().line(text)
        match = self.closing.search(text)
        if match:
            self.outcome.cases = (self.outcome.cases or 0) + int(match.group(1))
            if match.group(2) == "failed":
                self.outcome.problems.append("a test failed")
        match = self.finding.search(text)
        if match and not match.group(1).startswith("SUMMARY"):
            self.outcome.problems.append((match.group(1) + match.group(2)).strip())
        elif "error: " in text and len(self.outcome.problems) < 5:
            self.outcome.problems.append(text.strip()[:200])

    def run(self):
        package = self.round.engine_package()
        scratch = WORK / (self.sanitizer or "plain")
        flags = ["--package-path", package, "--scratch-path", scratch, "-c", "release",
                 "-Xswiftc", "-enable-testing"]
        if self.sanitizer:
            flags += ["--sanitize", self.sanitizer]
        status = self.command("swift", "build", "--build-tests", "-j", "1", *flags, limit_minutes=30)
        self.must(status)
        if status != 0:
            return
        for part in self.parts:
            self.must(self.command(
                "swift", "test", "--skip-build", *flags, *part, environment=self.environment,
                limit_minutes=30))
        self.at_least("tests", self.outcome.cases, 1)


class BitFlips(EngineTests):
    name, title = "L0", "every bit flipped"
    parts = (("--filter", "BitFlipTests"),)
    flipped = re.compile(r"^(\d+) (?:bits flipped|flips opened).*?, (\d+) refused")

    def line(self, text):
        match = self.flipped.match(text)
        if match:
            self.outcome.faults = (self.outcome.faults or 0) + int(match.group(1))
            self.outcome.notes["refused"] = (
                self.outcome.notes.get("refused", 0) + int(match.group(2)))
        super().line(text)

    def run(self):
        super().run()
        self.at_least("flipped bits", self.outcome.faults, 1000)
        # A flip is a case; what was not refused read the same, or the tests fail.
        self.outcome.cases = self.outcome.faults
        self.outcome.lost = self.outcome.phantom = 0 if not self.outcome.problems else None


class AddressSanitizer(EngineTests):
    name, title = "ASan", "engine's tests, AddressSanitizer"
    sanitizer = "address"
    # The runtime's own metadata is reachable only through tagged pointers and would be leaks.
    environment = {"ASAN_OPTIONS": "detect_leaks=0"}


class ThreadSanitizer(EngineTests):
    name, title = "TSan", "engine's tests, ThreadSanitizer"
    sanitizer = "thread"
    # Threads that a test starts and nobody joins are no finding about the log.
    environment = {"TSAN_OPTIONS": "halt_on_error=0 exitcode=66 report_thread_leaks=0 "
                                   f"suppressions={ROOT / 'Tests/thread-sanitizer.txt'}"}


class Mutations(Layer):
    """Tests/Mutations/run.py prints `CAUGHT name ...` or `SURVIVED name ...` for each known bug, and
    first `SOUND ...` or `UNSOUND ...` for the engine as it is."""

    name, title = "mutations", "known bugs put back, each caught"
    script = ROOT / "Tests/Mutations/run.py"
    count = 10

    def why_not(self):
        return None if self.script.exists() else "Tests/Mutations/run.py is not there"

    def line(self, text):
        super().line(text)
        word, _, rest = text.partition(" ")
        if word == "UNSOUND":
            self.outcome.problems.append(f"the engine as it is: {rest.strip()}")
        elif word in ("CAUGHT", "SURVIVED", "MISSED"):
            self.outcome.cases = (self.outcome.cases or 0) + 1
            self.outcome.faults = (self.outcome.faults or 0) + 1
            if word == "CAUGHT":
                self.outcome.notes["caught"] = self.outcome.notes.get("caught", 0) + 1
            else:
                self.outcome.problems.append(f"not caught: {rest.strip()}")
            self.round.say(f"{self.name}: {text}")

    def run(self):
        self.must(self.command(
            sys.executable, self.script, "--scratch", WORK / "mutations", limit_minutes=60))
        self.at_least("mutations caught", self.outcome.notes.get("caught", 0), self.count)


class Fuzzers(Layer):
    """Fuzz/run.py --seconds N for each target prints `TARGET N executions ... C crashes`."""

    name, title = "fuzz", "libFuzzer targets"
    script = ROOT / "Fuzz/run.py"
    share = 0.08
    targets = 14
    ran = re.compile(r"^(\w+) (\d+) executions (\d+) coverage .* (\d+) crashes")

    def why_not(self):
        return None if self.script.exists() else "Fuzz/run.py is not there"

    def line(self, text):
        super().line(text)
        match = self.ran.match(text)
        if match:
            self.outcome.cases = (self.outcome.cases or 0) + int(match.group(2))
            self.outcome.notes[match.group(1)] = int(match.group(2))
            if int(match.group(4)):
                self.outcome.problems.append(text)
            self.round.say(f"{self.name}: {text}")

    def run(self):
        self.must(self.command(
            sys.executable, self.script, "--seconds",
            max(5, round(self.minutes * 60 / self.targets)), limit_minutes=60 + 2 * self.minutes))
        self.at_least("inputs", self.outcome.cases, 1)


# Two at a time: the simulation uses one processor for the whole round, the others take turns on the
# other. What waits for a disk more than it computes stands between what compiles.
LANES = (
    (Simulation,),
    (BitFlips, SystemCalls, PowerCutsExt4, PowerCutsXFS, ThinDevice, FullDisk, Kill,
     AddressSanitizer, ThreadSanitizer, Mutations, Fuzzers, Explorer),
)


class Round:
    def __init__(self, minutes, only, earlier=None):
        """earlier: outcomes of the round that is continued, by the layer's name."""
        self.minutes = minutes
        self.earlier_seconds = earlier["all"].seconds if earlier else 0

        kinds = [[kind(self) for kind in lane] for lane in LANES]
        names = {layer.name.lower() for lane in kinds for layer in lane}

        def is_wanted(layer):
            name = layer.name.lower()
            return not only or any(
                name == word or word not in names and name.startswith(word) for word in only)

        self.lanes = [[layer for layer in lane if is_wanted(layer)] for lane in kinds]
        self.layers = [layer for lane in kinds for layer in lane if earlier or is_wanted(layer)]
        for layer in self.layers:
            if not earlier or layer.name not in earlier:
                continue
            if not is_wanted(layer):
                layer.outcome = earlier[layer.name]
            elif type(layer) is Simulation:
                layer.earlier = earlier[layer.name]
                layer.earlier.problems = []
        self.lock = threading.Lock()
        self.processes = set()
        self.stopping = False
        self.began = time.monotonic()

    # Processes

    def start(self, arguments, environment, nice):
        with self.lock:
            if self.stopping:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [*map(str, arguments)], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                # In a group of its own: it is told to end by us, and then cleans up.
                start_new_session=True,
                env={**os.environ, "BSFG": str(BINARY), "SWIFT_BACKTRACE": "enable=no",
                     "PYTHONUNBUFFERED": "1", **(environment or {})})
            self.processes.add(process)
            return process

    def ended(self, process):
        with self.lock:
            self.processes.discard(process)

    def end(self, process):
        """Asks it to clean up, then ends it for certain."""
        for number, seconds in ((signal.SIGINT, 20), (signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            try:
                if number == signal.SIGKILL:
                    os.killpg(process.pid, number)
                else:
                    process.send_signal(number)
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                return

    def stop(self):
        with self.lock:
            self.stopping = True
            running = list(self.processes)
        for process in running:
            self.end(process)

    # The package of the engine alone

    def engine_package(self):
        package = WORK / "engine"
        with self.lock:
            for part in ("Sources", "Tests", "docs"):
                (package / part).mkdir(parents=True, exist_ok=True)
            for path in ("Sources/CPlatform", "Sources/COpenSSL", "Sources/CLZ4",
                         "Sources/WriteAheadLog", "Sources/LogSimulation",
                         "Tests/WriteAheadLogTests", "Tests/LogSimulationTests", "Tests/Golden",
                         "Tests/Interop", "docs/format.md"):
                link = package / path
                if not link.is_symlink():
                    link.symlink_to(ROOT / path)
            manifest = (ROOT / "Package.swift").read_text()
            (package / "Package.swift").write_text(engine_manifest(manifest))
        return package

    # Output

    def say(self, text):
        minutes = (time.monotonic() - self.began) / 60
        # One write: two lanes speak at a time.
        sys.stdout.write(f"[{minutes:5.1f} min] {text}\n")
        sys.stdout.flush()

    def progress(self, layer):
        found = layer.outcome
        self.say(
            f"{layer.name}: {number(found.cases)} cases, {number(found.faults)} faults, "
            f"{number(found.checked)} acknowledged records checked, lost {number(found.lost)}, "
            f"phantom {number(found.phantom)}")

    # The round

    def run(self):
        threads = [
            threading.Thread(target=self.run_lane, args=(lane,), daemon=True)
            for lane in self.lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)

    def run_lane(self, lane):
        for layer in lane:
            if self.stopping:
                layer.outcome.problems.append("not run: interrupted")
                continue
            began = time.monotonic()
            reason = layer.why_not()
            if reason:
                layer.outcome.skipped = reason
            else:
                self.say(f"{layer.name}: {layer.title}")
                try:
                    layer.run()
                except KeyboardInterrupt:
                    layer.outcome.problems.append("interrupted")
                except Exception as error:  # the other layers go on, this one failed
                    layer.outcome.problems.append(f"{type(error).__name__}: {error}")
            layer.outcome.seconds = time.monotonic() - began
            if isinstance(layer, Simulation):
                layer.outcome.seconds += layer.earlier.seconds
            self.say(f"{layer.name}: {layer.outcome.verdict}"
                     + "".join(f"\n              {problem}" for problem in layer.outcome.problems))
            if layer.outcome.skipped:
                self.say(f"SKIPPED {layer.name}: {layer.outcome.skipped}")


def engine_manifest(manifest):
    """The engine's targets of Package.swift, without a dependency."""
    names = ("CPlatform", "COpenSSL", "CLZ4", "WriteAheadLog", "LogSimulation",
             "WriteAheadLogTests", "LogSimulationTests")
    settings = re.search(r"^let settings.*?^\]\n", manifest, re.S | re.M).group(0)
    targets = []
    for match in re.finditer(r"^        \.(?:target|systemLibrary|testTarget)\(", manifest, re.M):
        depth, end = 0, match.end() - 1
        while True:
            depth += {"(": 1, ")": -1}.get(manifest[end], 0)
            end += 1
            if depth == 0:
                break
        text = manifest[match.start():end]
        if re.search(r'name: "(\w+)"', text).group(1) in names:
            targets.append(text)
    assert len(targets) == len(names), "Package.swift has the engine's targets"
    return ("// swift-tools-version: 6.2\nimport PackageDescription\n\n" + settings
            + 'let package = Package(\n    name: "engine",\n    targets: [\n'
            + ",\n".join(targets) + ",\n    ])\n")


def number(value):
    return "-" if value is None else f"{value:,}"


def table(round_):
    """The one table, as Markdown that is readable on a terminal too."""
    head = ["layer", "", "cases", "faults injected", "acknowledged records checked", "lost",
            "phantom", "minutes", "result"]
    rows = []
    for layer in round_.layers:
        found = layer.outcome
        rows.append([
            layer.name, layer.title, number(found.cases), number(found.faults),
            number(found.checked), number(found.lost), number(found.phantom),
            f"{found.seconds / 60:.1f}", found.verdict])

    def total(name):
        return sum(getattr(layer.outcome, name) or 0 for layer in round_.layers)

    rows.append(["all", "", number(total("cases")), number(total("faults")),
                 number(total("checked")), number(total("lost")), number(total("phantom")),
                 f"{(time.monotonic() - round_.began + round_.earlier_seconds) / 60:.1f}",
                 "FAILED" if failed(round_) else "held"])
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]

    def line(cells):
        return "| " + " | ".join(
            cell.ljust(width) if index < 2 or index == len(cells) - 1 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths))) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if index < 2 or index == len(head) - 1 else "-" * (width + 1) + ":"
        for index, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def details(round_):
    """What the table has no column for."""
    lines = []
    for layer in round_.layers:
        found = layer.outcome
        if found.skipped:
            lines.append(f"- {layer.name}: skipped, {found.skipped}")
        for problem in found.problems:
            lines.append(f"- {layer.name}: FAILED, {problem}")
        if found.notes:
            lines.append(f"- {layer.name}: " + ", ".join(
                f"{name} {number(count)}" for name, count in sorted(found.notes.items())))
    return "\n".join(lines)


def failed(round_):
    return any(
        layer.outcome.problems or layer.outcome.lost or layer.outcome.phantom
        for layer in round_.layers)


def read_table(path):
    """The outcomes of the round whose table stands in a document, and the commands that made it."""
    content = pathlib.Path(path).read_text()
    content = content[content.index(BEGIN_MARK):content.index(END_MARK)]
    commands = re.findall(r"`([^`]*)`", content)
    outcomes = {}

    def count(text):
        return None if text == "-" else int(text.replace(",", ""))

    for line in content.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "layer" and len(cells) == 9:
            found = outcomes[cells[0]] = Outcome()
            (found.cases, found.faults, found.checked, found.lost,
             found.phantom) = map(count, cells[2:7])
            found.seconds = float(cells[7]) * 60
    for line in content.splitlines():
        match = re.match(r"- ([^:]+): (.*)", line)
        if not match or match.group(1) not in outcomes:
            continue
        found, text = outcomes[match.group(1)], match.group(2)
        if text.startswith("FAILED, "):
            found.problems.append(text[8:])
        elif text.startswith("skipped, "):
            found.skipped = text[9:]
        else:
            # A note's name may have commas, its number ends it.
            found.notes = {
                name: count(value)
                for name, value in re.findall(r"(?:^|, )(.+?) (-|[0-9][0-9,]*)(?=, |$)", text)}
    return outcomes, commands


def circumstances(command):
    def file_system(path):
        found = subprocess.run(
            ["findmnt", "-n", "-o", "FSTYPE", "--target", path], capture_output=True, text=True)
        return found.stdout.strip() or "unknown"

    return (
        f"`{command}`, {datetime.date.today().isoformat()}, Linux {platform.release()} "
        f"{platform.machine()}, {os.cpu_count()} processors, temporary files on "
        f"{file_system(os.environ.get('TMPDIR', '/tmp'))}")


def write(path, text):
    """Replaces what stands between the markers."""
    path = pathlib.Path(path)
    content = path.read_text()
    begin, end = content.index(BEGIN_MARK), content.index(END_MARK)
    path.write_text(content[:begin + len(BEGIN_MARK)] + "\n" + text + "\n" + content[end:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=float(os.environ.get("PROVE_MINUTES", "35")))
    parser.add_argument("--only", help="names of layers, with commas between; by their beginning")
    parser.add_argument("--write", help="a document with the markers for the table")
    parser.add_argument(
        "--continue", dest="continued", help="a document with the table of the round to take up")
    parser.add_argument("--no-build", action="store_true", help="the release binary is there already")
    options = parser.parse_args()
    only = [word.lower() for word in options.only.split(",")] if options.only else None
    shutil.rmtree(WORK / "logs", ignore_errors=True)
    (WORK / "logs").mkdir(parents=True)
    if not options.no_build:
        subprocess.run(["make", "release"], cwd=ROOT, check=True)
    earlier, commands = read_table(options.continued) if options.continued else ({}, [])
    round_ = Round(options.minutes, only, earlier)
    if not round_.layers:
        parser.error(f"no layer is named {options.only}")

    def interrupted(*_):
        raise KeyboardInterrupt

    for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number_, interrupted)
    try:
        round_.run()
    except KeyboardInterrupt:
        print("\ninterrupted: cleaning up", flush=True)
        round_.stop()
    command = "make prove" if not only else f"Tests/prove.py --only {options.only}"
    if options.minutes != 35:
        command = (f"make prove PROVE_MINUTES={options.minutes:g}" if not only
                   else f"{command} --minutes {options.minutes:g}")
    if options.continued:
        command += f" --continue {options.continued}"
    command = "`, then `".join([*commands, command])
    shorter = ""
    if options.minutes < FULL_ROUND_MINUTES and not earlier:
        shorter = (f"\n\nA round of {options.minutes:g} minutes: the least numbers shrink with the "
                   f"time, from {FULL_ROUND_MINUTES} minutes on they are whole.")
    text = f"{circumstances(command)}\n\n{table(round_)}{shorter}\n\n{details(round_)}\n"
    print("\n" + text, flush=True)
    # What was interrupted is no round.
    if options.write and not round_.stopping:
        write(options.write, "\n" + text)
    return 1 if failed(round_) else 0


if __name__ == "__main__":
    sys.exit(main())
