#!/usr/bin/env python3
"""Every command of the command line against two real nodes, its good and its bad paths.

BSFG names the binary. Needs nothing but Python's standard library; everything lives in a temporary
directory, on ports that were free. Prints PASS or FAIL a check; exit status 1 when one failed.
"""
import atexit
import gzip
import hashlib
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from support import free_port, short_directory

BSFG = os.path.abspath(os.environ.get("BSFG", ".build-dev/debug/bsfg"))
ROOT = pathlib.Path(tempfile.mkdtemp(prefix="bsfg-cli-", dir=short_directory()))
SUBJECT = "turbine:{Wind_turbine_name}"
INGEST = ["--to", "enterprise", "--subject", SUBJECT, "--predicate", "reading"]
HEADER = "Wind_turbine_name,Date_time,P_avg,Serial,Note"

failures = []
checks = 0
processes = []


def check(name, condition, detail=""):
    global checks
    checks += 1
    if condition:
        print(f"PASS {name}")
    else:
        failures.append(name)
        print(f"FAIL {name} {detail}")
    sys.stdout.flush()


class Outcome:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.code}, out {self.out[-600:]!r}, err {self.err[-600:]!r}"


def bsfg(*arguments, stdin="", environment=None, timeout=120):
    variables = {k: v for k, v in os.environ.items() if not k.startswith("BSFG_")}
    variables.update(environment or {})
    if isinstance(stdin, str):
        stdin = stdin.encode()
    done = subprocess.run(
        [BSFG, *[str(a) for a in arguments]], input=stdin, capture_output=True, timeout=timeout,
        env=variables)
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def expect(name, outcome, code, err=None, out=None):
    """The exit status, one sentence on standard error that says `err`, output that has `out`."""
    good = outcome.code == code
    if err is not None:
        good = good and err in outcome.err
    if code != 0 and err is not None:
        good = good and len([l for l in outcome.err.splitlines() if l.startswith("bsfg: ")]) >= 1
    if out is not None:
        good = good and out in outcome.out
    check(name, good, repr(outcome))
    return outcome


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return True
        except Exception:
            pass
        time.sleep(0.1)
    return False


class Node:
    def __init__(self, zone, port):
        self.zone, self.port = zone, port
        self.root = ROOT / zone
        self.config = self.root / "config"
        self.process = None

    def write(self, name, text):
        (self.config / name).write_text(text)

    def start(self):
        log = open(self.root / "serve.log", "ab")
        self.process = subprocess.Popen(
            [BSFG, "serve", "--config", str(self.config)], stdout=subprocess.PIPE, stderr=log)
        processes.append(self.process)
        ready, _, _ = select.select([self.process.stdout], [], [], 120)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line.startswith("listening on"):
            raise RuntimeError(f"{self.zone} does not start: {(self.root / 'serve.log').read_text()[-2000:]}")
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)

    def status(self):
        return bsfg("status", "--config", self.config, "-o", "json").json

    def head(self, origin=None):
        origin = origin or self.zone
        for stream in self.status()["streams"]:
            if stream["origin"] == origin:
                return stream["head_offset"]
        raise KeyError(origin)


def clean_up():
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    if failures and os.environ.get("KEEP"):
        print(f"kept {ROOT}")
    else:
        shutil.rmtree(ROOT, ignore_errors=True)


def rows(count, start=0):
    return [
        f"R{i % 3},2014-01-01T{i // 60 % 24:02}:{i % 60:02}:00+01:00,{i}.5,A{i:05},row {i}"
        for i in range(start, start + count)
    ]


def file(name, text):
    path = ROOT / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- Setting up ---------------------------------------------------------------------------------


def set_up(plant, enterprise):
    for node in (plant, enterprise):
        outcome = bsfg(
            "init", "--root", node.root, "--zone", node.zone, "--identity", f"{node.zone}-bsfg",
            "--address", "127.0.0.1", "--port", node.port)
        expect(f"init {node.zone}", outcome, 0, out="bsfg serve --config")
    expect(
        "init refuses a bad zone",
        bsfg("init", "--root", ROOT / "x", "--zone", "No Zone", "--identity", "x", "--address", "127.0.0.1"),
        2, err="zone name")
    expect(
        "init refuses an identity that no certificate can be issued for",
        bsfg("init", "--root", ROOT / "x", "--zone", "x", "--identity", "plant a", "--address", "127.0.0.1"),
        2, err="DNS name")
    expect(
        "init refuses an address that names nothing",
        bsfg("init", "--root", ROOT / "x", "--zone", "x", "--identity", "x", "--address", "0.0.0.0"),
        2, err="names nothing")
    expect("serve without a certificate names the command", bsfg("serve", "--config", plant.config),
           2, err="bsfg ca init")
    ca = ROOT / "ca"
    expect("ca init", bsfg("ca", "init", "--dir", ca), 0)
    expect("ca init keeps what is there", bsfg("ca", "init", "--dir", ca), 1, err="--force")
    expect("a second CA", bsfg("ca", "init", "--dir", ROOT / "other-ca"), 0)
    for node in (plant, enterprise):
        expect(
            f"cert issue {node.zone}",
            bsfg("cert", "issue", "--ca", ca, "--identity", f"{node.zone}-bsfg", "--address",
                 "127.0.0.1", "--out", node.root / "certs"), 0, out="wrote")
    for client in ("historian", "erp", "stranger"):
        expect(
            f"cert issue {client}",
            bsfg("cert", "issue", "--ca", ca, "--identity", client, "--out", ROOT / client), 0)
    expect("cert issue without a CA",
           bsfg("cert", "issue", "--ca", ROOT / "none", "--identity", "x", "--out", ROOT / "none2"),
           1, err="none")
    expect("cert issue of the other CA",
           bsfg("cert", "issue", "--ca", ROOT / "other-ca", "--identity", "erp", "--out",
                ROOT / "forged"), 0)
    for node, other in ((plant, enterprise), (enterprise, plant)):
        node.write("peers.yaml", f"""
peers:
  - id: {other.zone}
    identity: {other.zone}-bsfg
    endpoint: 127.0.0.1:{other.port}
    authorized: true
    streams: [facts.operational]
""")
        node.write("cursors.yaml", f"""
cursors:
  - peer: {other.zone}
    stream: facts.operational
    init_mode: full_backfill
    justification: the test wants every fact
""")
        text = (node.config / "bsfg.yaml").read_text()
        clients = """clients:
  - identity: historian
    roles: [producer]
    streams: [facts.operational]
  - identity: erp
    roles: [consumer]
    streams: [facts.operational]
    origins: [plant-a, enterprise]
"""
        (node.config / "bsfg.yaml").write_text(text.replace("clients: []\n", clients))
    expect("cert status", bsfg("cert", "status", "--config", plant.config), 0, out="plant-a-bsfg")
    check("cert status as json",
          bsfg("cert", "status", "--config", plant.config, "-o", "json").json["certificates"][0]
          ["days_left"] > 300)


def client_options(node, client, host="127.0.0.1", ca=None):
    return ["--endpoint", f"{host}:{node.port}", "--cert", ROOT / client / "client.crt", "--key",
            ROOT / client / "client.key", "--ca", ca or ROOT / "ca" / "ca.crt"]


def client_environment(node, client):
    return {
        "BSFG_ENDPOINT": f"127.0.0.1:{node.port}", "BSFG_CERT": str(ROOT / client / "client.crt"),
        "BSFG_KEY": str(ROOT / client / "client.key"), "BSFG_CA": str(ROOT / "ca" / "ca.crt"),
    }


# --- Tests --------------------------------------------------------------------------------------


def test_general():
    expect("version", bsfg("version"), 0, out="bsfg ")
    check("version as json", "version" in bsfg("version", "-o", "json").json)
    outcome = expect("help documents the exit status", bsfg("--help"), 0, out="Exit status")
    for command in ("init", "ca", "cert", "serve", "ingest", "fact", "consumer", "status", "peer",
                    "version"):
        check(f"help lists {command}", f"  {command} " in outcome.out)
    check("an unknown command exits 2", bsfg("frobnicate").code == 2)
    check("an unknown option exits 2", bsfg("status", "--frobnicate").code == 2)
    expect("an artifact of a directory", bsfg("artifact", "put", ROOT, "plant-a/b/k"), 1,
           err="it is no regular file")


def test_simulate():
    last = str(2**64 - 1)
    for way in ([], ["--explore"]):
        outcome = bsfg("log", "simulate", *way, "--first-seed", last, "--minutes", "0.01")
        check(f"log simulate refuses a first seed that none follow, {way}", outcome.code == 2
              and "--first-seed is at most" in outcome.err, repr(outcome))
    outcome = bsfg("log", "simulate", "--first-seed", "7", "--seeds", "1", "--minutes", "5", "--json")
    check("log simulate runs as many seeds as it is told", outcome.code == 0
          and json.loads(outcome.out.splitlines()[-1])["seeds"] == 1, repr(outcome))


def test_full_disk():
    log = ROOT / "full-disk-log"
    expect("log append", bsfg("log", "append", "--dir", log, stdin="record\n" * 100), 0)
    for arguments in (["version"], ["log", "dump", "--dir", log],
                      ["log", "dump", "--dir", log, "--past-damage", "-o", "json"]):
        with open("/dev/full", "wb") as full:
            process = subprocess.run([BSFG, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE)
        check(f"{' '.join(map(str, arguments[:2]))} says that the disk is full", process.returncode == 1
              and b"No space left" in process.stderr, process)


def test_connection(plant):
    expect("no node named", bsfg("status"), 2, err="say which node")
    expect("two nodes named", bsfg("status", "--config", plant.config, "--socket", "/x"), 2,
           err="exclude each other")
    expect("certificates with a socket",
           bsfg("status", "--config", plant.config, "--cert", "x"), 2, err="go with --endpoint")
    expect("endpoint without certificates", bsfg("status", "--endpoint", "127.0.0.1:1"), 2,
           err="--cert and --key and --ca")
    expect("endpoint that is none", bsfg("status", "--endpoint", "nonsense"), 2, err="host:port")
    expect("configuration that is none", bsfg("status", "--config", ROOT / "nowhere"), 2,
           err="bsfg init")
    expect("no socket", bsfg("status", "--socket", ROOT / "none.sock"), 4, err="no node runs here")
    expect("environment names the node",
           bsfg("status", environment={"BSFG_CONFIG": str(plant.config)}), 0, out="zone plant-a")
    expect("administration over the network",
           bsfg("consumer", "list", *client_options(plant, "erp")), 2, err="--config DIR")
    expect("an identity over the socket",
           bsfg("fact", "fetch", "--consumer", "x", "--config", plant.config), 2,
           err="belong to a certificate")
    expect("key of another certificate",
           bsfg("status", "--endpoint", f"127.0.0.1:{plant.port}", "--cert",
                ROOT / "erp" / "client.crt", "--key", ROOT / "historian" / "client.key", "--ca",
                ROOT / "ca" / "ca.crt"), 2, err="is not the key of")
    os.chmod(ROOT / "stranger" / "client.key", 0o644)
    expect("a key that others may read", bsfg("status", *client_options(plant, "stranger")), 2,
           err="chmod")
    os.chmod(ROOT / "stranger" / "client.key", 0o600)
    expect("a server of another CA",
           bsfg("status", *client_options(plant, "erp", ca=ROOT / "other-ca" / "ca.crt")), 3,
           err="does not verify")
    expect("a certificate of another CA",
           bsfg("status", *client_options(plant, "forged")), 3)
    expect("a stranger is told who it was seen as",
           bsfg("status", *client_options(plant, "stranger")), 3, err="stranger")
    expect("a name that the certificate does not have",
           bsfg("status", *client_options(plant, "erp", host="localhost")), 3,
           err="does not name 'localhost'")
    options = client_options(plant, "erp")
    options[1] = f"127.0.0.1:{free_port()}"
    expect("nothing listens", bsfg("status", *options), 4, err="refuses connections")


def test_status(plant, enterprise):
    outcome = expect("status", bsfg("status", "--config", plant.config), 0, out="Logs")
    check("status lists the pull", "full_backfill" in outcome.out and "Pulls" in outcome.out)
    status = plant.status()
    check("status as json", status["zone"] == "plant-a" and len(status["streams"]) == 2
          and len(status["pulls"]) == 1 and status["release"], json.dumps(status))
    expect("status by the socket", bsfg("status", "--socket", plant.root / "data" / "admin.sock"), 0)
    remote = bsfg("status", "-o", "json", environment=client_environment(plant, "erp"))
    check("status over the network", remote.code == 0 and remote.json["caller_identity"] == "erp"
          and remote.json["caller_roles"] == ["consumer"]
          and abs(remote.json["time_unix_ms"] / 1000 - time.time()) < 60, repr(remote))
    check("refusals are counted",
          sum(status["server"]["handshake_failures"].values()) >= 2
          and sum(status["server"]["callers_refused"].values()) >= 1,
          json.dumps(status["server"]))


def test_ingest_csv(plant, enterprise):
    lines = rows(1000)
    path = file("rows.csv", "\n".join([HEADER, *lines]) + "\n")
    before = plant.head()
    outcome = bsfg("ingest", path, "--config", plant.config, *INGEST, "--time-column", "Date_time",
                   "-o", "json")
    summary = outcome.json
    check("ingest", outcome.code == 0 and summary["rows"] == 1000 and summary["appended"] == 1000
          and summary["first_offset"] == before and summary["last_offset"] == before + 999,
          repr(outcome))
    again = bsfg("ingest", path, "--config", plant.config, *INGEST, "--time-column", "Date_time")
    check("ingest again changes nothing", again.code == 0 and plant.head() == before + 1000
          and again.out.splitlines()[1].split()[:3] == ["1000", "0", "1000"], repr(again))
    more = file("more.csv", "\n".join([HEADER, *rows(1200)]) + "\n")
    outcome = bsfg("ingest", more, "--config", plant.config, *INGEST, "-o", "json")
    check("ingest of a longer file goes on", outcome.code == 0
          and outcome.json["existing"] == 1000 and outcome.json["appended"] == 200, repr(outcome))
    facts = [json.loads(line) for line in bsfg(
        "fact", "tail", "--config", plant.config, "--from-offset", before, "-o", "json").out.splitlines()]
    first = facts[0]["message"]
    check("the default id is the row's digest",
          first["envelope"]["message_id"] == hashlib.sha256(lines[0].encode()).hexdigest(), first)
    check("the time is that of the column",
          first["envelope"]["produced_at_unix_ms"] == 1388530800000, first)
    check("subject and predicate", first["fact"]["subject"] == "turbine:R0"
          and first["fact"]["predicate"] == "reading")
    check("numbers are numbers", first["fact"]["object"] == {
        "Wind_turbine_name": "R0", "Date_time": "2014-01-01T00:00:00+01:00", "P_avg": 0.5,
        "Serial": "A00000", "Note": "row 0"}, first["fact"])
    check("the file's order is the log's", [f["message"]["fact"]["object"]["Serial"] for f in facts]
          == [f"A{i:05}" for i in range(1200)])
    other = bsfg("ingest", path, "--config", plant.config, "--to", "enterprise", "--subject",
                 "other:{Serial}", "--predicate", "reading", "-o", "json")
    check("the same rows said otherwise are conflicts", other.code == 3
          and other.json["conflicts"] == 1000 and other.json["appended"] == 0
          and "line 2: conflict" in other.err and len(other.json["problems"]) == 20, repr(other))
    check("facts reach the other zone", wait_until(lambda: enterprise.head("plant-a") == plant.head()))


def test_ingest_cells(plant):
    def objects(text, *options):
        outcome = bsfg("ingest", "-", "--config", plant.config, "--to", "enterprise", "--subject",
                       "cell:1", "--predicate", "reading", "-o", "json", *options, stdin=text)
        if outcome.code != 0 or outcome.json["appended"] == 0:
            return outcome
        lines = bsfg("fact", "tail", "--config", plant.config, "--from-offset",
                     outcome.json["first_offset"], "-o", "json").out.splitlines()
        return [json.loads(line)["message"]["fact"]["object"] for line in lines]

    cells = ["0", "-0.5", "1e3", "9007199254740991", "007", "9007199254740993", "1.", "+1", " 1",
             "", "0.1234567890123456789", "6.869999900000001", "1e400", "true", "1.10",
             "0.0e-9223372036854775808", "1e-9223372036854775808"]
    found = objects("v,n\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    wanted = [0, -0.5, 1000, 9007199254740991, "007", "9007199254740993", "1.", "+1", " 1", None,
              "0.1234567890123456789", 6.869999900000001, "1e400", "true", 1.1, 0,
              "1e-9223372036854775808"]
    check("which cells are numbers",
          isinstance(found, list) and [o["v"] for o in found] == wanted, found)
    found = objects('a,b\r\n"x, ""y""\nz",1\r\n\r\n"",2\r\nlast,3')
    check("quotes, line ends and blank lines",
          found == [{"a": 'x, "y"\nz', "b": 1}, {"a": None, "b": 2}, {"a": "last", "b": 3}], found)
    found = objects("\ufeffa;b\nä;1,5\n", "--delimiter", ";")
    check("byte order mark, delimiter, UTF-8", found == [{"a": "ä", "b": "1,5"}], found)
    found = objects("a\tb\n1\t2\n", "--delimiter", "tab")
    check("tabs", found == [{"a": 1, "b": 2}], found)
    found = objects('{"k": {"deep": [1, 2]}, "n": 1.0}\n\n{"k": 2}\n')
    check("JSON Lines are found out", found == [{"k": {"deep": [1, 2]}, "n": 1}, {"k": 2}], found)


def test_ingest_jsonl(plant):
    path = file("rows.jsonl", '{"pump": 7, "at": "2025-01-15T10:00:00.123456Z", "rpm": 1450}\n'
                              '{"pump": "a/b", "at": "2025-01-15 10:00:01+00:00"}\n')
    outcome = bsfg("ingest", path, "--config", plant.config, "--to", "enterprise", "--subject",
                   "pump:{pump}", "--predicate", "state", "--id-columns", "pump,at",
                   "--time-column", "at", "--schema", "pump.v1", "-o", "json")
    check("ingest of JSON Lines", outcome.code == 0 and outcome.json["appended"] == 2, repr(outcome))
    facts = [json.loads(line)["message"] for line in bsfg(
        "fact", "tail", "--config", plant.config, "-n", "2", "-o", "json").out.splitlines()]
    check("ids of columns", facts[0]["envelope"]["message_id"] == "7/2025-01-15T10:00:00.123456Z"
          and facts[1]["envelope"]["message_id"] == "a%2fb/2025-01-15 10:00:01+00:00", facts)
    check("times with many decimals", facts[0]["envelope"]["produced_at_unix_ms"] == 1736935200123
          and facts[1]["envelope"]["produced_at_unix_ms"] == 1736935201000, facts)
    check("schema", facts[0]["envelope"]["object_schema"] == "pump.v1")
    bad = file("bad.jsonl", '{"pump": 1}\nnot json\n{"pump": 2, "n": 9007199254740993}\n[1]\n'
                            '{"rpm": 3}\n{"pump": 4, "pump": 5}\n{"pump": 6}\n')
    outcome = bsfg("ingest", bad, "--config", plant.config, "--to", "enterprise", "--subject",
                   "pump:{pump}", "--predicate", "state", "--format", "jsonl", "-o", "json")
    check("bad lines are named and the others go on", outcome.code == 1
          and outcome.json["appended"] == 2 and outcome.json["bad"] == 5
          and [p["line"] for p in outcome.json["problems"]] == [2, 3, 4, 5, 6], repr(outcome))


def test_ingest_bad(plant, enterprise):
    path = file("bad.csv", HEADER + "\n"
                "X1,2014-01-01T00:00:00Z,1,A,good\n"
                "X2,2014-01-01T00:00:00Z,1,A\n"
                'X3,2014-01-01T00:00:00Z,1,A,5" pipe\n'
                "X4,yesterday,1,A,\n"
                "X 5,2014-01-01T00:00:00Z,1,A,\n"
                ",2014-01-01T00:00:00Z,1,A,\n"
                '"X7","2014-01-01T00:00:00Z",1,A,"good"\n')
    outcome = bsfg("ingest", path, "--config", plant.config, *INGEST, "--time-column", "Date_time",
                   "-o", "json")
    check("bad rows are named and the others go on", outcome.code == 1
          and outcome.json["appended"] == 2 and outcome.json["bad"] == 5 and outcome.json["rows"] == 7
          and [p["line"] for p in outcome.json["problems"]] == [3, 4, 5, 6, 7]
          and "bsfg: line 3: the row has 4 cells" in outcome.err, repr(outcome))
    binary = file("latin.csv", HEADER.encode() + b"\nX8,2014-01-01T00:00:00Z,1,A,caf\xe9\n")
    outcome = bsfg("ingest", binary, "--config", plant.config, *INGEST)
    expect("text that is not UTF-8", outcome, 1, err="line 2")
    here = ["--config", plant.config]
    expect("a file that is not there", bsfg("ingest", ROOT / "none.csv", *here, *INGEST), 2,
           err="none.csv cannot be read")
    expect("a directory", bsfg("ingest", ROOT, *here, *INGEST), 2,
           err="cannot be read: it is a directory")
    expect("an empty file", bsfg("ingest", file("empty.csv", ""), *here, *INGEST), 2, err="empty")
    outcome = bsfg("ingest", file("only.csv", HEADER + "\n"), *here, *INGEST, "-o", "json")
    check("a file without rows", outcome.code == 0 and outcome.json["rows"] == 0, repr(outcome))
    expect("two columns of one name", bsfg("ingest", file("twice.csv", "a,a\n1,2\n"), *here, *INGEST),
           2, err="same name")
    expect("a quote that stays open",
           bsfg("ingest", file("open.csv", HEADER + '\nX9,2014-01-01T00:00:00Z,1,A,g\n"X,\n1\n'),
                *here, *INGEST), 1, err="left open")
    facts = bsfg("fact", "tail", *here, "-n", "1", "-o", "json").json
    check("rows before it are facts", facts["message"]["fact"]["subject"] == "turbine:X9", facts)
    good = file("good.csv", HEADER + "\nX10,2014-01-01T00:00:00Z,1,A,good\n")

    def with_options(**changes):
        options = {"to": "enterprise", "subject": SUBJECT, "predicate": "reading", **changes}
        return bsfg("ingest", good, *here, *[
            part for name, value in options.items()
            for part in ("--" + name.replace("_", "-"), value)])

    expect("an unknown column, with the nearest", with_options(subject="turbine:{Wind_turbin_name}"),
           2, err="did you mean 'Wind_turbine_name'?")
    expect("an unknown time column", with_options(time_column="When"), 2, err="--time-column")
    expect("an unknown id column", with_options(id_columns="Serial,Nope"), 2, err="--id-columns")
    check("a predicate that is none", with_options(predicate="Reading").code == 2)
    check("a template with an open brace", with_options(subject="turbine:{a").code == 2)
    check("a zone that is none", with_options(to="No Zone").code == 2)
    expect("a zone that the node does not know", with_options(to="nowhere"), 2, err="--to")
    expect("facts of another zone", with_options(**{"from": "enterprise"}), 2, err="--from")
    expect("a stream that the node does not have", with_options(stream="facts.other"), 2,
           err="facts.other")
    check("a batch of none", with_options(batch="0").code == 2)
    expect("who has no role to append",
           bsfg("ingest", good, *client_options(plant, "erp"), *INGEST), 3, err="no role")
    options = client_options(plant, "historian")
    options[1] = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    expect("a node that is not there is not waited for",
           bsfg("ingest", good, *options, *INGEST), 4, err="refuses connections")
    # It would be tried again for two minutes.
    check("and is told at once", time.monotonic() - began < 60)


def test_ingest_gzip(plant):
    text = "\n".join([HEADER, *rows(300, start=20_000)]) + "\n"
    path = file("rows.csv.gz", gzip.compress(text.encode()))
    outcome = bsfg("ingest", path, *client_options(plant, "historian"), *INGEST, "--in-flight", "4",
                   "--batch", "50", "-o", "json")
    check("ingest of gzip over the network, several in flight", outcome.code == 0
          and outcome.json["appended"] == 300, repr(outcome))
    path = file("cut.csv.gz", gzip.compress(text.encode())[:-200])
    outcome = bsfg("ingest", path, "--config", plant.config, *INGEST)
    check("a gzip file that was cut is an error", outcome.code == 1, repr(outcome))


def test_ingest_stream(plant):
    """Rows that come slowly are facts before the input ends."""
    head = plant.head()
    process = subprocess.Popen(
        [BSFG, "ingest", "-", "--config", str(plant.config), *INGEST], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.append(process)
    process.stdin.write((HEADER + "\n" + rows(1, start=30_000)[0] + "\n").encode())
    process.stdin.flush()
    check("a row of a pipe that goes on is sent", wait_until(lambda: plant.head() == head + 1))
    process.stdin.write((rows(1, start=30_001)[0]).encode())
    out, _ = process.communicate(timeout=60)
    check("and the last one without a line end", process.returncode == 0
          and plant.head() == head + 2, out)


def test_ingest_terminal(plant):
    """A progress bar on a terminal, and none elsewhere."""
    path = file("bar.csv", "\n".join([HEADER, *rows(3000, start=40_000)]) + "\n")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [BSFG, "ingest", str(path), "--config", str(plant.config), *INGEST, "--batch", "100"],
        stdout=subprocess.PIPE, stderr=slave)
    processes.append(process)
    os.close(slave)
    drawn = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    os.close(master)
    process.wait(60)
    check("a progress bar on a terminal", process.returncode == 0 and b"rows/s" in drawn
          and b"%" in drawn, drawn[-300:])
    outcome = bsfg("ingest", path, "--config", plant.config, *INGEST)
    check("and none elsewhere", outcome.err == "" and "\r" not in outcome.out, repr(outcome))


def test_ingest_kill(plant, enterprise):
    """A node that is killed and comes back: nothing is lost, nothing is there twice."""
    count = 6000
    head = plant.head()
    lines = [HEADER, *rows(count, start=50_000)]
    path = file("kill.csv", "\n".join(lines) + "\n")
    errors = file("kill.err", "")
    with open(errors, "wb") as said:
        process = subprocess.Popen(
            [BSFG, "ingest", "-", *[str(o) for o in client_options(plant, "historian")], *INGEST,
             "--batch", "100", "--in-flight", "4", "-o", "json"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
    processes.append(process)
    # Half of the rows before the kill, the others once it is noticed: it is in the middle however fast either is.
    process.stdin.write(("\n".join(lines[:count // 2]) + "\n").encode())
    process.stdin.flush()
    wait_until(lambda: plant.head() > head + 500)
    plant.kill()
    rest = threading.Thread(
        target=lambda: process.stdin.write(("\n".join(lines[count // 2:]) + "\n").encode()))
    rest.start()
    wait_until(lambda: b"waiting" in errors.read_bytes())
    plant.start()
    rest.join(120)
    out, _ = process.communicate(timeout=240)
    err = errors.read_bytes()
    summary = json.loads(out) if out else {}
    check("ingest waits for a node that was killed", process.returncode == 0
          and summary.get("rows") == count
          and summary.get("appended", 0) + summary.get("existing", 0) == count
          and summary.get("retries", 0) > 0 and b"waiting" in err, (out, err))
    check("every row is there once", plant.head() == head + count, plant.head() - head)
    check("and reaches the other zone",
          wait_until(lambda: enterprise.head("plant-a") == plant.head()))
    plant.kill()
    outcome = bsfg("ingest", path, *client_options(plant, "historian"), *INGEST)
    check("a node that is down at the start is told", outcome.code == 4, repr(outcome))
    plant.start()
    process = subprocess.Popen(
        [BSFG, "ingest", "-", *[str(o) for o in client_options(plant, "historian")], *INGEST,
         "--patience", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.append(process)
    head = plant.head()
    process.stdin.write((HEADER + "\n" + rows(1, start=70_000)[0] + "\n").encode())
    process.stdin.flush()
    wait_until(lambda: plant.head() == head + 1)
    plant.kill()
    out, err = process.communicate(input=(rows(1, start=70_001)[0] + "\n").encode(), timeout=60)
    check("patience ends", process.returncode == 4 and b"gave up after 2 s" in err
          and b"run the same command again" in err, (out, err))
    plant.start()


def test_fact_append(plant):
    here = ["--config", plant.config]
    base = ["fact", "append", *here, "--to", "enterprise", "--subject", "pump:7", "--predicate", "started"]
    outcome = bsfg(*base, "--object", '{"rpm": 1450}', "--id", "append-1", "--label", "shift=3",
                   "--correlation-id", "c-1", "--causation-id", "k-1", "--schema", "pump.v1",
                   "--produced-at", "2025-01-15T10:00:00Z", "-o", "json")
    check("fact append", outcome.code == 0 and outcome.json["outcome"] == "appended"
          and len(outcome.json["content_digest"]) == 64, repr(outcome))
    fact = bsfg("fact", "tail", *here, "-n", "1", "-o", "json").json["message"]
    check("what was appended is there", fact["envelope"] == {
        "message_id": "append-1", "from_zone": "plant-a", "to_zone": "enterprise",
        "produced_at_unix_ms": 1736935200000, "correlation_id": "c-1", "causation_id": "k-1",
        "labels": {"shift": "3"}, "object_schema": "pump.v1"}
        and fact["fact"]["object"] == {"rpm": 1450}, fact)
    again = bsfg(*base, "--object", '{"rpm":1450.0}', "--id", "append-1", "--schema", "pump.v1",
                 "-o", "json")
    check("the same content again is existing", again.code == 0
          and again.json["outcome"] == "existing"
          and again.json["offset"] == outcome.json["offset"], repr(again))
    expect("other content with the id is a conflict",
           bsfg(*base, "--object", '{"rpm": 2}', "--id", "append-1"), 3, err="stands at offset")
    expect("without an id one is made and shown", bsfg(*base, "--object", "{}"), 0, out="appended")
    blob = file("blob.bin", bytes(range(256)))
    expect("bytes", bsfg(*base, "--object-file", blob, "--media-type", "application/x-test"), 0)
    expect("bytes without their type", bsfg(*base, "--object-file", blob), 2, err="--media-type is missing")
    message = {"envelope": {"message_id": "append-2", "toZone": "enterprise"},
               "fact": {"subject": "pump:8", "predicate": "stopped", "object": {"why": "ß"}}}
    outcome = bsfg("fact", "append", *client_options(plant, "historian"), "-o", "json",
                   stdin=json.dumps(message))
    check("from standard input, over the network", outcome.code == 0
          and outcome.json["message_id"] == "append-2", repr(outcome))
    expect("empty input", bsfg("fact", "append", *here), 2, err="standard input is empty")
    expect("input that is no message", bsfg("fact", "append", *here, stdin='{"envelop": {}}'), 2,
           err="envelop")
    expect("a number that no double keeps",
           bsfg(*base, "--object", '{"n": 9007199254740993}'), 2, err="send a string")
    expect("an object that is no JSON", bsfg(*base, "--object", "{rpm}"), 2, err="--object is not JSON")
    expect("no zone to go to",
           bsfg("fact", "append", *here, "--subject", "pump:7", "--predicate", "started",
                "--object", "1"), 2, err="--to is missing")
    check("a subject alone", bsfg("fact", "append", *here, "--subject", "pump:7").code == 2)
    expect("a label without a value", bsfg(*base, "--object", "1", "--label", "x"), 2, err="name=value")
    expect("a time that is none", bsfg(*base, "--object", "1", "--produced-at", "now"), 2,
           err="--produced-at")
    expect("an unknown stream", bsfg(*base, "--object", "1", "--stream", "facts.none"), 2,
           err="facts.none")
    expect("an identity without the role",
           bsfg("fact", "append", *client_options(plant, "erp"), "--to", "enterprise", "--subject",
                "pump:7", "--predicate", "started", "--object", "1"), 3, err="role")


def test_consumers(plant, enterprise):
    here = ["--config", enterprise.config]
    wait_until(lambda: enterprise.head("plant-a") == plant.head())
    outcome = bsfg("consumer", "create", "--owner", "erp", "--name", "orders", "--origin", "plant-a",
                   *here, "-o", "json")
    check("consumer create", outcome.code == 0 and outcome.json["next_offset"] == 0
          and outcome.json["init_mode"] == "full_backfill", repr(outcome))
    expect("a consumer twice",
           bsfg("consumer", "create", "--owner", "erp", "--name", "orders", "--origin", "plant-a", *here),
           3, err="already")
    expect("a consumer from now on",
           bsfg("consumer", "create", "--owner", "erp", "--name", "late", "--origin", "plant-a",
                "--start", "start_now", *here), 0, out="start_now")
    expect("an owner that is not there",
           bsfg("consumer", "create", "--owner", "nobody", "--name", "x", *here), 3, err="clients")
    expect("an owner without the role",
           bsfg("consumer", "create", "--owner", "historian", "--name", "x", *here), 3, err="role")
    expect("a log that is not there",
           bsfg("consumer", "create", "--owner", "erp", "--name", "x", "--origin", "mars", *here), 2,
           err="mars")
    check("a start that is none",
          bsfg("consumer", "create", "--owner", "erp", "--name", "x", "--start", "never", *here).code == 2)
    listed = bsfg("consumer", "list", *here, "-o", "json").json["consumers"]
    check("consumer list", {(c["owner"], c["name"]) for c in listed}
          >= {("erp", "orders"), ("erp", "late"),
              ("plant-a-bsfg", "plant-a/facts.operational/enterprise")}, listed)
    expect("consumer list as a table", bsfg("consumer", "list", *here), 0, out="BEHIND")

    as_erp = client_environment(enterprise, "erp")
    page = bsfg("fact", "fetch", "--consumer", "orders", "--limit", "3", "-o", "json",
                environment=as_erp)
    check("fact fetch", page.code == 0 and [e["offset"] for e in page.json["entries"]] == [0, 1, 2]
          and page.json["next_offset"] == 3 and "confirmed_offset" not in page.json
          and page.json["entries"][0]["message"]["fact"]["object"]["Serial"] == "A00000", repr(page))
    expect("fact fetch as a table",
           bsfg("fact", "fetch", "--consumer", "orders", "--limit", "2", environment=as_erp), 0,
           out="bsfg fact confirm --consumer orders --offset 1")
    confirmed = bsfg("fact", "confirm", "--consumer", "orders", "--offset", "2", "-o", "json",
                     environment=as_erp)
    check("fact confirm", confirmed.code == 0 and confirmed.json["cursor_advanced_to"] == 2
          and confirmed.json["next_offset"] == 3, repr(confirmed))
    expect("an earlier confirm changes nothing",
           bsfg("fact", "confirm", "--consumer", "orders", "--offset", "0", environment=as_erp), 0,
           out="confirmed up to 2, next is 3")
    page = bsfg("fact", "fetch", "--consumer", "orders", "--limit", "1", "-o", "json",
                environment=as_erp).json
    check("the next page begins behind it", page["entries"][0]["offset"] == 3
          and page["confirmed_offset"] == 2)
    page = bsfg("fact", "fetch", "--consumer", "orders", "--limit", "1", "--from-offset", "1", "-o",
                "json", environment=as_erp).json
    check("or where it is told to", page["entries"][0]["offset"] == 1)
    expect("beyond the head",
           bsfg("fact", "confirm", "--consumer", "orders", "--offset", "99999999", environment=as_erp),
           2, err="beyond the head")
    expect("a consumer that is not there, with the nearest",
           bsfg("fact", "fetch", "--consumer", "order", environment=as_erp), 3, err="did you mean orders")
    expect("a consumer of somebody else",
           bsfg("fact", "fetch", "--consumer", "plant-a/facts.operational/enterprise",
                environment=as_erp), 3, err="another identity")
    expect("a limit that is too large",
           bsfg("fact", "fetch", "--consumer", "orders", "--limit", "10001", environment=as_erp), 2,
           err="limit")
    empty = bsfg("fact", "fetch", "--consumer", "late", "-o", "json", environment=as_erp)
    check("nothing new is an empty page", empty.code == 0 and "entries" not in empty.json
          or empty.json.get("entries") == [], repr(empty))
    timer = threading.Timer(1.0, lambda: bsfg(
        "fact", "append", "--config", plant.config, "--to", "enterprise", "--subject", "pump:9",
        "--predicate", "waited", "--object", "1"))
    timer.start()
    for _ in range(10):
        # No fetch waits for more than ten seconds, and a slow machine may need more.
        waited = bsfg("fact", "fetch", "--consumer", "late", "--wait", "10000", "-o", "json",
                      environment=as_erp)
        if waited.code != 0 or waited.json.get("entries"):
            break
    timer.join()
    check("a fetch that waits gets what comes through the other zone", waited.code == 0
          and len(waited.json.get("entries", [])) == 1, repr(waited))


def test_tail(plant, enterprise):
    here = ["--config", plant.config]
    lines = bsfg("fact", "tail", *here).out.splitlines()
    check("fact tail shows ten", len(lines) == 10, lines)
    check("fact tail of the other zone's facts",
          len(bsfg("fact", "tail", "--config", enterprise.config, "--origin", "plant-a", "-n",
                   "3").out.splitlines()) == 3)
    expect("fact tail from an offset",
           bsfg("fact", "tail", *here, "--from-offset", plant.head() - 2, "-o", "json"), 0)
    expect("fact tail beyond the head", bsfg("fact", "tail", *here, "--from-offset", "99999999"), 2,
           err="beyond the head")
    expect("fact tail of no log", bsfg("fact", "tail", *here, "--origin", "mars"), 2, err="mars")
    expect("fact tail of a log without facts",
           bsfg("fact", "tail", "--config", enterprise.config), 0, out="")
    began = time.monotonic()
    subprocess.run(
        f"timeout 110 '{BSFG}' fact tail --from-offset 0 -f --config '{plant.config}' | head -1",
        shell=True, stdout=subprocess.DEVNULL)
    check("fact tail -f ends when nobody reads", time.monotonic() - began < 100)
    process = subprocess.Popen(
        [BSFG, "fact", "tail", "-f", "-n", "0", "--config", str(plant.config), "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.append(process)
    shown = []

    def read():
        for line in process.stdout:
            shown.append(line)

    threading.Thread(target=read, daemon=True).start()

    def is_shown(name):
        return any(f'"{name}"'.encode() in line for line in shown)

    def append(name):
        return bsfg("fact", "append", *here, "--to", "enterprise", "--subject", "pump:9",
                    "--predicate", name, "--object", "1")

    def follows():
        # What came before it began is not shown: another one is.
        append("followed")
        return wait_until(lambda: is_shown("followed"), 3)

    check("fact tail -f shows what comes", wait_until(follows), shown[-3:])
    plant.stop()
    time.sleep(0.5)
    plant.start()
    append("after_restart")
    check("and goes on when the node is back", wait_until(lambda: is_shown("after_restart")), shown[-3:])
    process.terminate()
    process.wait(60)


def test_peer(plant, enterprise):
    here = ["--config", enterprise.config]
    good = bsfg("peer", "probe", "plant-a", *here, "-o", "json")
    check("peer probe", good.code == 0 and good.json["good"]
          and [s["step"] for s in good.json["steps"]] == ["dns", "tcp", "tls", "identity", "health"]
          and good.json["health"]["caller_roles"] == ["peer"]
          # As exact as half the time that the call took.
          and abs(good.json["clock_difference_ms"]) < 30_000, repr(good))
    expect("peer probe as a table", bsfg("peer", "probe", "plant-a", *here), 0, out="clocks:")
    expect("by host and port",
           bsfg("peer", "probe", f"127.0.0.1:{plant.port}", *here), 0, out="zone plant-a")
    expect("of a node that is no peer of ours, ourselves",
           bsfg("peer", "probe", f"127.0.0.1:{enterprise.port}", *here), 3, out="enterprise-bsfg")
    expect("of a peer that is not there", bsfg("peer", "probe", "plant-b", *here), 2,
           err="did you mean 'plant-a'?")
    expect("without our node", bsfg("peer", "probe", "plant-a"), 2, err="--config DIR")
    expect("of a name that is none",
           bsfg("peer", "probe", "no-such-host.invalid:9443", *here), 4, out="has no address")
    expect("of a port where nothing listens",
           bsfg("peer", "probe", f"127.0.0.1:{free_port()}", *here), 4, out="refuses connections")
    # A full backlog neither accepts nor refuses, as a firewall that drops.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    time.sleep(0.2)
    silent = bsfg("peer", "probe", f"127.0.0.1:{port}", *here, "--timeout-seconds", "1", "-o", "json")
    check("of a port that is silent", silent.code == 4 and silent.json["failure"] == "silent"
          and "firewall" in silent.out, repr(silent))
    for item in [listener, *fillers]:
        item.close()
    plain = socket.socket()
    plain.bind(("127.0.0.1", 0))
    plain.listen(8)

    def answer():
        for _ in range(2):
            try:
                connection, _ = plain.accept()
                connection.settimeout(60)
                try:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.recv(65536)
                except OSError:
                    pass
                connection.close()
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    outcome = bsfg("peer", "probe", f"127.0.0.1:{plain.getsockname()[1]}", *here)
    plain.close()
    expect("of a port that does not speak TLS", outcome, 3, out="does not speak TLS")

    peers = (enterprise.config / "peers.yaml").read_text()
    enterprise.write("peers.yaml", peers.replace("plant-a-bsfg", "somebody-else"))
    expect("of a node with another identity", bsfg("peer", "probe", "plant-a", *here), 3,
           out="somebody-else")
    enterprise.write("peers.yaml", peers)
    certs = enterprise.root / "certs"
    kept = {name: (certs / name).read_bytes() for name in ("server.crt", "server.key")}
    bsfg("cert", "issue", "--ca", ROOT / "other-ca", "--identity", "enterprise-bsfg", "--address",
         "127.0.0.1", "--out", ROOT / "forged-server")
    for name in kept:
        shutil.copy(ROOT / "forged-server" / name, certs / name)
    outcome = bsfg("peer", "probe", "plant-a", *here)
    expect("with a certificate that they refuse", outcome, 3, out="FAILED")
    for name, content in kept.items():
        (certs / name).write_bytes(content)

    check("the pull is running", wait_until(
        lambda: enterprise.status()["pulls"][0]["state"] == "pulling"
        and enterprise.head("plant-a") == plant.head()), enterprise.status()["pulls"])
    head = enterprise.head("plant-a")
    again = enterprise.status()["pulls"][0]["redelivered"]
    expect("peer redeliver", bsfg("peer", "redeliver", "plant-a", "--count", "50", *here), 0,
           out=f"from offset {head - 50}")
    check("spec 19.118: what is fetched again from an old cursor is recognised and changes no count",
          wait_until(lambda: enterprise.status()["pulls"][0]["redelivered"] >= again + 50)
          and enterprise.head("plant-a") == head)
    expect("peer redeliver of nobody",
           bsfg("peer", "redeliver", "mars", "--count", "5", *here), 2, err="nothing is pulled")


def test_one_node(plant):
    expect("a second node on the same data is refused",
           bsfg("serve", "--config", plant.config), 1, err="a node runs with the data in")
    head = plant.head()
    store = next(s["directory"] for s in plant.status()["streams"] if s["role"] == "store")
    expect("log append keeps out of a node's log",
           bsfg("log", "append", "--dir", store, stdin="no fact\n"), 2, err="is a node's log")
    check("and nothing was written", plant.head() == head)


def test_end(plant, enterprise):
    check("both logs are of one length",
          wait_until(lambda: enterprise.head("plant-a") == plant.head()))
    pull = enterprise.status()["pulls"][0]
    check("the pull has confirmed everything", wait_until(
        lambda: enterprise.status()["pulls"][0]["confirmed_offset"] == plant.head() - 1), pull)
    check("serve ends cleanly", plant.stop() == 0 and enterprise.stop() == 0)
    expect("status of a stopped node", bsfg("status", "--config", plant.config), 4,
           err="no node runs here")


def main():
    atexit.register(clean_up)
    plant, enterprise = Node("plant-a", free_port()), Node("enterprise", free_port())
    set_up(plant, enterprise)
    plant.start()
    enterprise.start()
    tests = [
        (test_general, ()), (test_simulate, ()), (test_full_disk, ()), (test_connection, (plant,)), (test_status, (plant, enterprise)),
        (test_ingest_csv, (plant, enterprise)), (test_ingest_cells, (plant,)),
        (test_ingest_jsonl, (plant,)), (test_ingest_bad, (plant, enterprise)),
        (test_ingest_gzip, (plant,)), (test_ingest_stream, (plant,)),
        (test_ingest_terminal, (plant,)), (test_fact_append, (plant,)),
        (test_consumers, (plant, enterprise)), (test_tail, (plant, enterprise)),
        (test_peer, (plant, enterprise)), (test_ingest_kill, (plant, enterprise)),
        (test_one_node, (plant,)), (test_end, (plant, enterprise)),
    ]
    only = sys.argv[1:]
    for test, arguments in tests:
        if only and not any(part in test.__name__ for part in only):
            continue
        try:
            test(*arguments)
        except Exception:
            traceback.print_exc()
            check(f"{test.__name__} runs to its end", False, traceback.format_exc().splitlines()[-1])
    print(f"{checks - len(failures)} of {checks} checks passed")
    for name in failures:
        print(f"failed: {name}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
