#!/usr/bin/env python3
"""Whether each requirement of the specification's checklist has a check of its number, and the table of them.

A check says in its name which requirement it is about: "spec 19.12: ...". This lists the numbers that are
in the names of checks, writes docs/conformance.md with --write, and fails when a number is missing, when the
table is not what it would write, or when a check of the run that BSFG_CHECKS has the lines of did not pass.
"""
import argparse
import ast
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from conformance_requirements import DECIDED, PARTS, REQUIREMENTS  # noqa: E402

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
TABLE = ROOT / "docs" / "conformance.md"
DECIDED_MAXIMUM = 5

NUMBERED = re.compile(r"spec 19\.(\d+): (.*)", re.S)
SWIFT = re.compile(r'@Test\(\s*"(spec 19\.\d+: [^"]+)"')

INTRODUCTION = """\
# Conformance

The checklist of the BSFG specification, each requirement in a few words, with the checks that carry its number:
`spec 19.12: ...` is a line of the script that it stands beside, which drives real nodes. *Swift* tests are of what no process shows.
`make test` runs them all and fails when one of them did not pass, or when a requirement has none.
Written by `python3 Tests/conformance.py --write`.
"""


def text(node):
    """A name as it is in the source; what is put in at run time in braces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value) + "}"
            for part in node.values)
    return None


def python_names(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        # A name that begins in one literal and goes on in another: "..." + ("..." if ... else "...").
        name = text(node) if id(node) not in inside else None
        if name and NUMBERED.match(name):
            yield node.lineno, name


def names():
    """Number to (file, name) of every check that carries it, in the order of files and lines."""
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        if path.parent != TESTS:
            for _, name in sorted(python_names(path)):
                add(found, path, name)
    for path in sorted(TESTS.rglob("*.swift")):
        for match in SWIFT.finditer(path.read_text(encoding="utf-8")):
            add(found, path, match[1])
    return found


def add(found, path, name):
    number = int(NUMBERED.match(name)[1])
    entry = (path, name)
    if entry not in found.setdefault(number, []):
        found[number].append(entry)


def table(found):
    lines = [INTRODUCTION]
    for first, last, title in PARTS:
        lines += [f"## {title}", "", "| | requirement | checks |", "|---|---|---|"]
        for number in range(first, last + 1):
            cells = {}
            for path, name in found.get(number, []):
                cells.setdefault(path.relative_to(TESTS).as_posix(), []).append(
                    NUMBERED.match(name)[2].strip().replace("|", "\\|"))
            cell = "<br>".join(f"`{path}`: {'; '.join(each)}" for path, each in cells.items())
            if number in DECIDED:
                sentence, file = DECIDED[number]
                cell = f"{sentence} ([decision {file[:4]}](decisions/{file}))"
            lines.append(f"| {number} | {REQUIREMENTS[number]} | {cell} |")
        lines.append("")
    return "\n".join(lines)


def did_not_pass(found, lines):
    """(number, name, whether its script skipped something) of what a whole run's lines do not have as passed.
    A line is the file that printed it, a tab, and what it printed."""
    passed, skipping = {}, set()
    for line in lines:
        path, _, said = line.partition("\t")
        if said.startswith("PASS "):
            passed.setdefault(path, []).append(said[5:])
        elif said.startswith("SKIPPED "):
            skipping.add(path)
    for number, checks in sorted(found.items()):
        for file, name in checks:
            pattern = re.compile(
                ".*".join(re.escape(part) for part in re.split(r"\{[^{}]*\}", name)))
            path = "swift" if file.suffix == ".swift" else file.relative_to(ROOT).as_posix()
            if not any(pattern.match(line) for line in passed.get(path, [])):
                yield number, name, path in skipping


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = names()
    if options.write:
        TABLE.write_text(table(found), encoding="utf-8")
    failed = []
    for number in REQUIREMENTS:
        if number in DECIDED:
            if not (ROOT / "docs" / "decisions" / DECIDED[number][1]).exists():
                failed.append(f"requirement {number}: its decision is not there")
        elif number not in found:
            failed.append(f"requirement {number}: no check has its number")
    failed += [
        f"requirement {number}: a check has a number that the checklist has not"
        for number in found if number not in REQUIREMENTS or number in DECIDED]
    if len(DECIDED) > DECIDED_MAXIMUM:
        failed.append(f"{len(DECIDED)} requirements have no check; at most {DECIDED_MAXIMUM} may")
    if not TABLE.exists() or TABLE.read_text(encoding="utf-8") != table(found):
        failed.append("docs/conformance.md is not what Tests/conformance.py --write makes of the checks")
    run = os.environ.get("BSFG_CHECKS")
    if run:
        lines = pathlib.Path(run).read_text(encoding="utf-8", errors="replace").splitlines()
        for number, name, is_skipping in did_not_pass(found, lines):
            if is_skipping:
                print(f"SKIPPED requirement {number}: this machine does not do: {name}")
            else:
                failed.append(f"requirement {number}: did not pass in this run: {name}")
    for line in failed:
        print(f"FAIL {line}")
    if not failed:
        checks = sum(map(len, found.values()))
        print(f"PASS {len(found)} requirements have {checks} checks, {len(DECIDED)} a decision")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
