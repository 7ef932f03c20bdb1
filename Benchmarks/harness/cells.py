"""One measurement: a program, a directory of its own, a few seconds."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import programs as built
from . import rows

PREPARED_MEBIBYTES = 512
START_LIMIT_SECONDS = 20
# Beyond the time asked for: preparing, filling, opening after a crash.
LIMIT_SECONDS = 300
LARGE_SUFFIX, LARGE_FACTOR = "-large", 8


@dataclasses.dataclass(frozen=True)
class Measurement:
    records: int
    seconds: float
    p50_microseconds: float
    p99_microseconds: float

    @property
    def records_per_second(self):
        return self.records / self.seconds if self.seconds else 0.0

    def value(self, measure):
        return {
            rows.RATE: self.records_per_second, rows.LATENCY: self.p99_microseconds,
            rows.SECONDS: self.seconds}[measure]


class CellError(Exception):
    """A program ended in another way than it should."""


def _call(command, environment, may_be_killed=False):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=LIMIT_SECONDS,
        env=dict(os.environ, **environment))
    if done.returncode != 0 and not (may_be_killed and done.returncode == -signal.SIGKILL):
        raise CellError(f"{command[1]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _parse(output):
    try:
        records, seconds, p50, p99 = output.strip().splitlines()[-1].split("\t")
        return Measurement(int(records), float(seconds), float(p50), float(p99))
    except (IndexError, ValueError) as error:
        raise CellError(f"not a result: {output[-200:]!r}") from error


def drop_from_cache(directory):
    """What a reboot does to the page cache, for these files."""
    for path in pathlib.Path(directory).rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


@contextlib.contextmanager
def _nats_server(directory, synced):
    """A server on a free port of this machine; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    interval = "sync_interval: always" if synced else ""
    configuration = pathlib.Path(directory) / "server.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{port}"\n'
        f'jetstream {{ store_dir: "{directory}/store", max_file: 20GB, max_mem: 1GB\n{interval} }}\n')
    server = subprocess.Popen(
        [built.NATS_SERVER, "-c", configuration], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise CellError("nats-server does not start") from None
                time.sleep(0.01)
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


class Bench:
    """Measures cells; keeps the logs that `read` and `recover` open until it is closed."""

    def __init__(self, programs, options):
        self.programs = programs
        self.options = options
        self.stores = {}

    def close(self):
        for directory, _ in self.stores.values():
            shutil.rmtree(directory, ignore_errors=True)
        self.stores = {}

    def _temporary(self):
        return tempfile.mkdtemp(prefix="bsfg-bench-", dir=self.options.directory)

    def _seconds(self, cell):
        sustained = cell.mode == rows.SUSTAINED
        return self.options.sustained_seconds if sustained else self.options.seconds

    def measure(self, cell):
        if cell.workload in ("read", "recover"):
            return self._measure_store(cell)
        directory = self._temporary()
        prepared = cell.mode != rows.SUSTAINED
        environment = {"WAL_PREPARE_MIB": str(PREPARED_MEBIBYTES)} if prepared else {}
        command = [
            self.programs.program(cell.name), cell.name, cell.workload, cell.size,
            self._seconds(cell)]
        try:
            if cell.name == "nats":
                with _nats_server(directory, cell.workload != "w4") as address:
                    return _parse(_call([*command, address], environment))
            return _parse(_call([*command, directory], environment))
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _store(self, cell):
        """The directory of a filled log whose writer was killed, and its number of records."""
        key = (cell.name, cell.size)
        if key not in self.stores:
            directory = self._temporary()
            self.stores[key] = (directory, 0)
            name = cell.name.removesuffix(LARGE_SUFFIX)
            mebibytes = self.options.fill_mebibytes * (LARGE_FACTOR if name != cell.name else 1)
            filled = _parse(_call(
                [self.programs.program(name), name, "fill", cell.size, mebibytes, directory], {},
                may_be_killed=True))
            subprocess.run(["sync", "-f", directory], check=True)
            self.stores[key] = (directory, filled.records)
        return self.stores[key]

    def _measure_store(self, cell):
        directory, records = self._store(cell)
        name = cell.name.removesuffix(LARGE_SUFFIX)
        command = [self.programs.program(name), name, cell.workload, cell.size, 0, directory]
        if cell.workload == "read":
            read = _parse(_call(command, {}))
            if read.records < records:
                raise CellError(f"{name} read {read.records} records of {records}")
            return read
        drop_from_cache(directory)
        opened = _parse(_call(command, {}))
        return Measurement(records, opened.seconds, 0, 0)
