#!/usr/bin/env python3
"""Certificates, CA files and CRLs that change under a running node: who stays connected, who is cut
off, and that both sides know why.

    BSFG=path certificates.py
"""

import datetime
import json
import signal
import subprocess
import threading
import time

from support import BSFG, PATIENCE, STREAM, Caller, Site, fact, main, run, wait_until

# Within so many seconds of the change a caller that is refused has no connection any more.
CLOSING_SECONDS = 2.0
# On two busy cores this script may be woken later than that.
SCRIPT_SECONDS = 2.0


def events(node, name):
    """The lines of a node's log with an event."""
    found = []
    for line in node.errors.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("event") == name:
            found.append(entry)
    return found


def serial(certificate):
    done = subprocess.run(
        ["openssl", "x509", "-in", f"{certificate}.crt", "-noout", "-serial"],
        capture_output=True, text=True, check=True)
    return done.stdout.strip().partition("=")[2]


def served_serial(node, certificate):
    """What a new connection is shown."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", "-cert", f"{certificate}.crt",
         "-key", f"{certificate}.key"], input="", capture_output=True, text=True, timeout=60)
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=done.stdout, capture_output=True, text=True)
    return shown.stdout.strip().partition("=")[2]


REQUEST = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def s_client(node, *arguments):
    """A health request by openssl; what came back."""
    command = " ".join(
        ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{node.port}",
         *map(str, arguments)])
    done = subprocess.run(
        ["sh", "-c", f"(printf '{REQUEST}'; sleep 1) | timeout {PATIENCE:.0f} {command}"],
        capture_output=True, text=True)
    return done.stdout


def is_open(caller):
    """Whether the server keeps the connection, asked without a request."""
    sock = caller.connection.sock
    sock.settimeout(0.05)
    try:
        return sock.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        sock.settimeout(caller.timeout)


def closes_in_time(checks, name, node, caller, identity, began):
    """The node says that it closes the caller's connection, by its own clock in time, and the caller sees its end.
    `began`, in seconds since 1970, is when the files changed or the signal was sent."""
    sock = caller.connection.sock
    sock.settimeout(PATIENCE)
    try:
        is_over = sock.recv(1) == b""
    except ConnectionError:
        is_over = True
    except TimeoutError:
        is_over = False
    seen = time.time() - began

    def line():
        for entry in events(node, "tls_refused"):
            told = datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).timestamp() - began
            if "its connection is closed" in entry["message"] and f"cn:{identity}" in entry["names"].split() \
                    and told > -1:
                return entry, told
        return None

    entry, told = wait_until("the line of the closed connection", line)
    print(f"  {name}: the node's line after {told:.2f} s, the end seen after {seen:.2f} s", flush=True)
    checks.check(
        f"gateway decision 40: {name}: the live twin is closed within 2 s",
        is_over and told <= CLOSING_SECONDS and seen <= CLOSING_SECONDS + SCRIPT_SECONDS, (is_over, told, seen))
    return entry


def revoke(site, *certificates):
    return run("ca", "revoke", "--ca", site.authority_directory,
               *[f"{certificate}.crt" for certificate in certificates])


def revocation(checks, site, node, certificates):
    """One of two callers is revoked while both are connected."""
    first, second, _ = certificates
    callers = [Caller(node, first), Caller(node, second)]
    for caller in callers:
        checks.check("revocation: let in before", caller.request("GET", "/health").ok)
    session = site.directory / "session"
    answer = s_client(node, "-cert", f"{first}.crt", "-key", f"{first}.key", "-sess_out", session)
    checks.check("revocation: a session is kept", '"caller_identity":"one"' in answer, answer)
    resumed = s_client(node, "-sess_in", session)
    checks.check(
        "gateway decision 36: a session resumes without key while its certificate is good",
        '"caller_identity":"one"' in resumed, resumed)
    kept_socket = callers[1].connection.sock

    said = revoke(site, first)
    checks.check("revocation: the CRL has a number", "CRL 0x1 " in said, said)
    # Nobody tells the node: it finds the new CRL by itself.
    written = (site.authority_directory / "ca.crl").stat().st_ctime
    told = closes_in_time(checks, "a CRL is replaced", node, callers[0], "one", written)
    checks.check(
        "gateway decision 38: the refusal is logged with reason, names and fingerprint",
        told["reason"] == "revoked" and "cn:one" in told["names"] and len(told["fingerprint"]) == 64,
        told)
    answer = s_client(node, "-sess_in", session)
    checks.check(
        "gateway decision 36: its session is not resumed after the CRL", "caller_identity" not in answer,
        answer)
    again = Caller(node, first).request("GET", "/health")
    checks.check(
        "gateway decision 38: it hears why",
        again.status == 403 and again.reason == "identity_not_authorised" and "was revoked at" in again.text
        and "CRL 0x1" in again.text, again)
    good = callers[1].request("GET", "/health")
    checks.check(
        "gateway decision 40: the other goes on, on the same socket",
        good.ok and callers[1].connection.sock is kept_socket, good)
    denied = callers[1].call("/bsfg.v1.FederationService/ListStreams", {})
    wait_until("the denial is logged", lambda: events(node, "access_denied"))
    told = events(node, "access_denied")[-1]
    checks.check(
        "gateway decision 34: a denial is logged with the identity",
        denied.status == 403 and told["identity"] == "two" and "ListStreams" in told["path"], told)
    checked = subprocess.run(
        ["openssl", "verify", "-crl_check", "-CAfile", str(site.authority), "-CRLfile",
         str(site.authority_directory / "ca.crl"), f"{first}.crt"], capture_output=True, text=True)
    checks.check(
        "revocation: openssl reads the CRL as we do",
        checked.returncode != 0 and "certificate revoked" in checked.stderr + checked.stdout, checked)


def older_list(checks, site, node, certificates):
    """A newer list is in force; then its file goes back, and goes away."""
    first, second, third = certificates
    crl = site.authority_directory / "ca.crl"
    one = crl.read_bytes()
    kept = Caller(node, third)
    kept.request("GET", "/health")
    wait_until("the line of the first list", lambda: events(node, "certificates_reloaded"))
    before = len(events(node, "certificates_reloaded"))
    revoke(site, second)
    wait_until("the second list", lambda: len(events(node, "certificates_reloaded")) > before)
    two = crl.read_bytes()
    for name, change in (("an older file", lambda: crl.write_bytes(one)), ("no file", crl.unlink)):
        before = len(events(node, "certificates_reloaded"))
        change()
        wait_until(name, lambda: len(events(node, "certificates_reloaded")) > before)
        answer = Caller(node, second).request("GET", "/health")
        checks.check(
            f"gateway decision 39: {name} lets nobody in again", answer.status == 403
            and "CRL 0x2" in answer.text, answer)
    checks.check("gateway decision 39: the others are let in", kept.request("GET", "/health").ok)
    checks.eventually(
        "gateway decision 39: an older file is warned about",
        lambda: "older than 0x2 in force" in node.errors.read_text())
    node.stop()
    node.start()
    answer = Caller(node, second).request("GET", "/health")
    checks.check(
        "gateway decision 39: nor does a restart", answer.status == 403 and "CRL 0x2" in answer.text, answer)
    crl.write_bytes(two)


def rotation(checks, site, node, certificate):
    """The node's own certificate is replaced again and again under a caller that never stops."""
    caller = Caller(node, certificate)
    caller.request("GET", "/health")
    socket = caller.connection.sock
    stop, failures, count = threading.Event(), [], [0]

    def append():
        while not stop.is_set():
            try:
                answer = caller.append(fact(f"rotation-{count[0]}"))
            except Exception as error:
                failures.append(repr(error))
                return
            count[0] += 1
            if not answer.ok:
                failures.append(repr(answer))

    thread = threading.Thread(target=append, daemon=True)
    thread.start()
    server = node.root / "certs" / "server"
    for number in range(5):
        before = len(events(node, "certificates_reloaded")), len(events(node, "configuration_reloaded"))
        run("cert", "issue", "--ca", site.authority_directory, "--identity", node.identity,
            "--address", "127.0.0.1", "--out", node.root / "certs", "--force")
        wait_until(
            "the new pair", lambda: len(events(node, "certificates_reloaded")) > before[0]
            and served_serial(node, certificate) == serial(server))
        for _ in range(3):
            before = len(events(node, "configuration_reloaded"))
            node.process.send_signal(signal.SIGHUP)
            wait_until("a reload", lambda: len(events(node, "configuration_reloaded")) > before)
    wait_until("some appends", lambda: failures or count[0] > 20)
    stop.set()
    thread.join()
    checks.equal("gateway decision 40: 20 reloads under a caller: no error", failures, [])
    checks.check(
        "gateway decision 40: 20 reloads under a caller: the same socket",
        caller.connection.sock is socket and count[0] > 20, count)


def half_a_pair(checks, site, node, certificate):
    """A new certificate without its key changes nothing; with it, it is in force."""
    server = node.root / "certs" / "server"
    before, elsewhere = serial(server), site.directory / "pair"
    run("cert", "issue", "--ca", site.authority_directory, "--identity", node.identity,
        "--address", "127.0.0.1", "--out", elsewhere)
    known = len(events(node, "certificates_refused"))
    (node.root / "certs" / "server.crt").write_bytes((elsewhere / "server.crt").read_bytes())
    wait_until("the refusal", lambda: len(events(node, "certificates_refused")) > known)
    checks.check(
        "gateway decision 40: half a pair is refused and the old one stays",
        served_serial(node, certificate) == before
        and "is not the key" in events(node, "certificates_refused")[-1]["message"])
    (node.root / "certs" / "server.key").write_bytes((elsewhere / "server.key").read_bytes())
    wait_until(
        "the whole pair", lambda: served_serial(node, certificate) == serial(server))
    checks.check("gateway decision 40: the whole pair is in force", serial(server) != before)


def revoked_and_told(checks, site, node):
    """The node is told of a new CRL by a signal, and does not wait for the files to stay as they are."""
    certificate = site.certificate("four")
    caller = Caller(node, certificate)
    checks.check("CRL and SIGHUP: let in before", caller.request("GET", "/health").ok)
    revoke(site, certificate)
    began = time.time()
    node.process.send_signal(signal.SIGHUP)
    closes_in_time(checks, "a CRL and SIGHUP", node, caller, "four", began)


def unusable_pairs(checks, site, node, certificate):
    """A pair that others would refuse does not take the place of a good one; the node starts with it."""
    server, elsewhere = node.root / "certs" / "server", site.directory / "unusable"
    run("cert", "issue", "--ca", site.authority_directory, "--identity", node.identity,
        "--address", "127.0.0.1", "--out", node.root / "certs", "--force")
    wait_until("the pair before", lambda: served_serial(node, certificate) == serial(server))
    before, good = serial(server), {end: server.with_suffix(end).read_bytes() for end in (".crt", ".key")}
    elsewhere.mkdir()
    subprocess.run(
        ["openssl", "req", "-new", "-key", server.with_suffix(".key"), "-subj", f"/CN={node.identity}", "-out",
         elsewhere / "request"], check=True, capture_output=True)
    run("ca", "init", "--dir", elsewhere / "ca")

    def sign(name, usage, days, authority):
        extensions = elsewhere / f"{name}.ext"
        extensions.write_text(
            f"extendedKeyUsage={usage}\nsubjectAltName=DNS:{node.identity},IP:127.0.0.1\n")
        subprocess.run(
            ["openssl", "x509", "-req", "-in", elsewhere / "request", "-CA", authority / "ca.crt", "-CAkey",
             authority / "ca.key", "-days", str(days), "-extfile", extensions, "-out", elsewhere / f"{name}.crt"],
            check=True, capture_output=True)

    sign("expired", "serverAuth,clientAuth", -1, site.authority_directory)
    sign("foreign", "serverAuth,clientAuth", 30, elsewhere / "ca")
    sign("half", "serverAuth", 30, site.authority_directory)
    for name, words in (
            ("expired", "it expired at"), ("foreign", "add that CA's certificate there"),
            ("half", "clientAuth")):
        known = len(events(node, "certificates_refused"))
        server.with_suffix(".crt").write_bytes((elsewhere / f"{name}.crt").read_bytes())
        wait_until("the refusal", lambda: len(events(node, "certificates_refused")) > known)
        told = events(node, "certificates_refused")[-1]["message"]
        checks.check(
            f"gateway decision 40: the pair in force stays when the new one is {name}",
            served_serial(node, certificate) == before and words in told and "stays" in told, told)
        reload = subprocess.run(
            [BSFG, "config", "reload", "--socket", str(node.socket)], capture_output=True, text=True)
        status = subprocess.run(
            [BSFG, "status", "--socket", str(node.socket), "-o", "json"], capture_output=True, text=True)
        shown = json.loads(status.stdout)["certificate"]
        checks.check(
            f"status: the certificate in force, and why the one that is {name} is not",
            status.returncode == 1 and shown["serial"] == before and words in shown["refused_files"], shown)
        checks.check(
            f"gateway decision 40: a reload says so when it is {name}",
            reload.returncode != 0 and words in reload.stderr, reload)
    node.stop()
    server.with_suffix(".crt").write_bytes((elsewhere / "expired.crt").read_bytes())
    known = len(node.errors.read_text())
    node.start()
    told = node.errors.read_text()[known:]
    checks.check("gateway decision 40: a node starts with an expired certificate, and warns",
                 f"{server}.crt expired at" in told, told)
    status = subprocess.run(
        [BSFG, "status", "--socket", str(node.socket)], capture_output=True, text=True)
    checks.check("status: an expired certificate in force", status.returncode == 1 and "EXPIRED at" in status.stdout,
                 status)
    for end, content in good.items():
        server.with_suffix(end).write_bytes(content)
    wait_until("the good pair", lambda: served_serial(node, certificate) == before)
    status = run("status", "--socket", node.socket)
    checks.check("status: how long it lasts", f"certificate {before}: until 2" in status, status)


def misplaced_list(checks, site, node):
    """A CRL where nobody looks for it does not pass unnoticed."""
    other, place = site.directory / "other", node.root / "certs" / "other.crl"
    run("ca", "init", "--dir", other)
    run("ca", "revoke", "--serial", "AB", "--ca", other)
    place.write_bytes((other / "ca.crl").read_bytes())
    warning = f"the CRL {place.resolve()} is not in force"
    told = subprocess.run(
        [BSFG, "config", "reload", "--socket", str(node.socket)], capture_output=True, text=True)
    listed = json.loads(run("config", "reload", "--socket", node.socket, "-o", "json"))["warnings"]
    checks.check(
        "revocation: whoever reloads is warned about a CRL that no CA file is beside",
        told.returncode == 0 and f"warning: {warning}" in told.stderr
        and any(line.startswith(warning) for line in listed), (told, listed))
    checks.eventually(
        "revocation: a CRL that no CA file is beside is warned about",
        lambda: warning in node.errors.read_text())
    place.unlink()


def authorised(checks, site, node, identity, certificate, what, change):
    """An entry that goes, or is not authorised any more, closes the connection at once; its certificate alone
    opens nothing, and a session that was handed out before neither. `change` takes the entries of the node."""
    caller = Caller(node, certificate)
    caller.request("GET", "/health")
    session = site.directory / f"session-{identity}"
    pair = ("-cert", f"{certificate}.crt", "-key", f"{certificate}.key")
    answer = s_client(node, *pair, "-sess_out", session)
    checks.check(f"{what}: let in before", f'"caller_identity":"{identity}"' in answer, answer)
    resumed = s_client(node, "-sess_in", session)
    checks.check(
        f"{what}: its session resumes before", f'"caller_identity":"{identity}"' in resumed, resumed)
    entries = json.dumps([node.clients, node.peers])
    change(node)
    node.write()
    began = time.time()
    node.process.send_signal(signal.SIGHUP)
    closes_in_time(checks, what, node, caller, identity, began)
    for arguments in ((), pair):
        answer = s_client(node, *arguments, "-sess_in", session)
        checks.check(
            f"gateway decision 36: {what}: its session is not answered "
            + ("with its key either" if arguments else "without its key"), "caller_identity" not in answer, answer)
    answer = Caller(node, certificate).request("GET", "/health")
    checks.check(
        f"gateway decision 37: {what}: it hears why", answer.status == 403
        and answer.reason == "identity_not_authorised" and identity in answer.text, answer)
    node.clients, node.peers = json.loads(entries)
    node.write()
    node.process.send_signal(signal.SIGHUP)
    wait_until(f"{identity} let in again", lambda: Caller(node, certificate).request("GET", "/health").ok)


def remove_client(node):
    node.clients = [entry for entry in node.clients if entry["identity"] != "three"]


def close_peer(node):
    for entry in node.peers:
        entry["authorized"] = False


def peers(checks, site):
    """A pull goes on over the rotation of both sides' certificates, and ends with a revocation."""
    plant, enterprise = site.node("plant-a"), site.node("enterprise")
    plant.client("producer")
    producer = site.certificate("producer")
    plant.grant(enterprise)
    enterprise.grant(plant)
    enterprise.pull(plant)
    plant.start()
    enterprise.start()
    caller = Caller(plant, producer)

    def received(identifier):
        return any(
            entry["message"]["envelope"]["messageId"] == identifier
            for entry in enterprise.peek(origin="plant-a"))

    def pull():
        return enterprise.status()["pulls"][0]

    caller.append(fact("before", to_zone="enterprise"))
    wait_until("the first fact", lambda: received("before"))
    # One at the start may have come before its peer was there.
    failures = pull().get("failures", "0")
    for node in (enterprise, plant, enterprise):
        before = len(events(node, "certificates_reloaded"))
        run("cert", "issue", "--ca", site.authority_directory, "--identity", node.identity,
            "--address", "127.0.0.1", "--out", node.root / "certs", "--force")
        wait_until("the new pair", lambda: len(events(node, "certificates_reloaded")) > before)
        identifier = f"after-{before}-{node.zone}"
        caller.append(fact(identifier, to_zone="enterprise"))
        wait_until("a fact after it", lambda: received(identifier))
    checks.equal(
        "gateway decision 40: a pull goes on over new certificates without a failure",
        pull().get("failures", "0"), failures)
    revoke(site, plant.certificate)
    wait_until("the pull ends", lambda: pull()["state"] == "unavailable")
    wait_until("why", lambda: "was revoked at" in pull().get("sentence", ""))
    checks.check("gateway decision 40: a revoked source is not pulled from, and it says why", True)
    wait_until("its own copy of the CRL", lambda: plant.status()["certificate"].get("problem"))
    status = subprocess.run([BSFG, "status", "--socket", str(plant.socket)], capture_output=True, text=True)
    checks.check(
        "status: a node that is revoked says so", status.returncode == 1 and "was revoked at" in status.stdout, status)
    status = subprocess.run(
        [BSFG, "cert", "status", "--config", str(plant.root / "config")], capture_output=True, text=True)
    checks.check(
        "gateway decision 38: the refused side finds it in its own copy of the CRL",
        status.returncode == 1 and "was revoked at" in status.stdout, status)
    for node in (plant, enterprise):
        checks.equal(f"{node.zone} ends with", node.stop(), 0)


def test(checks):
    with Site() as site:
        node = site.node("plant-a")
        names = ("one", "two", "three", "four")
        for name in names:
            node.client(name)
        certificates = [site.certificate(name) for name in names[:3]]
        peer = "plant-b-bsfg"
        node.peers.append({"id": "plant-b", "identity": peer, "authorized": True, "streams": [STREAM]})
        node.start()
        with checks.guard("revocation"):
            revocation(checks, site, node, certificates)
        with checks.guard("an older list"):
            older_list(checks, site, node, certificates)
        with checks.guard("rotation"):
            rotation(checks, site, node, certificates[2])
        with checks.guard("half a pair"):
            half_a_pair(checks, site, node, certificates[2])
        with checks.guard("unusable pairs"):
            unusable_pairs(checks, site, node, certificates[2])
        with checks.guard("a misplaced list"):
            misplaced_list(checks, site, node)
        with checks.guard("authorised"):
            authorised(
                checks, site, node, "three", certificates[2], "a client's entry goes", remove_client)
        with checks.guard("authorized: false"):
            authorised(
                checks, site, node, peer, site.certificate(peer), "authorized: false", close_peer)
        with checks.guard("CRL and SIGHUP"):
            revoked_and_told(checks, site, node)
        checks.equal("the node ends with", node.stop(), 0)
    with Site() as site, checks.guard("peers"):
        peers(checks, site)


if __name__ == "__main__":
    main(test)
