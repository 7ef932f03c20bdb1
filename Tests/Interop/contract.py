"""What the Python tests know of the contract: the error table as documented, and messages and
clients generated from docs/api/bsfg.proto when a test runs."""

import importlib
import os
import pathlib
import re
import subprocess
import sys
import types

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Tests" / "EndToEnd"))

PROTO = REPOSITORY / "docs" / "api" / "bsfg.proto"
ERRORS = REPOSITORY / "docs" / "api" / "errors.md"

ROW = re.compile(r"^\| `([a-z_]+)`( \*)? \| ([a-z_]+) \| (\d+) \| ([a-z, ]+) \| (.+) \|$")


class Rule:
    """One line of docs/api/errors.md."""

    def __init__(self, reason, starred, code, status, retry):
        self.reason = reason
        self.served = not starred
        self.code = code
        self.status = int(status)
        self.retryable = retry != "no"
        self.waits = retry == "after"


def error_table():
    rules = {}
    for line in ERRORS.read_text().splitlines():
        row = ROW.match(line)
        if row:
            rules[row[1]] = Rule(*row.groups()[:5])
        elif line.startswith("| `"):
            raise ValueError(f"errors.md has a line that is not understood: {line}")
    if len(rules) < 40:
        raise ValueError(f"errors.md has only {len(rules)} reasons that are understood")
    return rules


def generate(directory, name="generated", text=None):
    """Modules `bsfg_pb` and `bsfg_connect` of the contract, or of `text` in its place, under a
    package `name` in `directory`."""
    directory = pathlib.Path(directory)
    package = directory / name
    package.mkdir()
    (package / "__init__.py").touch()
    source = directory / f"{name}-source"
    source.mkdir()
    (source / "bsfg.proto").write_text(text or PROTO.read_text())
    # The plugins are installed beside the interpreter, whether or not that is on the path.
    beside = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--py_out={package}",
         f"--connectrpc_out={package}", "bsfg.proto"],
        capture_output=True, text=True, env={**os.environ, "PATH": beside})
    if done.returncode != 0:
        raise RuntimeError(f"protoc: {done.stderr.strip()}")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    return types.SimpleNamespace(
        pb=importlib.import_module(f"{name}.bsfg_pb"),
        connect=importlib.import_module(f"{name}.bsfg_connect"))
