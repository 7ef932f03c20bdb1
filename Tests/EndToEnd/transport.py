#!/usr/bin/env python3
"""What is around a node that is itself right: a clock that stands in 1970, a balancer that only looks, a CA that goes,
a client with an old ticket.

    BSFG=path transport.py
"""

import json
import signal
import socket
import subprocess
import time

from certificates import closes_in_time, events, revoke, s_client
from schedule.stepped_clock import SteppedClock, build, compiler
from support import BSFG, Caller, Site, fact, main, run, wait_until


def looks(checks, node):
    """A virtual address's health check opens a connection and closes it, every 2 s; here quicker."""
    before = node.status()["server"]
    for number in range(12):
        with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
            if number % 3 == 1:
                connection.shutdown(socket.SHUT_WR)
            # Some balancers reset instead.
            if number % 3 == 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        time.sleep(0.1)
    wait_until("the looks counted", lambda: int(node.status()["server"]["connections"])
               >= int(before["connections"]) + 12)
    after = node.status()["server"]
    checks.equal("gateway decision 38: a look is no failed handshake",
                 after.get("handshakeFailures", {}), before.get("handshakeFailures", {}))
    lines = [event for name in ("tls_refused", "tls_failed", "handshake_failed") for event in events(node, name)]
    checks.equal("gateway decision 38: nothing is logged of a look", lines, [])


def old_ticket(checks, site, node, certificate, other):
    """After the trust has changed an honest client's ticket is of no use; its certificate is."""
    session = site.directory / "ticket"
    pair = ("-cert", f"{certificate}.crt", "-key", f"{certificate}.key")
    first = s_client(node, *pair, "-sess_out", session)
    checks.check("old ticket: let in", "caller_identity" in first, first)
    known = len(events(node, "certificates_reloaded"))
    revoke(site, other)
    wait_until("the reload", lambda: len(events(node, "certificates_reloaded")) > known)
    answers = [s_client(node, *pair, "-sess_in", session) for _ in range(2)]
    checks.check("gateway decision 36: with an old ticket an honest client is let in at its first retry",
                 any("caller_identity" in answer for answer in answers), answers)


def authority_goes(checks, site, node, certificate):
    """The CA of a client is taken out of the file; who it signed is cut off, resumed or not."""
    session = site.directory / "session-of-ca"
    twin = Caller(node, certificate)
    checks.check("CA gone: let in before", twin.request("GET", "/health").ok)
    answer = s_client(node, "-cert", f"{certificate}.crt", "-key", f"{certificate}.key", "-sess_out", session)
    checks.check("CA gone: a session is kept", "caller_identity" in answer, answer)
    run("ca", "init", "--dir", site.directory / "next-ca")
    trusted = site.authority
    kept = trusted.read_bytes()
    # The list beside the file goes with its CA.
    (site.authority_directory / "ca.crl").unlink(missing_ok=True)
    next_pair = site.directory / "next"
    run("cert", "issue", "--ca", site.directory / "next-ca", "--identity", node.identity, "--address", "127.0.0.1",
        "--out", next_pair, "--name", "server")
    trusted.write_bytes((site.directory / "next-ca" / "ca.crt").read_bytes())
    for suffix in ("crt", "key"):
        (node.root / "certs" / f"server.{suffix}").write_bytes((next_pair / f"server.{suffix}").read_bytes())
    began = time.time()
    node.process.send_signal(signal.SIGHUP)
    closes_in_time(checks, "a CA goes", node, twin, "one", began)
    for arguments in ((), ("-cert", f"{certificate}.crt", "-key", f"{certificate}.key")):
        answer = s_client(node, *arguments, "-sess_in", session)
        checks.check("gateway decision 36: nor is a session of it answered", "caller_identity" not in answer, answer)
    trusted.write_bytes(kept)


def in_1970(checks):
    """A node without a battery: it says so, and whoever is at the machine can append."""
    if compiler() is None:
        return checks.skip("a clock in 1970", "there is no C compiler")
    with Site() as site:
        node = site.node("plant-a")
        node.client("one")
        certificate = site.certificate("one")
        clock = SteppedClock(site.directory / "clock", build(site.directory))
        clock.step_to(60 - time.time())
        node.start(wrapper=("env", *(f"{name}={value}" for name, value in clock.environment.items())))
        said = [event for event in events(node, "own_certificate") + events(node, "certificate_status")
                if "1970" in json.dumps(event)] or [
            line for line in node.errors.read_text(errors="replace").splitlines() if "1970-01-01" in line]
        checks.check("gateway decision 38: a node whose clock stands in 1970 says so", len(said) >= 1, said)
        print(f"  {said[:1]}", flush=True)
        done = subprocess.run(
            [BSFG, "fact", "append", "--config", str(node.root), "--subject", "pump:7", "--predicate", "started",
             "--object", "{}", "--to", "plant-a", "--id", "in-1970"], capture_output=True, text=True, timeout=120)
        checks.check("gateway decision 38: its administration socket appends all the same",
                     done.returncode == 0, done)
        status = subprocess.run([BSFG, "cert", "status", "--config", str(node.root / "config")],
                                capture_output=True, text=True, timeout=120,
                                env={**clock.environment, "PATH": "/usr/bin:/bin"})
        checks.check("gateway decision 38: cert status says it in one sentence",
                     status.returncode == 1 and "1970-01-01" in status.stdout, status)
        try:
            answer = Caller(node, certificate).request("GET", "/health")
            heard = (answer.status, answer.text)
        except OSError as error:
            heard = (0, str(error))
        checks.check("gateway decision 38: over the network nobody is let in meanwhile", heard[0] != 200, heard)
        clock.step_to(0)
        wait_until("the right time", lambda: let_in(node, certificate))
        checks.check("gateway decision 38: with the right time again callers are let in", True)
        checks.equal("the node of 1970 ends with", node.stop(), 0)


def let_in(node, certificate):
    try:
        return Caller(node, certificate).append(fact("later")).ok
    except OSError:
        return False


def test(checks):
    with Site() as site:
        node = site.node("plant-a")
        for name in ("one", "two"):
            node.client(name)
        certificates = [site.certificate(name) for name in ("one", "two")]
        node.start()
        with checks.guard("looks"):
            looks(checks, node)
        with checks.guard("an old ticket"):
            old_ticket(checks, site, node, *certificates)
        with checks.guard("a CA that goes"):
            authority_goes(checks, site, node, certificates[0])
        checks.equal("the node ends with", node.stop(), 0)
    with checks.guard("1970"):
        in_1970(checks)


if __name__ == "__main__":
    main(test)
