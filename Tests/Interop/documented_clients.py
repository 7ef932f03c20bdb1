#!/usr/bin/env python3
"""docs/clients.md, by its very commands and programs, against a node.

    BSFG=path documented_clients.py
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))
from support import BSFG, REPOSITORY, STREAM, Site, main  # noqa: E402

FENCE = re.compile(r"^```(\w+) (\w+)\n(.*?)^```$", re.M | re.S)


def blocks():
    """(kind, machine, text), in order."""
    return FENCE.findall((REPOSITORY / "docs" / "clients.md").read_text(encoding="utf-8"))


def configure(node, text):
    """Puts the page's part into the node's file, which has none of its own."""
    file = node.root / "config" / "bsfg.yaml"
    content = json.loads(file.read_text())
    del content["clients"]
    file.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in content.items()) + text)


class Reader:
    """Who does what the page says, in one shell for each machine's environment."""

    def __init__(self, site, node):
        self.directory = site.directory / "reader"
        self.directory.mkdir()
        (self.directory / "docs").symlink_to(REPOSITORY / "docs")
        # The names that the page uses, and the Python packages that the tests have.
        tools = self.directory / "tools"
        tools.mkdir()
        (tools / "bsfg").symlink_to(pathlib.Path(BSFG).resolve())
        (tools / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (tools / "python3").chmod(0o755)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("BSFG")}
        self.environment["PATH"] = os.pathsep.join(
            [str(tools), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
        self.there = {
            "/opt/bsfg/ca": str(site.authority_directory), "10.3.1.10:9443": f"127.0.0.1:{node.port}"}
        self.node = node
        self.exports = ""

    def run(self, kind, machine, text):
        for name, value in self.there.items():
            text = text.replace(name, value)
        environment = dict(self.environment)
        if machine == "node":
            environment["BSFG_CONFIG"] = str(self.node.root / "config")
        if kind == "python":
            command = ["sh", "-c", self.exports + "exec python3 -c " + shlex.quote(text)]
        else:
            self.exports += "".join(line + "\n" for line in text.splitlines() if line.startswith("export "))
            command = ["sh", "-e", "-c", self.exports + text]
        return subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=300)


def test(checks):
    with Site() as site:
        node = site.node("plant-a")
        node.zones = ["enterprise"]
        node.start()
        reader = Reader(site, node)
        printed = ""
        for kind, machine, text in blocks():
            if kind == "yaml":
                configure(node, text)
                continue
            done = reader.run(kind, machine, text)
            printed += done.stdout
            checks.check(
                f"docs/clients.md: {text.strip().splitlines()[0][:70]}", done.returncode == 0,
                done.stdout[-500:] + done.stderr[-1500:])
        for offset, how in ((2, "gRPC"), (3, "Connect")):
            checks.check(f"docs/clients.md: {how} appended", f"appended at {offset}" in printed, printed[-2000:])
        for value in (1280, 1281, 1282):
            checks.check(f"docs/clients.md: {value} was fetched", printed.count(str(value)) >= 1, printed[-2000:])
        consumer = next(
            each for each in json.loads(subprocess.run(
                [BSFG, "consumer", "list", "--config", str(node.root / "config"), "-o", "json"],
                capture_output=True, text=True, check=True).stdout)["consumers"]
            if each["name"] == "line-3-reader")
        checks.equal(
            f"docs/clients.md: its consumer of {STREAM} has confirmed what was fetched",
            int(consumer["next_offset"]), 3)
        checks.equal("docs/clients.md: the node ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)
