#!/usr/bin/env python3
"""The bring-up runbook walked with commands: plan, preflight, deny-test, drill and a signed acceptance of a
good pair; then spoiled ones, each of which has to fail at exactly the criterion that it breaks.
"""
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time

from schedule.stepped_clock import SteppedClock, build
from support import BSFG, PATIENCE as PATIENCE_SECONDS, STREAM, Site, main, run, wait_until

SIGN_OFFS = [
    argument for role in ("Federation Engineer", "Zone A Platform Lead", "Zone B Platform Lead")
    for argument in ("--sign-off", f"{role}=Ada Lovelace")]
WAIVED = ["--waive", "alerts=no monitoring in this test"]
BUCKET = "batch-files"
PATIENCE = "90"


def command(*arguments):
    done = subprocess.run(
        [BSFG, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout, done.stderr


class Pair:
    """enterprise, on which the commands run, and plant-a; each pulls from the other."""

    def __init__(self, site):
        self.site = site
        self.ours, self.theirs = site.node("enterprise"), site.node("plant-a")
        # Somebody whom neither knows, by the CA of both.
        self.unlisted = site.certificate("somebody-else")
        self.with_unlisted = [
            "--unlisted-cert", f"{self.unlisted}.crt", "--unlisted-key", f"{self.unlisted}.key"]
        for node, other in ((self.ours, self.theirs), (self.theirs, self.ours)):
            node.grant(other, artifacts=[BUCKET])
            node.pull(other, justification="everything is wanted from the first day on")
        # Another zone that enterprise knows, whose name a certificate may wrongly carry as well.
        self.ours.peers.append(
            {"id": "plant-b", "identity": "plant-b-bsfg", "authorized": True, "streams": []})
        for node in (self.ours, self.theirs):
            node.start()
            self.append(node, "first")
            self.append_with_artifact(node)

    def append(self, node, name, *arguments):
        run("fact", "append", "--config", node.root, "--subject", "turbine:R80711", "--predicate",
            "power_measured", "--object", '{"value":1}', "--to", node.zone, "--id",
            f"{node.zone}-{name}", *arguments)

    def append_with_artifact(self, node, name="with-artifact"):
        """A fact that refers to a file of the node."""
        file = self.site.directory / f"{node.zone}.json"
        file.write_text('{"batch":1}')
        reference = json.loads(
            run("artifact", "put", file, f"{node.zone}/{BUCKET}/2025/{name}.json", "--config", node.root))
        self.refer(node, name, reference)

    def refer(self, node, name, reference):
        run("fact", "append", "--config", node.root, input=json.dumps({
            "envelope": {"message_id": f"{node.zone}-{name}", "from_zone": node.zone, "to_zone": node.zone,
                         "produced_at_unix_ms": 1_700_000_000_000},
            "fact": {"subject": "turbine:R80711", "predicate": "batch_completed", "object": {"batch": 1},
                     "artifacts": [reference]}}))

    def call(self, *arguments):
        return command(*arguments, "--config", self.ours.root)

    def accept(self, out, *arguments, peer_admin=True, peer_socket=None, patience=PATIENCE):
        way = ["--peer-admin", peer_socket or self.theirs.socket] if peer_admin else []
        code, output, errors = self.call(
            "federation", "accept", "--peer", "plant-a", "--out", out, "--patience-seconds", patience,
            "-o", "json", *SIGN_OFFS, *WAIVED, *way, *arguments)
        assert output, f"{code}: {errors}"
        answer = json.loads(output)
        return code, answer, {each["name"]: each for each in answer["criteria"]}

    @contextlib.contextmanager
    def files(self, node, **changes):
        """The files of a node with other peers, then as they were; the running node follows."""
        kept, kept_cursors = node.peers, node.cursors
        node.peers = changes.get("peers", kept)
        node.cursors = changes.get("cursors", kept_cursors)
        try:
            node.write()
            run("config", "reload", "--config", node.root)
            yield
        finally:
            node.peers, node.cursors = kept, kept_cursors
            node.write()
            run("config", "reload", "--config", node.root)

    @contextlib.contextmanager
    def certificate(self, node, directory, restart=True):
        """A node with the pair server.crt and server.key of another directory."""
        certificates, kept = node.root / "certs", node.root / "certs-kept"
        shutil.copytree(certificates, kept)

        def put(source):
            if restart:
                node.stop()
            for name in ("server.crt", "server.key"):
                shutil.copy2(source / name, certificates / name)
            if restart:
                node.start()

        try:
            put(directory)
            yield
        finally:
            put(kept)
            shutil.rmtree(kept)
            if not restart:
                run("config", "reload", "--config", node.root)


def openssl(*arguments, cwd):
    done = subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


def stamp(days):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86_400))


def fingerprint(certificate):
    """SHA-256 of a certificate's file, as openssl has it."""
    done = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True)
    return done.stdout.split("=")[1].strip().replace(":", "").lower()


def issue(site, name, common_name, names=(), days=(-2, 300), authority=False, usage="serverAuth,clientAuth"):
    """What the product's own CA would not issue: other dates, names that disagree, one use, an issuing CA."""
    directory = site.directory / "spoiled" / name
    directory.mkdir(parents=True)
    stem = "ca" if authority else "server"
    use = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n" if authority else (
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        f"extendedKeyUsage={usage}\n")
    alternatives = ",".join([f"DNS:{each}" for each in names] + ["IP:127.0.0.1"])
    (directory / "openssl.conf").write_text(
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\n"
        "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        f"[ext]\n{use}subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"
        + ("" if authority else f"subjectAltName={alternatives}\n")
        + "[req]\ndistinguished_name=name\n[name]\n")
    (directory / "index.txt").write_text("")
    (directory / "serial").write_text("1000\n")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{stem}.ec", cwd=directory)
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", f"{stem}.ec", "-out", f"{stem}.key", cwd=directory)
    (directory / f"{stem}.key").chmod(0o600)
    openssl("req", "-new", "-config", "openssl.conf", "-key", f"{stem}.key", "-subj",
            f"/CN={common_name}", "-out", "request.pem", cwd=directory)
    openssl("ca", "-batch", "-notext", "-config", "openssl.conf", "-extensions", "ext", "-cert",
            site.authority, "-keyfile", site.authority_directory / "ca.key", "-startdate",
            stamp(days[0]), "-enddate", stamp(days[1]), "-in", "request.pem", "-out", f"{stem}.crt",
            cwd=directory)
    return directory


def good(checks, pair):
    """The walk of the runbook on a pair that is as it should be."""
    code, output, errors = pair.call(
        "federation", "plan", "--peer", "plant-a", "--peer-config", pair.theirs.root, "-o", "json")
    plan = json.loads(output)
    checks.equal("plan: nothing is missing", (code, plan["problems"]), (0, []))
    checks.equal(
        "plan: both pulls are granted", [pull["granted"] for pull in plan["pulls"]], [True, True])

    code, output, errors = pair.call("federation", "preflight", "--peer", "plant-a", "-o", "json")
    verdicts = {each["name"]: each["verdict"] for each in json.loads(output)}
    checks.equal(
        "preflight: nothing fails", [name for name, each in verdicts.items() if each == "failed"], [])
    checks.equal("preflight: OCSP is not checked, and no reason to stop",
                 (code, verdicts["ocsp"]), (0, "not_checked"))

    code, output, errors = pair.call("peer", "deny-test", "plant-a", "-o", "json", *pair.with_unlisted)
    denials = {each["case"]: (each["verdict"], each["reason"]) for each in json.loads(output)}
    checks.equal("deny-test: it succeeds", code, 0)
    checks.equal(
        "deny-test: everything is refused, for its reason",
        {name: denials.get(name) for name in denials},
        {"ungranted_stream": ("refused", "stream_not_granted"),
         "ungranted_origin": ("refused", "origin_not_granted"),
         "append_as_peer": ("refused", "identity_not_authorised"),
         "administration": ("refused", denials["administration"][1]),
         "no_certificate": ("refused", "tls"), "wrong_authority": ("refused", "tls"),
         "unlisted_identity": ("refused", denials["unlisted_identity"][1])})

    code, output, errors = pair.call("peer", "deny-test", "plant-a", "-o", "json")
    checks.check(
        "deny-test: what was not tried is not shown, and it says what to give",
        code == 1 and "not seen to refuse unlisted_identity" in errors and "--unlisted-cert" in errors,
        (code, errors))
    code, output, errors = pair.call(
        "peer", "deny-test", "plant-a", "-o", "json", "--peer-admin", pair.theirs.socket,
        *pair.with_unlisted)
    denials = {each["case"]: each for each in json.loads(output)}
    checks.equal(
        "gateway decision 38: deny-test reads the reasons at the refuser",
        [(denials[each]["verdict"], denials[each]["reason"])
         for each in ("no_certificate", "wrong_authority", "unlisted_identity")],
        [("refused", "no_certificate"), ("refused", "unknown_ca"), ("refused", "no_matching_identity")])
    noted = {name: each["refusal"] or {} for name, each in denials.items()}
    own = fingerprint(pair.ours.root / "certs" / "server.crt")
    checks.equal(
        "gateway decision 38: each is the refuser's own note of this very certificate",
        [(noted[each].get("place"), noted[each].get("fingerprint"), noted[each].get("address"))
         for each in ("no_certificate", "unlisted_identity", "ungranted_stream", "append_as_peer")],
        [(place, mark, "127.0.0.1") for place, mark in (
            ("handshake", ""), ("certificate", fingerprint(f"{pair.unlisted}.crt")), ("request", own),
            ("request", own))])
    checks.check(
        "gateway decision 38: and says whose it claimed to be",
        "cn:enterprise-bsfg" in noted["wrong_authority"].get("names", [])
        and noted["wrong_authority"]["fingerprint"] not in ("", own)
        and "noted unknown_ca at 20" in denials["wrong_authority"]["sentence"], denials["wrong_authority"])
    refusals(checks, pair)

    out = pair.site.directory / "report"
    before = pair.ours.head("plant-a"), pair.theirs.head("enterprise")
    code, answer, criteria = pair.accept(out, *pair.with_unlisted)
    checks.equal(
        "spec 19.117: accept: a good pair is accepted",
        (code, answer["accepted"], [name for name, each in criteria.items()
                                    if each["verdict"] == "failed"]), (0, True, []))
    for name in ("authentication", "peer_health", "authorization", "denials", "replay", "cursor", "duplicate_replay",
                 "partition_recovery", "artifacts", "visibility", "init_documented", "matrix_documented",
                 "replay_drill", "sign_off"):
        checks.equal(f"spec 19.117: accept: {name} passes", criteria[name]["verdict"], "passed")
    checks.check("accept: the cursors were compared, and rose",
                 "rose by what the drill appended" in criteria["cursor"]["sentence"]
                 and "each source's cursor stands where" in criteria["cursor"]["sentence"], criteria["cursor"])
    checks.check("accept: plant-a shows those whom it just refused",
                 "counted the 3 callers who were refused in this run" in criteria["visibility"]["sentence"],
                 criteria["visibility"])
    checks.equal("accept: alerts are waived, with the reason",
                 (criteria["alerts"]["verdict"], criteria["alerts"]["waiver"]),
                 ("waived", "no monitoring in this test"))
    checks.equal(
        "accept: the drill's facts crossed once",
        (pair.ours.head("plant-a"), pair.theirs.head("enterprise")), tuple(head + 3 for head in before))
    signature(checks, pair, out)

    # What the drill moved comes to rest a moment later.
    wait_until("everything confirmed", lambda: all(
        other.cursor(f"{node.zone}/{STREAM}/{other.zone}") == other.head()
        for node, other in ((pair.ours, pair.theirs), (pair.theirs, pair.ours))))
    wait_until("its gate being open", lambda: json.loads(
        pair.call("peer", "show", "plant-a", "-o", "json")[1])["gate"] == "normal")
    code, output, errors = pair.call("doctor", "peer", "plant-a", "-o", "json")
    checks.equal("doctor: nothing is wrong", (code, output.strip()), (0, "[]"))
    code, output, errors = pair.call("cursor", "query", "--peer", "plant-a", "-o", "json")
    [cursor] = json.loads(output)
    checks.equal("cursor query: the position is the source's head",
                 (cursor["next_offset"], cursor["confirmed_offset"]),
                 (pair.theirs.head(), pair.theirs.head() - 1))
    code, output, errors = pair.call("peer", "show", "plant-a", "-o", "json")
    checks.equal("peer show: its gate is open", json.loads(output)["gate"], "normal")
    code, output, errors = pair.call("peer", "list", "-o", "json")
    checks.equal("peer list: both peers", [each["id"] for each in json.loads(output)], ["plant-a", "plant-b"])


def refusals(checks, pair):
    """What plant-a says of those whom it refused, on its own machine."""
    mark = fingerprint(f"{pair.unlisted}.crt")
    code, output, errors = command(
        "peer", "refusals", "--config", pair.theirs.root, "--fingerprint", mark.upper(), "-o", "json")
    listed = json.loads(output)
    checks.check(
        "peer refusals: of one certificate only", code == 0 and listed
        and all(each["fingerprint"] == mark and each["reason"] == "no_matching_identity"
                and "cn:somebody-else" in each["names"] for each in listed), (code, listed, errors))
    code, output, errors = command("peer", "refusals", "--config", pair.theirs.root, "--limit", "3")
    checks.check(
        "peer refusals: the newest last", code == 0 and len(output.splitlines()) == 4
        and "somebody-else" in output.splitlines()[-1], output)
    code, output, errors = command("status", "--config", pair.theirs.root)
    checks.check("status: it says where they are", "bsfg peer refusals" in output, output)


def signature(checks, pair, out):
    """The report's signature is by the node's certificate, and of these bytes."""
    public = out / "server.pub"
    with open(public, "wb") as file:
        subprocess.run(
            ["openssl", "x509", "-in", pair.ours.root / "certs" / "server.crt", "-pubkey", "-noout"],
            stdout=file, check=True)

    def verifies(report):
        return subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", public, "-signature",
             out / "acceptance.json.sig", report], capture_output=True).returncode == 0

    checks.check("report: openssl verifies the signature", verifies(out / "acceptance.json"))
    altered = out / "altered.json"
    altered.write_bytes((out / "acceptance.json").read_bytes().replace(b"Ada", b"Eve", 1))
    checks.check("report: one altered name and it does not", not verifies(altered))
    report = json.loads((out / "acceptance.json").read_text())
    checks.equal("report: it says who signed off", len(report["sign_offs"]), 3)
    checks.check("report: the readable one says the same",
                 "**Accepted**" in (out / "acceptance.md").read_text())


def evidence_file(checks, pair):
    """The other side by a file that was exported there."""
    file = pair.site.directory / "plant-a.evidence.json"
    run("federation", "evidence", "--config", pair.theirs.root, "--out", file)
    code, answer, criteria = pair.accept(
        pair.site.directory / "by-file", "--evidence", file, *pair.with_unlisted, peer_admin=False)
    checks.equal(
        "evidence: what a file of another moment does not show is not checked, and stands in the way",
        (code, criteria["cursor"]["verdict"], [name for name, each in criteria.items() if each["verdict"] == "failed"]),
        (1, "not_checked", []))
    checks.check("evidence: no cursor is said to have been compared",
                 "no cursor was compared" in criteria["cursor"]["sentence"], criteria["cursor"])
    checks.equal(
        "evidence: what it shows passes",
        [criteria[name]["verdict"] for name in ("peer_health", "denials", "visibility", "init_documented")],
        ["passed"] * 4)
    seen = [argument for name in ("cursor", "partition_recovery", "duplicate_replay")
            for argument in ("--waive", f"{name}=watched on plant-a")]
    code, answer, criteria = pair.accept(
        pair.site.directory / "by-file-waived", "--evidence", file, *pair.with_unlisted, *seen, peer_admin=False)
    checks.equal("evidence: accepted from a file of the other side, where somebody answers for the rest",
                 (code, answer["accepted"], criteria["cursor"]["verdict"]), (0, True, "waived"))
    code, output, errors = pair.call(
        "peer", "deny-test", "plant-a", "-o", "json", "--evidence", file, *pair.with_unlisted)
    denials = {each["case"]: each["reason"] for each in json.loads(output)}
    checks.equal(
        "gateway decision 38: deny-test reads in the file what was noted of that certificate before",
        (code, denials["unlisted_identity"], denials["wrong_authority"]), (0, "no_matching_identity", "tls"))
    evidence = json.loads(file.read_text())
    evidence["taken_at_unix_ms"] -= 25 * 3_600_000
    old = pair.site.directory / "yesterday.evidence.json"
    old.write_text(json.dumps(evidence))
    code, answer, criteria = pair.accept(
        pair.site.directory / "by-old-file", "--evidence", old, peer_admin=False)
    checks.equal(
        "evidence: a file of yesterday shows nothing of the peer",
        (code, {name: criteria[name]["verdict"] for name in ("visibility", "init_documented", "matrix_documented")}),
        (1, dict.fromkeys(("visibility", "init_documented", "matrix_documented"), "not_checked")))


def fails(checks, pair, what, criterion, *words, arguments=(), besides=(), **options):
    """Exactly this criterion, with all these words in its sentence, and those that fail by the same cause."""
    code, answer, criteria = pair.accept(pair.site.directory / "reports" / what, *arguments, **options)
    failed = [name for name, each in criteria.items() if each["verdict"] == "failed"]
    sentence = criteria[criterion]["sentence"]
    checks.equal(f"{what}: not accepted, at exactly {', '.join([*besides, criterion])}",
                 (code, failed), (1, [*besides, criterion]))
    checks.check(f"{what}: with the right words", all(word in sentence for word in words), sentence)


def fails_by_certificate(checks, pair, what, directory, reason, *words, criterion="authentication", **options):
    """With a certificate of plant-a that enterprise does not take: enterprise's own note of it is quoted."""
    noted = fingerprint(directory / "server.crt")
    checks.eventually(f"{what}: enterprise noted {reason} of this certificate", lambda: any(
        each["reason"] == reason for each in json.loads(run(
            "peer", "refusals", "--config", pair.ours.root, "--fingerprint", noted, "-o", "json"))))
    fails(checks, pair, what, criterion, f"we noted {reason} at ", f"SHA-256 {noted}", *words, **options)


def operators_gate(checks, pair):
    """A gate that an operator keeps closed stays so, whoever drills: also on a side that only serves."""
    def gate():
        [closed] = [each for each in json.loads(run("peer", "list", "--config", pair.ours.root, "-o", "json"))
                    if each["id"] == "plant-a"]
        file = pair.ours.data / "gates.json"
        return closed["gate"], file.read_text() if file.exists() else ""

    with pair.files(pair.ours, cursors=[]):
        run("admin", "partition", "--config", pair.ours.root, "--peer", "plant-a", "--reason", "incident")
        try:
            closed = gate()
            checks.check("operator's gate: it is closed", "incident" in closed[1], closed)
            code, output, errors = pair.call(
                "federation", "drill", "--peer", "plant-a", "--patience-seconds", "2", "-o", "json")
            criteria = {each["name"]: each for each in json.loads(output)}
            checks.equal("drill: nothing is checked of a gate that an operator closed",
                         (code, criteria["partition_recovery"]["verdict"]), (1, "not_checked"))
            checks.check("drill: it names his reason", "(incident)" in criteria["partition_recovery"]["sentence"],
                         criteria["partition_recovery"])
            checks.equal("drill: his closure stands as it was", gate(), closed)
        finally:
            run("admin", "reconcile", "--config", pair.ours.root, "--peer", "plant-a")


class Plain:
    """Listens and speaks no TLS."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            except OSError:
                if self.socket.fileno() < 0:
                    return

    def close(self):
        self.socket.close()


def nobody_refuses(checks, pair, what, *arguments):
    """What fails on our side, or at no node, is no refusal."""
    code, output, errors = pair.call("peer", "deny-test", "plant-a", "-o", "json", *arguments)
    verdicts = {each["case"]: each["verdict"] for each in json.loads(output)}
    checks.equal(f"deny-test: {what}: nothing is shown", (code, set(verdicts.values())), (1, {"not_checked"}))


def not_refused(checks, pair):
    plain = Plain()
    entries = [{**entry, "endpoint": f"127.0.0.1:{plain.port}"} if entry["id"] == "plant-a" else entry
               for entry in pair.ours.peers]
    try:
        with pair.files(pair.ours, peers=entries):
            nobody_refuses(checks, pair, "no TLS there", *pair.with_unlisted)
    finally:
        plain.close()
    garbage = pair.site.directory / "garbage.key"
    garbage.write_text("no key")
    for what, key in (("no key", garbage), ("another's key", pair.ours.root / "certs" / "server.key")):
        wrong = ("--unlisted-cert", f"{pair.unlisted}.crt", "--unlisted-key", key)
        code, output, errors = pair.call("peer", "deny-test", "plant-a", *wrong)
        checks.equal(f"deny-test: {what}: a wrong command line", (code, output), (2, ""))
        out = pair.site.directory / "wrong-key"
        code, output, errors = pair.call(
            "federation", "accept", "--peer", "plant-a", "--out", out, *wrong)
        checks.equal(f"accept: {what}: a wrong command line, and no report", (code, out.exists()), (2, False))


def degraded(checks, pair):
    """A peer whose log stopped, because its disk refuses to synchronise."""
    if not shutil.which("strace"):
        checks.skip("a degraded peer", "there is no strace to inject errors with")
        return
    with attached("-p", str(pair.theirs.process.pid), "-e", "trace=fdatasync,fsync", "-e",
                  "inject=fdatasync,fsync:error=EIO") as is_attached:
        if not is_attached:
            checks.skip("a degraded peer", "strace may not attach here")
            return
        command("fact", "append", "--config", pair.theirs.root, "--subject", "turbine:R80711", "--predicate",
                "power_measured", "--object", '{"value":1}', "--to", "plant-a", "--id", "never-synchronised")
        wait_until("its log stopped", lambda: pair.theirs.stream_status()["state"] != "writing")
        code, output, errors = pair.call("federation", "preflight", "--peer", "plant-a", "-o", "json")
        failed = {each["name"]: each["sentence"] for each in json.loads(output) if each["verdict"] == "failed"}
        checks.check("a degraded peer: preflight fails at exactly endpoint",
                     code == 1 and list(failed) == ["endpoint"] and "'degraded'" in failed["endpoint"], failed)
        fails(checks, pair, "a degraded peer", "peer_health", "says of itself that it is 'degraded'", "has stopped")
        code, output, errors = pair.call("doctor", "peer", "plant-a")
        checks.check("doctor: the peer is not healthy itself", code == 1 and "'degraded'" in output, output)
    pair.theirs.kill()
    pair.theirs.start()


@contextlib.contextmanager
def attached(*arguments):
    """strace on a running process; whether it may."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        is_attached = "attached" in tracer.stderr.readline()
        threading.Thread(target=tracer.stderr.read, daemon=True).start()
        yield is_attached
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(PATIENCE_SECONDS)


def spoiled(checks, pair):
    site = pair.site

    def back():
        wait_until("the pair working again", lambda: pair.ours.pull_status("plant-a")["state"] == "pulling"
                   and pair.theirs.pull_status("enterprise")["state"] == "pulling")

    for what, days, words in (("expired", (-40, -1), "expired at"), ("not yet valid", (1, 40), "not valid before")):
        with pair.certificate(
                pair.ours, issue(site, f"own-{what.replace(' ', '-')}", "enterprise-bsfg", ["enterprise-bsfg"], days),
                restart=False):
            # The node goes on with the one that it has.
            fails(checks, pair, f"our own {what}", "validity", words, besides=["certificate"])
    back()
    own = site.directory / "own-revoked"
    run("cert", "issue", "--ca", site.authority_directory, "--identity", "enterprise-bsfg", "--address",
        "127.0.0.1", "--out", own)
    with pair.certificate(pair.ours, own, restart=False):
        run("ca", "revoke", "--ca", site.authority_directory, own / "server.crt")
        code, output, errors = pair.call("federation", "preflight", "--peer", "plant-a", "-o", "json")
        checks.check("our own revoked: preflight fails at crl", code == 1 and "crl" in [
            each["name"] for each in json.loads(output) if each["verdict"] == "failed"], output)
        # Whether it took it before it was revoked or not: it is not one to be shown.
        fails(checks, pair, "our own revoked", "crl", "was revoked at", "issue a new one", besides=["certificate"])
    back()

    # Somebody without a grant is let in.
    pair.theirs.client("somebody-else", roles=["monitor"])
    with pair.files(pair.theirs):
        fails(checks, pair, "lets a stranger in", "denials", "did not refuse unlisted_identity", "/health was answered",
              arguments=pair.with_unlisted)
        code, output, errors = pair.call("peer", "deny-test", "plant-a", *pair.with_unlisted)
        checks.check("deny-test: whom it lets in", code == 1 and "ALLOWED" in output, output)
        pair.theirs.clients.pop()

    def entry(**changes):
        return [{**pair.theirs.peers[0], **changes}]

    with pair.files(pair.theirs, peers=entry(streams=[])):
        wait_until("the refusal", lambda: pair.ours.pull_status("plant-a")["state"] == "blocked")
        fails(checks, pair, "ungranted stream, seen by its refusal", "authorization", "stream_not_granted",
              peer_admin=False)
        fails(checks, pair, "ungranted stream, seen in both files", "authorization", "does not grant it")
        code, output, errors = pair.call("doctor", "peer", "plant-a", "-o", "json")
        checks.check("doctor: the grant is to be added there", code == 1 and "does not grant it" in output, output)
    run("config", "reload", "--config", pair.ours.root)
    with pair.files(pair.theirs, peers=entry(authorized=False), cursors=[]):
        fails(checks, pair, "not authorised", "authentication", "authorized: false")

    # It knows another zone, and not us.
    with pair.files(pair.theirs, peers=entry(id="plant-c", identity="plant-c-bsfg"), cursors=[]):
        fails(checks, pair, "unlisted", "authentication", "the other side noted no_matching_identity")
        code, output, errors = pair.call("doctor", "peer", "plant-a", "--peer-admin", pair.theirs.socket)
        checks.check(
            "doctor: why the other side refused us, in its own words",
            code == 1 and "the other side noted no_matching_identity" in output
            and fingerprint(pair.ours.root / "certs" / "server.crt") in output
            and "no configured identity is one of its names" in output, output)

    run("ca", "init", "--dir", site.directory / "other-ca")
    other = site.directory / "other"
    run("cert", "issue", "--ca", site.directory / "other-ca", "--identity", "plant-a-bsfg", "--address",
        "127.0.0.1", "--out", other)
    with pair.certificate(pair.theirs, other):
        fails_by_certificate(checks, pair, "wrong CA", other, "unknown_ca", "which is not in",
                             "of no CA that is trusted here")
        nobody_refuses(checks, pair, "a server that we do not trust")
        checks.eventually(
            "doctor: whom we refused in the peer's name", lambda: "we refused plant-a: unknown_ca" in pair.call(
                "doctor", "peer", "plant-a")[1])
        # plant-b's CA is trusted, for plant-b.
        mine = [{**peer, **({"ca": str(site.directory / "other-ca" / "ca.crt")}
                            if peer["id"] == "plant-b" else {})} for peer in pair.ours.peers]
        with pair.files(pair.ours, peers=mine):
            fails_by_certificate(checks, pair, "right name from another peer's CA", other, "unknown_issuer",
                                 "which is not in", "if it is to be trusted")
    for what, reason, words, directory in (
            ("CN and SAN that disagree", "ambiguous_identity", ["'plant-a-bsfg' and 'plant-b-bsfg'"],
             issue(site, "names", "plant-a-bsfg", ["plant-b-bsfg"])),
            ("expired", "expired", ["the caller's certificate is expired"],
             issue(site, "expired", "plant-a-bsfg", ["plant-a-bsfg"], (-40, -1)))):
        with pair.certificate(pair.theirs, directory):
            fails_by_certificate(checks, pair, what, directory, reason, *words)
    server_only = issue(site, "server-only", "plant-a-bsfg", ["plant-a-bsfg"], usage="serverAuth")
    with pair.certificate(pair.theirs, server_only):
        fails_by_certificate(checks, pair, "a certificate for servers only", server_only, "wrong_usage",
                             "does not get through to us", "not for a client", patience="10")
    issuing = issue(site, "issuing-ca", "plant issuing ca", authority=True)
    intermediate = site.directory / "intermediate"
    run("cert", "issue", "--ca", issuing, "--identity", "plant-a-bsfg", "--address", "127.0.0.1",
        "--out", intermediate)
    with pair.certificate(pair.theirs, intermediate):
        fails_by_certificate(checks, pair, "missing issuing CA", intermediate, "unknown_ca",
                             "which is not in", "of no CA that is trusted here")
    revoked = site.directory / "revoked"
    run("cert", "issue", "--ca", site.authority_directory, "--identity", "plant-a-bsfg", "--address",
        "127.0.0.1", "--out", revoked)
    with pair.certificate(pair.theirs, revoked):
        # The list stands beside the CA's file, where both nodes look for it.
        run("ca", "revoke", "--ca", site.authority_directory, revoked / "server.crt")
        fails_by_certificate(checks, pair, "revoked", revoked, "revoked", "was revoked at")
    with pair.certificate(
            pair.theirs, issue(site, "short-lived", "plant-a-bsfg", ["plant-a-bsfg"], (-2, 20))):
        back()
        fails(checks, pair, "a certificate that ends soon", "peer_health", "expires in 19 days", "asks for 30")
        code, answer, criteria = pair.accept(
            site.directory / "reports" / "answered-for", *pair.with_unlisted, "--waive",
            "peer_health=a new certificate comes this week")
        checks.equal(
            "a certificate that ends soon, and somebody answers for it: the drills are done, and it is accepted",
            (code, criteria["peer_health"]["verdict"], criteria["partition_recovery"]["verdict"],
             criteria["duplicate_replay"]["verdict"]), (0, "waived", "passed", "passed"))
    back()
    degraded(checks, pair)
    back()
    clock = SteppedClock(site.directory / "clock", build(site.directory))
    clock.step_to(-90)
    pair.theirs.stop()
    pair.theirs.start(wrapper=("env", *(f"{name}={value}" for name, value in clock.environment.items())))
    back()
    fails(checks, pair, "clock skew", "clocks", "behind ours")
    pair.theirs.stop()
    pair.theirs.start()
    back()

    pair.refer(pair.theirs, "with-lost-artifact", {
        "zone": "plant-a", "bucket": BUCKET, "key": "2025/lost.json", "digest": "sha256:" + "0" * 64,
        "size": 7, "media_type": "application/json"})
    fails(checks, pair, "missing artifact", "artifacts", "missing")

    pair.theirs.stop()
    shutil.rmtree(pair.theirs.data)
    pair.theirs.start()
    pair.append(pair.theirs, "after the wipe")
    wait_until("the pull blocked", lambda: pair.ours.pull_status("plant-a")["state"] == "blocked")
    fails(checks, pair, "wiped peer", "cursor", "history_mismatch")


def test(checks):
    with Site() as site:
        pair = Pair(site)
        with checks.guard("good pair"):
            good(checks, pair)
        with checks.guard("evidence from a file"):
            evidence_file(checks, pair)
        with checks.guard("a gate that is closed"):
            operators_gate(checks, pair)
        with checks.guard("what is no refusal"):
            not_refused(checks, pair)
        with checks.guard("spoiled pairs"):
            spoiled(checks, pair)


if __name__ == "__main__":
    main(test)
