#!/usr/bin/env python3
"""What the documents name exists: files, tests and symbols in docs/safety.md, files that links point
to, and a comment above every public declaration of the log.

    documents.py
"""

import re

from support import REPOSITORY, Checks

# `file` and *name in it*, in the order of the page.
MENTION = re.compile(r"`([^`]+)`|(?<!\*)\*([^*|]+)\*(?!\*)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PUBLIC = re.compile(
    r"\s*(?:@\w+ )*public (?:(?:static|final|private\(set\)|mutating|indirect|convenience|consuming) )*"
    r"(?:func|var|let|init|struct|class|enum|typealias|protocol|subscript|actor)\b")


def trace(checks):
    """Each row of docs/safety.md names code and a test, and each of them is there."""
    rows = files = names = 0
    wrong = []
    for line in (REPOSITORY / "docs/safety.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("| ") or len(cells) != 4 or cells[1] == "requirement":
            continue
        rows += 1
        for cell, place in ((cells[2], "Sources/"), (cells[3], "Tests/")):
            text = None
            for mention in MENTION.finditer(cell):
                path, name = mention.groups()
                if path is not None:
                    file = REPOSITORY / path
                    if not path.startswith(place) or not file.is_file():
                        wrong.append(f"{cells[0]}: no file {path} under {place}")
                        text = None
                        continue
                    files += 1
                    # Long names are broken over lines in sources.
                    text = re.sub(r'"\s*\+\s*f?"', "", file.read_text())
                elif text is not None:
                    names += 1
                    if name not in text:
                        wrong.append(f"{cells[0]}: {path or 'the file'} has no '{name}'")
            if text is None:
                wrong.append(f"{cells[0]}: nothing under {place} is named")
    checks.check(f"docs/safety.md: {rows} requirements, {files} files, {names} names are there",
                 rows >= 15 and not wrong, "; ".join(wrong))


def links(checks):
    """Relative links of the documents."""
    broken = []
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        for target in LINK.findall(page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(REPOSITORY)} -> {target}")
    checks.check("every link of the documents leads somewhere", not broken, ", ".join(broken))


def comments(checks):
    """Every public declaration of the embeddable log is documented."""
    declared, bare = 0, []
    for file in sorted((REPOSITORY / "Sources/WriteAheadLog").rglob("*.swift")):
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if not PUBLIC.match(line):
                continue
            declared += 1
            above = number - 1
            while above >= 0 and lines[above].strip().startswith("@"):
                above -= 1
            if above < 0 or not lines[above].strip().startswith("///"):
                bare.append(f"{file.relative_to(REPOSITORY)}:{number + 1}")
    checks.check(
        f"each of {declared} public declarations of the log has a comment", declared > 100
        and not bare, ", ".join(bare[:10]))


def test(checks):
    trace(checks)
    links(checks)
    comments(checks)


if __name__ == "__main__":
    checks = Checks("documents.py")
    test(checks)
    raise SystemExit(checks.finish())
