#!/usr/bin/env python3
"""`bsfg bench`: the nodes that it starts, what it counts, what it prints and what it leaves behind. No
check depends on how fast the machine is.

    BSFG=path bench_nodes.py
"""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from support import BSFG, PATIENCE, Site, main, wait_until

SHORT = ["--seconds", "1", "--warm-up", "0.2"]


def bench(directory, *arguments):
    done = subprocess.run(
        [BSFG, "bench", *map(str, arguments)], capture_output=True, text=True, timeout=600,
        env={**os.environ, "TMPDIR": directory})
    return done


def figures(checks, name, directory, *arguments):
    """The JSON of a benchmark that has to succeed and to leave nothing behind."""
    done = bench(directory, *arguments, "--json")
    checks.check(f"{name}: succeeds", done.returncode == 0, f"{done.returncode} {done.stderr.strip()}")
    checks.equal(f"{name}: removes what it wrote", os.listdir(directory), [])
    return json.loads(done.stdout)


def one_run(checks, name, run):
    checks.equal(f"{name}: no call fails", (run["failed_calls"], run["unsent_calls"]), (0, 0))
    checks.equal(f"{name}: every call is answered", run["answered_calls"], run["sent_calls"])
    latency = run["latency"]
    ordered = [latency[key] for key in (
        "p50_microseconds", "p99_microseconds", "p999_microseconds", "maximum_microseconds")]
    checks.check(f"{name}: percentiles rise", ordered == sorted(ordered) and ordered[0] > 0, str(ordered))
    checks.check(
        f"{name}: samples are a part of the calls", 0 < latency["samples"] <= run["answered_calls"],
        str(latency))


def appends(checks, directory):
    for name, options in [
        ("one fact a call", []),
        ("HTTP/1.1", ["--http", "1.1", "--connections", 10]),
        ("batches over three connections", ["--batch", 20, "--connections", 3, "--in-flight", 7]),
    ]:
        found = figures(checks, name, directory, "append", *SHORT, *options)
        checks.equal(f"{name}: the node's log has what was acknowledged",
                     found["facts_in_log"], found["acknowledged_facts"])
        checks.equal(f"{name}: a closed loop, then an open one",
                     [run["pace"] for run in found["runs"]], ["closed", "open"])
        for run in found["runs"]:
            one_run(checks, f"{name}, {run['pace']}", run)
            checks.equal(f"{name}, {run['pace']}: facts a call", run["acknowledged_facts"],
                         run["answered_calls"] * (found["batch"] or 1))
    found = figures(checks, "a constant", directory, "append", "--null", "--closed-loop", *SHORT)
    one_run(checks, "a constant", found["runs"][0])
    checks.equal("a constant: nothing is stored", (found["null"], found["facts_in_log"]), (True, None))


def schedule(checks, directory):
    found = figures(
        checks, "open loop", directory, "append", "--rate", 50, "--seconds", 2, "--warm-up", 1)
    run = found["runs"][0]
    checks.equal("open loop: as many calls as the rate and the time say", run["sent_calls"], 150)
    checks.equal("open loop: the warm-up's are not measured", run["latency"]["samples"], 100)


def running_node(checks, directory):
    with Site() as site:
        node = site.node("plant-a")
        certificate = site.certificate("line-1")
        node.client("line-1", roles=["producer"])
        node.start()
        done = bench(
            directory, "append", "--closed-loop", *SHORT, "--json", "--endpoint",
            f"127.0.0.1:{node.port}", "--cert", f"{certificate}.crt", "--key", f"{certificate}.key",
            "--ca", site.authority)
        checks.check("a running node: succeeds", done.returncode == 0, done.stderr)
        found = json.loads(done.stdout)
        checks.equal("a running node: its log has what was acknowledged",
                     node.head(), found["acknowledged_facts"])
        node.stop()
        done = bench(
            directory, "append", *SHORT, "--endpoint", f"127.0.0.1:{node.port}", "--cert",
            f"{certificate}.crt", "--key", f"{certificate}.key", "--ca", site.authority)
        checks.equal("a node that is down: exit status 4", done.returncode, 4)


def replication(checks, directory):
    found = figures(
        checks, "replication", directory, "replication", "--rate", 1000, "--batch", 50,
        "--seconds", 2, "--warm-up", 1)
    one_run(checks, "replication", found["append"])
    checks.equal("replication: every fact crosses", found["replicated_facts"], 3000)
    checks.equal("replication: the lag of every measured fact is known", found["lag"]["samples"], 2000)
    checks.check("replication: a rate", found["replicated_facts_per_second"] > 0, str(found))


def drain(checks, directory):
    found = figures(checks, "drain", directory, "drain", "--facts", 20000, "--batch", 400)
    checks.equal("drain: every fact of the backlog crosses", found["facts"], 20000)
    for node in ("source", "receiver"):
        memory = found[node]
        checks.check(f"drain: memory of the {node}",
                     0 < memory["idle_bytes"] and memory["drain_peak_bytes"] > 0, str(memory))


def interrupted(checks, directory):
    process = subprocess.Popen(
        [BSFG, "bench", "append", "--seconds", "600"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": directory})
    try:
        node = wait_until("the node's log", lambda: list(
            pathlib.Path(directory).glob("*/plant-a/data/store/*")))
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE)
    finally:
        process.kill()
    checks.check("Ctrl-C ends it", node and process.returncode == 130, str(process.returncode))
    checks.equal("Ctrl-C: nothing is left", os.listdir(directory), [])


def wrong(checks, directory):
    for name, arguments in [
        ("two paces", ["append", "--rate", "5", "--closed-loop"]),
        ("no rate", ["append", "--rate", "0"]),
        ("half of an endpoint", ["append", "--endpoint", "127.0.0.1:1"]),
        ("too many connections", ["append", "--connections", "65"]),
        ("no facts", ["drain", "--facts", "0"]),
    ]:
        checks.equal(f"{name}: exit status 2", bench(directory, *arguments).returncode, 2)


def run(checks):
    with tempfile.TemporaryDirectory(prefix="bsfg-b-") as directory:
        for part in (wrong, appends, schedule, running_node, replication, drain, interrupted):
            began = time.monotonic()
            with checks.guard(part.__name__):
                part(checks, directory)
            print(f"{part.__name__}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(run)
