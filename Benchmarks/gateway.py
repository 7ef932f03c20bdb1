#!/usr/bin/env python3
"""Measures what nodes of this machine can do against the rows of the budget, and writes the table into
docs/performance.md: appends over HTTP/2 and HTTP/1.1, batches, replication and a backlog's drain, beside the
same server storing nothing and nginx answering a constant, interleaved in one run.

    Benchmarks/gateway.py [--rounds 3] [--seconds 5] [--only NAME] [--no-write]

BSFG names the program (default: the release build), NGINX an nginx with HTTP/2 and TLS (default: the one in
PATH; without one its rows are left out and the table says so).
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BSFG = os.environ.get("BSFG", str(ROOT / ".build-release/release/bsfg"))
DOCUMENT = ROOT / "docs/performance.md"
BEGIN, END = "<!-- gateway:begin -->", "<!-- gateway:end -->"

HTTP1 = ["--http", "1.1", "--connections", "64"]
APPENDS = {
    "h2": [], "h2-null": ["--null"], "h1": HTTP1, "h1-null": [*HTTP1, "--null"],
    "batch": ["--batch", "500", "--in-flight", "4"],
    "batch-null": ["--batch", "500", "--in-flight", "4", "--null"],
}
NGINX_APPENDS = {"h2-nginx": [], "h1-nginx": HTTP1}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--replication-rate", type=int, default=75_000)
    parser.add_argument("--drain-facts", type=int, default=1_000_000)
    parser.add_argument("--only", help="what to measure, by a part of its name; writes nothing")
    parser.add_argument("--no-write", action="store_true")
    return parser.parse_args()


def bench(*words):
    done = subprocess.run([BSFG, "bench", *map(str, words), "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bsfg bench {' '.join(map(str, words))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def nginx(program):
    """nginx with one worker, mutual TLS 1.3 and both HTTP versions, which answers any call with a
    constant of an append's answer's size. Yields the options that aim at it."""
    with tempfile.TemporaryDirectory(prefix="bsfg-nginx-") as directory:
        place = pathlib.Path(directory)
        authority = place / "ca"
        subprocess.run([BSFG, "ca", "init", "--dir", authority], check=True, capture_output=True)
        for name, more in (("server", ["--address", "127.0.0.1"]), ("client", [])):
            subprocess.run(
                [BSFG, "cert", "issue", "--ca", authority, "--identity", f"nginx-{name}", *more,
                 "--out", place / name, "--name", name], check=True, capture_output=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (place / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log; master_process off;
events {{ worker_connections 1024; }}
http {{
    access_log off; default_type application/proto; keepalive_requests 1000000000;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2; server_name localhost;
        ssl_protocols TLSv1.3; ssl_verify_client on; ssl_client_certificate {authority}/ca.crt;
        ssl_certificate {place}/server/server.crt; ssl_certificate_key {place}/server/server.key;
        location / {{ return 200 "{'x' * 45}"; }}
    }}
}}
""")
        process = subprocess.Popen(
            [program, "-p", directory, "-c", place / "nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                if time.monotonic() > deadline:
                    sys.exit(f"nginx did not come up: {(place / 'error.log').read_text()}")
                time.sleep(0.05)
            yield process.pid, [
                "--endpoint", f"127.0.0.1:{port}", "--cert", place / "client/client.crt", "--key",
                place / "client/client.key", "--ca", authority / "ca.crt"]
        finally:
            process.terminate()
            process.wait()


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(options):
    """Facts a second and node microseconds of every append, one round after the other."""
    program = os.environ.get("NGINX") or shutil.which("nginx")
    found = {}

    def wanted(name):
        return not options.only or options.only in name

    for _ in range(options.rounds):
        common = ["--closed-loop", "--seconds", options.seconds, "--warm-up", 1]
        for name, more in APPENDS.items():
            if wanted(name):
                run = bench("append", *common, *more)["runs"][0]
                found.setdefault(name, []).append(run)
                tell(name, run)
        for name, more in NGINX_APPENDS.items():
            if program and wanted(name):
                with nginx(program) as (pid, aim):
                    before = processor_seconds(pid)
                    run = bench("append", *common, *more, *aim)["runs"][0]
                    run["node_microseconds_per_fact"] = (
                        (processor_seconds(pid) - before) * 1e6 / run["acknowledged_facts"])
                found.setdefault(name, []).append(run)
                tell(name, run)
    if wanted("replication"):
        found["replication"] = bench(
            "replication", "--rate", options.replication_rate, "--seconds", max(10, options.seconds))
        print("replication", json.dumps(found["replication"]), flush=True)
    if wanted("drain"):
        found["drain"] = bench("drain", "--facts", options.drain_facts)
        print("drain", json.dumps(found["drain"]), flush=True)
    return found


def tell(name, run):
    print(f"{name:12} {run['facts_per_second']:10.0f} facts/s  p99 "
          f"{run['latency']['p99_microseconds'] / 1000:8.2f} ms  "
          f"{run['node_microseconds_per_fact'] or 0:6.1f} µs", flush=True)


def rate(runs):
    return statistics.median(run["facts_per_second"] for run in runs)


def number(value):
    return f"{value:,.0f}"


def verdict(holds):
    return "met" if holds else "**SHORT**"


def ratio_row(what, target, ours, beside, beside_name, command):
    if beside is None:
        return f"| {what} | ≥ {target} × nginx | {number(rate(ours))}/s | no nginx here | not compared | `{command}` |"
    ratios = [a["facts_per_second"] / b["facts_per_second"] for a, b in zip(ours, beside)]
    ratio = statistics.median(ratios)
    return (f"| {what} | ≥ {target} × {beside_name} | {number(rate(ours))}/s, {ratio:.2f} × | "
            f"{beside_name} {number(rate(beside))}/s | {verdict(ratio >= target)} | `{command}` |")


def table(found, options):
    nginx_h2, nginx_h1 = found.get("h2-nginx"), found.get("h1-nginx")
    lines = [
        "| what | target | figure | limit of the same run | | command (`bsfg bench …`) |",
        "|---|---|---|---|---|---|",
        ratio_row("AppendFact, HTTP/2, 64 in flight, durable", 1.2, found["h2"], nginx_h2, "nginx",
                  "append --closed-loop"),
        ratio_row("the same server storing nothing", 2.5, found["h2-null"], nginx_h2, "nginx",
                  "append --null --closed-loop"),
        ratio_row("AppendFact, HTTP/1.1, 64 connections, durable", 0.8, found["h1"], nginx_h1, "nginx",
                  "append --http 1.1 --connections 64 --closed-loop"),
        f"| AppendFacts, 500 a call, 4 in flight, durable | ≥ 300,000 facts/s | "
        f"{number(rate(found['batch']))} facts/s | storing nothing {number(rate(found['batch-null']))} | "
        f"{verdict(rate(found['batch']) >= 300_000)} | `append --batch 500 --in-flight 4 --closed-loop` |",
    ]
    drain, replication = found["drain"], found["replication"]
    lag = replication["lag"]
    append = replication["append"]
    kept_up = replication["replicated_facts_per_second"] >= 0.98 * options.replication_rate
    lines += [
        f"| replication of a backlog, 256 B, both nodes here | ≥ 150,000 facts/s | "
        f"{number(drain['drain_facts_per_second'])} facts/s | | "
        f"{verdict(drain['drain_facts_per_second'] >= 150_000)} | `drain --facts {options.drain_facts}` |",
        f"| lag while {number(options.replication_rate)} facts/s are appended | p99 < 100 ms | "
        f"{number(replication['replicated_facts_per_second'])} facts/s, lag p50 "
        f"{lag['p50_microseconds'] / 1000:.1f} ms, p99 {lag['p99_microseconds'] / 1000:.1f} ms | "
        f"the append alone p99 {append['latency']['p99_microseconds'] / 1000:.1f} ms | "
        f"{verdict(kept_up and lag['p99_microseconds'] < 100_000)} | "
        f"`replication --rate {options.replication_rate}` |",
    ]
    for node in ("source", "receiver"):
        memory = drain[node]
        above = (memory["drain_peak_bytes"] - memory["idle_bytes"]) / (1 << 20)
        lines.append(
            f"| memory of the {node} while {number(drain['facts'])} facts drain | ≤ 64 MiB above idle | "
            f"{above:.0f} MiB above {memory['idle_bytes'] / (1 << 20):.0f} MiB | | {verdict(above <= 64)} | "
            f"`drain --facts {options.drain_facts}` |")
    costs = ", ".join(
        f"{name} {statistics.median(run['node_microseconds_per_fact'] for run in found[name]):.1f}"
        for name in [*APPENDS, *NGINX_APPENDS] if name in found)
    machine = drain["machine"]
    return "\n".join([
        f"Measured {time.strftime('%Y-%m-%d')}, Linux {machine['kernel']} {platform.machine()}, "
        f"{machine['cores']} cores shared by client and nodes; appends: medians of {options.rounds} "
        f"interleaved rounds of {options.seconds:g} s; replication, drain and memory: one run each.", "", *lines, "",
        f"Processor time of the server, µs a fact: {costs}. Where the client is what limits a rate, this is what "
        "compares.", ""])


def main():
    options = arguments()
    found = measure(options)
    if options.only:
        return
    text = table(found, options)
    print(text)
    if not options.no_write:
        whole = DOCUMENT.read_text()
        before, rest = whole.split(BEGIN)
        _, after = rest.split(END)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
