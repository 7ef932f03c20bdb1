"""The wall clock of a node, which a preloaded library steps: no clock of the machine is touched."""

import os
import pathlib
import shutil
import struct
import subprocess

SOURCE = pathlib.Path(__file__).with_name("clock_shim.c")


def compiler():
    return shutil.which("cc") or shutil.which("clang")


def build(directory):
    """The library, made anew in a directory."""
    library = pathlib.Path(directory) / "clock_shim.so"
    subprocess.run(
        [compiler(), "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


class SteppedClock:
    """How many seconds a node's wall clock is ahead of the machine's."""

    def __init__(self, path, library):
        self.path = pathlib.Path(path)
        self.library = library
        self.path.write_bytes(bytes(8))
        self.seconds = 0.0

    def step_to(self, seconds):
        """In force at once: nodes that run have the file mapped."""
        self.seconds = seconds
        with open(self.path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), struct.pack("=q", int(seconds * 1e9)), 0)

    @property
    def environment(self):
        return {"LD_PRELOAD": str(self.library), "STEPPED_CLOCK": str(self.path)}
