"""What is measured, against what, and what it must reach. The targets are those of the design; where a row
has none, it is published beside the others."""

import dataclasses

PREPARED, SUSTAINED, LOADED = "prepared", "sustained", "loaded"
SIZES = (256, 1024, 16384)

# The two ways in which one thread can make a single record durable on a file without growing it; the
# faster one of the day counts.
BEST_RAW = ("raw-zeroed", "raw-direct")
PEERS = ("etcd-wal", "rocksdb", "sqlite", "lmdb", "nats")
# Those of them that keep a log which can be read again and must be opened after a crash.
LOCAL_PEERS = ("etcd-wal", "rocksdb", "sqlite", "lmdb")
# Those of them that read or verify their log when they are opened; the others open by an index.
READING_PEERS = ("etcd-wal", "rocksdb")

RATE, LATENCY, SECONDS = "records/s", "p99", "seconds"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement: a program by its name, a workload, a size in bytes and how the file stands."""

    name: str
    workload: str
    size: int
    mode: str

    @property
    def group(self):
        """What is measured together, in one round."""
        return group_name(self.workload, self.size, self.mode)


def group_name(workload, size, mode):
    base = {"w2w": "w2", "read": "w5", "recover": "w6"}.get(workload, workload)
    return f"{base}-{size}" + ("" if mode == PREPARED else f"-{mode}")


@dataclasses.dataclass(frozen=True)
class Row:
    """A subject against the best of others, or against a number where `against` is empty."""

    subject: Cell
    against: tuple
    measure: str
    # The ratio (or number) to reach; nil: published without one.
    target: float | None
    # Whether more is better.
    at_least: bool = True
    note: str = ""

    @property
    def group(self):
        return self.subject.group


def _row(name, workload, size, mode, against, target, measure=RATE, at_least=True, note=""):
    cells = tuple(
        Cell(*(other if isinstance(other, tuple) else (other, workload)), size, mode)
        for other in against)
    return Row(Cell(name, workload, size, mode), cells, measure, target, at_least, note)


def _single_writer():
    for size in SIZES:
        for profile in ("", "-silstrict"):
            name = "bsfg-blocking" + profile
            yield _row(name, "w1", size, PREPARED, BEST_RAW, 0.95)
            yield _row(name, "w1", size, PREPARED, BEST_RAW, 1.2, LATENCY, at_least=False)
            yield _row(name + "-keys", "w1", size, PREPARED, BEST_RAW, 0.85)
    for size in (256, 16384):
        yield _row("bsfg-blocking", "w1", size, PREPARED, PEERS, 1.0, note="the fastest peer")
    for name in ("bsfg-blocking", "bsfg-blocking-silstrict"):
        yield _row(name, "w1", 256, SUSTAINED, BEST_RAW, 0.95)


def _in_flight():
    in_one_thread, in_threads = ("raw-zeroed", "w2w"), ("raw-zeroed", "w2")
    for size in (256, 1024):
        yield _row("bsfg-completion", "w2", size, PREPARED, (in_one_thread,), 0.85, note="w2w")
        yield _row("bsfg", "w2", size, PREPARED, (in_one_thread,), 0.55, note="w2w")
        yield _row("bsfg-blocking", "w2", size, PREPARED, (in_threads,), 1.0)
    for name in ("bsfg-completion", "bsfg", "bsfg-blocking"):
        yield _row(name, "w2", 16384, PREPARED, (in_threads,), 0.9)
    yield _row("bsfg-completion-silstrict", "w2", 256, PREPARED, (in_one_thread,), 0.85, note="w2w")
    yield _row("bsfg-completion-keys", "w2", 256, PREPARED, (in_one_thread,), None, note="w2w")
    for size in (256, 16384):
        yield _row("bsfg", "w2", size, PREPARED, PEERS, 1.0, note="the fastest peer")
    yield _row("bsfg-completion", "w2", 256, SUSTAINED, (in_one_thread,), 0.85, note="w2w")
    yield _row("bsfg", "w2", 16384, SUSTAINED, (("raw-grow", "w2"),), None)


def _batches():
    yield _row("bsfg-blocking", "w3", 256, PREPARED, ("raw-zeroed",), 0.85)
    yield _row(
        "bsfg-blocking-keys", "w3", 256, PREPARED, ("raw-zeroed",), 0.35,
        note="one batch outstanding")
    yield _row(
        "bsfg-blocking-keys-two", "w3", 256, PREPARED, ("raw-zeroed",), 0.5,
        note="two batches outstanding")
    yield _row("bsfg-blocking", "w3", 256, PREPARED, LOCAL_PEERS, 1.0, note="the fastest peer")
    yield _row("bsfg-blocking", "w3", 256, SUSTAINED, ("raw-grow",), 1.1)


def _unsynced():
    yield _row("bsfg", "w4", 256, PREPARED, PEERS, 5.0, note="the fastest peer")
    yield _row("bsfg", "w4", 256, PREPARED, (), 2e6)


def _reading():
    yield _row("bsfg", "read", 1024, PREPARED, ("raw-grow",), 0.75)
    yield _row("bsfg", "read", 1024, PREPARED, LOCAL_PEERS, 2.0, note="the fastest peer")
    yield _row("bsfg", "recover", 1024, PREPARED, (), 0.1, SECONDS, at_least=False)
    yield _row(
        "bsfg", "recover", 1024, PREPARED, READING_PEERS, None, SECONDS, at_least=False,
        note="peers that read their log")
    # The same log, eight times as long: what is measured is the ratio of the two.
    yield Row(
        Cell("bsfg-large", "recover", 1024, PREPARED),
        (Cell("bsfg", "recover", 1024, PREPARED),), SECONDS, 2.0, at_least=False,
        note="8 times the log")


def _loaded():
    """Under a load of our own, each against its own rate without it: the log's part against the raw
    file's. Equal is what is asked; a twentieth is what two equal programs differ by."""
    for name, workload, other in (
            ("bsfg-blocking", "w1", ("raw-zeroed", "w1")),
            ("bsfg-completion", "w2", ("raw-zeroed", "w2w")),
            ("bsfg-blocking", "w3", ("raw-zeroed", "w3"))):
        yield _row(name, workload, 256, LOADED, (other,), 0.95)


def _every_name():
    """The remaining forms, profiles and keys in one workload."""
    told = {row.subject for row in _in_flight()}
    for form in ("bsfg-blocking", "bsfg-completion", "bsfg"):
        for profile in ("", "-silstrict"):
            for keys in ("", "-keys"):
                row = _row(
                    form + profile + keys, "w2", 256, PREPARED, (("raw-zeroed", "w2w"),), None,
                    note="w2w")
                if row.subject not in told:
                    yield row


ROWS = tuple(
    row for part in (_single_writer, _in_flight, _batches, _unsynced, _reading) for row in part())
LOADED_ROWS = tuple(_loaded())
# Measured when asked for.
NAME_ROWS = tuple(_every_name())


def groups(rows):
    """The rows by what is measured together, in the table's order."""
    found = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found


def cells_of(rows):
    """Every measurement that these rows need, once, in a fixed order."""
    found = {}
    for row in rows:
        for cell in (*row.against, row.subject):
            found[cell] = None
    return list(found)
