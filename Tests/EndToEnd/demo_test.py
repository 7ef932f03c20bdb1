#!/usr/bin/env python3
"""Runs the demo as a stranger does, and looks at both data directories with a reader of its own."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXCERPT = ROOT / "Sources/bsfg/Resources/la-haute-borne-R80711-excerpt.csv"
BSFG = os.environ.get("BSFG", str(ROOT / ".build-debug/debug/bsfg"))
failures = 0


def check(name, holds, why=""):
    global failures
    print(f"{'PASS' if holds else 'FAIL'} {name}" + (f": {why}" if why and not holds else ""), flush=True)
    failures += not holds


def demo(*arguments):
    return subprocess.run(
        [BSFG, "demo", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=600)


def main():
    run = demo("-o", "json")
    check("demo ends with 0", run.returncode == 0, run.stderr[-2000:] + run.stdout[-500:])
    report = json.loads(run.stdout.strip().splitlines()[-1]) if run.stdout.strip() else {}
    print(json.dumps(report), flush=True)
    check("demo lost nothing", report.get("lost") == 0)
    check("demo duplicated nothing", report.get("duplicated") == 0)
    check("demo delivered again and recognised it", report.get("redelivered", 0) > 0)

    with tempfile.NamedTemporaryFile("w", suffix=".csv") as ragged:
        lines = EXCERPT.read_text().splitlines()
        # One row of a file that a plant exports: cut in the middle.
        ragged.write("\n".join(lines[:100] + ["R80711,2014"] + lines[100:]) + "\n")
        ragged.flush()
        kept = demo("--keep", "--seconds", "8", "--input", ragged.name)
    text = kept.stdout + kept.stderr
    check("demo --keep ends with 0", kept.returncode == 0, text[-2000:])
    check("demo names a row that cannot be a fact, and goes on",
          re.search(r"rows that cannot be facts +1$", text, re.MULTILINE)
          and "the first such row: line 101: the row has 2 cells" in text, text[-2000:])
    directory = re.search(r"(/\S*bsfg-demo-[A-Za-z0-9]+)", text)
    stop = re.search(r"^\s*(kill [0-9 ]+.*)$", text, re.MULTILINE)
    check("demo --keep names its directory and how to stop", bool(directory and stop), text[-800:])
    if not (directory and stop):
        return 1
    try:
        looked = subprocess.run(
            [sys.executable, str(ROOT / "Tests/Interop/demo_check.py"), directory.group(1)],
            capture_output=True, text=True, timeout=120)
        print(looked.stdout.strip()[-300:], flush=True)
        check("a Python reader finds the same ids and digests in both logs",
              looked.returncode == 0, looked.stdout[-500:] + looked.stderr[-500:])
    finally:
        subprocess.run(stop.group(1), shell=True, check=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
