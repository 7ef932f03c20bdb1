#!/usr/bin/env python3
"""The example of docs/embedding.md runs and prints what the page says.

    BSFG=path embedding.py      # the example lies beside the bsfg binary
"""

import pathlib
import subprocess
import tempfile

from support import BSFG, REPOSITORY, main


def test(checks):
    program = pathlib.Path(BSFG).with_name("embedding-example")
    page = (REPOSITORY / "docs/embedding.md").read_text()
    expected = page.split("## What the example prints")[1].split("```")[1].strip().splitlines()
    with tempfile.TemporaryDirectory(prefix="bsfg-embedding-") as directory:
        done = subprocess.run(
            [program, directory], capture_output=True, text=True, timeout=120)
        checks.equal("the example ends well", (done.returncode, done.stderr), (0, ""))
        checks.equal(
            "it prints what docs/embedding.md says", done.stdout.strip().splitlines(), expected)
        # Its log is an ordinary one, for the tools too.
        info = subprocess.run(
            [BSFG, "log", "dump", "--dir", f"{directory}/readings"], capture_output=True, text=True,
            timeout=60)
        checks.equal("bsfg log dump reads its log", info.returncode, 0)
    source = (REPOSITORY / "docs/embedding/Embedding.swift").read_text()
    imports = [line for line in source.splitlines() if line.startswith("import ")]
    checks.equal("it imports the log and nothing else", imports, ["import WriteAheadLog"])


if __name__ == "__main__":
    main(test)
