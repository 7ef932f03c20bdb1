#!/usr/bin/env python3
"""What a hand slips into on a node's machine: a zone or profile that is not that of the logs, a file in place of
its directory, a start as root, a command with a letter too few. Each is refused before it does harm, by a
sentence that says what to do.

    BSFG=path mistakes.py [--only PART]
"""

import argparse
import json
import os
import shutil
import socket
import subprocess

from support import BSFG, STREAM, Site, main, run, wait_until

NOBODY = 65_534
BUCKET = "batch-files"


def bsfg(*arguments, environment=None, user=None, directory=None):
    """Exit status and both outputs of a command that is to end by itself."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("BSFG_")}
    variables.update(environment or {})
    options = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    return subprocess.run(
        [BSFG, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=variables,
        stdin=subprocess.DEVNULL, cwd=directory, **options)


def refused(checks, name, done, status, *parts):
    """It ended with the status and one line that has all parts."""
    checks.check(
        name, done.returncode == status and all(part in done.stderr for part in parts),
        f"exit {done.returncode}: {done.stderr or done.stdout}")


def serve(node):
    return bsfg("serve", "--config", node.root / "config")


def events(node, event):
    found = []
    for line in node.errors.read_text().splitlines():
        if line.startswith("{") and json.loads(line).get("event") == event:
            found.append(json.loads(line))
    return found


def another_zone(checks):
    """The logs are one zone's for life; a directory from before that was said is marked at its next start."""
    with Site() as site:
        node = site.node("plant-a")
        node.start()
        node.stop()
        checks.equal("zone: it is kept beside the logs", (node.data / "zone").read_text(), "plant-a\n")
        (node.data / "zone").unlink()
        node.start()
        checks.equal("zone: a directory without it gets it", (node.data / "zone").read_text(), "plant-a\n")
        node.zone = "plant-b"
        node.write()
        config = node.root / "config"
        advice = ("zone plant-a's", "put zone: plant-a back", "another data directory")
        refused(checks, "zone: validate says it", bsfg("config", "validate", "--config", config), 2, *advice)
        refused(
            checks, "zone: a reload offers no restart", bsfg("config", "reload", "--config", config), 2,
            "zone is for life", "put plant-a back")
        done = bsfg("config", "diff", "--config", config)
        checks.check(
            "zone: diff says that it is for life", done.returncode == 1 and "for life" in done.stdout, done.stdout)
        node.stop()
        refused(checks, "zone: a start is refused", serve(node), 1, *advice)
        (node.data / "zone").write_text("")
        node.zone = "plant-a"
        node.write()
        refused(checks, "zone: an empty mark is no mark", serve(node), 1, "holds no zone name")


def another_profile(checks):
    """A profile is for life, and nobody is sent into a restart that the node does not survive."""
    with Site() as site:
        node = site.node("plant-a")
        node.start()
        node.profile = "sil_strict"
        node.write()
        config = node.root / "config"
        advice = (STREAM, "profile standard, not sil_strict", "put profile: standard back", "a new stream name")
        refused(checks, "profile: validate says it", bsfg("config", "validate", "--config", config), 2, *advice)
        done = bsfg("config", "reload", "--config", config)
        refused(
            checks, "profile: a reload offers no restart", done, 2, f"streams.{STREAM}.profile is for life",
            "put standard back", "a new stream name")
        checks.check("profile: and speaks of none", "restart" not in done.stderr, done.stderr)
        done = bsfg("config", "diff", "--config", config, "-o", "json")
        found = [change for change in json.loads(done.stdout) if change["key"] == f"streams.{STREAM}.profile"]
        checks.equal(
            "profile: nor does diff", [(change["restart"], change.get("for_life")) for change in found],
            [(False, True)])
        node.stop()
        refused(checks, "profile: a start is refused", serve(node), 1, str(node.data / "store" / STREAM), *advice)


def stream_renamed(checks):
    """The log of a stream that has no name any more is not forgotten silently."""
    with Site() as site:
        node = site.node("plant-a")
        node.other_streams = [{"name": "facts.old"}]
        node.start()
        node.stop()
        checks.equal("stream: nothing to warn of", events(node, "log_without_stream"), [])
        node.other_streams = [{"name": "facts.new"}]
        node.start()
        directory = str(node.data / "store" / "facts.old")
        checks.equal(
            "stream: the start warns of the directory",
            [line["directory"] for line in events(node, "log_without_stream")], [directory])
        done = bsfg("config", "validate", "--config", node.root / "config")
        checks.check(
            "stream: validate does too", done.returncode == 0 and f"warning: {directory} holds" in done.stderr,
            done.stderr)


def as_root(checks):
    """Root makes no files in a directory that is the node's user's."""
    if os.geteuid() != 0:
        checks.skip("root", "this is not root")
        return
    with Site() as site:
        os.chmod(site.directory, 0o755)
        node = site.node("plant-a")
        # The CA's own directory is root's alone.
        node.tls_options = {"ca": str(node.root / "certs" / "ca.crt")}
        node.write()
        for path in [node.root, *node.root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        refused(checks, "root: a start is refused", serve(node), 2, "sudo -u nobody bsfg serve --config")
        checks.check("root: and nothing was made", not node.data.exists())
        process = subprocess.Popen(
            [BSFG, "serve", "--as-root", "--config", str(node.root / "config")], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        line = process.stdout.readline()
        process.terminate()
        process.wait(120)
        checks.check("root: unless it is told to", line.startswith(b"listening on"), line)
        shutil.rmtree(node.data)
        node.data.mkdir()
        (node.data / "node").touch(0o600)
        os.chown(node.data, NOBODY, NOBODY)
        refused(
            checks, "root: its files are given by chown", bsfg("serve", "--config", node.root / "config", user=NOBODY),
            1, "Permission denied", f"chown -R nobody: {node.data}")


def answer(done):
    """Without the days that are left, which a second changes, and the widths that they have in a table."""
    return done.returncode, [word for word in done.stdout.split() if not word.isdigit()], done.stderr


def configuration_named(checks):
    """BSFG_CONFIG is good for every command, and so is the path of the file itself."""
    with Site() as site:
        node = site.node("plant-a")
        node.write()
        config = node.root / "config"
        here = {"BSFG_CONFIG": str(config)}
        leaf = node.root / "certs" / "server.crt"
        for command in (["cert", "status"], ["cert", "verify", str(leaf)], ["config", "validate"]):
            wanted = bsfg(*command, "--config", config)
            for name, done in (
                ("by the environment", bsfg(*command, environment=here)),
                ("by its file", bsfg(*command, "--config", config / "bsfg.yaml")),
                ("by its file, from beside it", bsfg(*command, "--config", "bsfg.yaml", directory=config)),
            ):
                checks.equal(f"configuration: {' '.join(command[:2])} {name}", answer(done), answer(wanted))
        refused(checks, "configuration: serve without one", bsfg("serve"), 2, "BSFG_CONFIG")
        process = subprocess.Popen(
            [BSFG, "serve"], env={**os.environ, **here}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        line = process.stdout.readline()
        process.terminate()
        checks.check(
            "configuration: serve by the environment", line.startswith(b"listening on") and process.wait(120) == 0, line)
        refused(checks, "configuration: verify by none", bsfg("cert", "verify", leaf), 2, "--config DIR", "--ca FILE")
        refused(
            checks, "configuration: verify by both", bsfg("cert", "verify", leaf, "--config", config, "--ca", leaf), 2,
            "exclude each other")


def words(checks):
    """The word that is wrong is named, not the option behind it."""
    for arguments, sentence in (
        (["serv", "--config", "x"], "there is no command 'bsfg serv'; did you mean 'serve'?"),
        (["fact", "appnd", "--to", "x"], "there is no command 'bsfg fact appnd'; did you mean 'append'?"),
        (["log", "alarm", "shwo", "--config", "x"], "did you mean 'show'?"),
        (["nonsense"], "known here: admin, artifact,"),
    ):
        done = bsfg(*arguments)
        refused(checks, f"words: {' '.join(arguments)}", done, 2, sentence)
    for arguments in (["help", "fact", "append"], ["fact", "append", "--help"], ["fact"], ["--version"]):
        done = bsfg(*arguments)
        checks.check(f"words: {' '.join(arguments)} is help", done.returncode == 0 and done.stdout, done)


def broken_file(checks):
    """A file that is no YAML does not take the running node out of the operator's hand."""
    with Site() as site:
        node = site.node("plant-a")
        config = node.root / "config"
        node.start()
        socket_path = node.data / "admin.sock"
        # The default place, in a file as init writes it.
        node.stop()
        main_file = json.loads((config / "bsfg.yaml").read_text())
        del main_file["admin"]
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in main_file.items())
        (config / "bsfg.yaml").write_text(text)
        process = subprocess.Popen(
            [BSFG, "serve", "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            process.stdout.readline()
            (config / "bsfg.yaml").write_text(text + "streams: [\n")
            done = bsfg("status", "--config", config)
            refused(checks, "broken: the file is named", done, 2, "bsfg.yaml", f"--socket {socket_path}")
            checks.equal("broken: and the socket answers", bsfg("status", "--socket", socket_path).returncode, 0)
        finally:
            process.terminate()
            process.wait(120)
        done = bsfg("status", "--config", config)
        checks.check("broken: no socket, no advice", "--socket" not in done.stderr, done.stderr)
        (config / "bsfg.yaml").write_text(text.replace("clients: []\n", "") + "clients: []  # none\n  - identity: mes\n")
        refused(
            checks, "broken: a list under []", bsfg("config", "validate", "--config", config), 2,
            "the list of 'clients' begins here", "take the [] away")


def artifacts(checks):
    """A fetch keeps what is there, and leaves nothing of what there is not."""
    with Site() as site:
        node = site.node("plant-a")
        node.client("mes")
        node.start()
        here = ["--socket", node.socket]
        content, out = site.directory / "content", site.directory / "out"
        content.write_bytes(b"content")
        refused(
            checks, "artifacts: a node without them", bsfg("artifact", "fetch", "plant-a/b/k", "--out", out, *here), 3,
            "keeps no artifacts", "artifacts:")
        node.clients[0]["artifacts"] = [BUCKET]
        node.write()
        done = bsfg("config", "reload", "--config", node.root / "config")
        refused(
            checks, "artifacts: the first bucket needs a restart", done, 2, "clients.mes.artifacts is this node's first",
            "restart the node")
        checks.check("artifacts: and names nothing that nobody wrote", "capacity" not in done.stderr, done.stderr)
        node.stop()
        node.start()
        name = f"plant-a/{BUCKET}/x.bin"
        checks.equal("artifacts: put", bsfg("artifact", "put", content, name, *here).returncode, 0)
        refused(
            checks, "artifacts: a name without the zone", bsfg("artifact", "put", content, f"{BUCKET}/x/y.bin", *here), 3,
            "plant-a/BUCKET/KEY")
        done = bsfg("artifact", "fetch", f"plant-a/{BUCKET}/none", "--out", out, *here)
        checks.check(
            "artifacts: nothing is left of what there is not",
            done.returncode != 0 and not list(site.directory.glob("out*")), list(site.directory.glob("out*")))
        out.write_text("mine")
        refused(checks, "artifacts: a file is kept", bsfg("artifact", "fetch", name, "--out", out, *here), 1, "--force")
        checks.equal("artifacts: as it was", out.read_text(), "mine")
        checks.equal(
            "artifacts: unless it is forced",
            (bsfg("artifact", "fetch", name, "--out", out, "--force", *here).returncode, out.read_text()),
            (0, "content"))


def listening(checks):
    """Why an address cannot be listened on."""
    with Site() as site:
        node = site.node("plant-a")
        node.write()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", node.port))
            taken.listen()
            done = serve(node)
        refused(checks, "listen: taken", done, 1, f"127.0.0.1:{node.port}: another process listens there")
        checks.check("listen: no internals", "errno" not in done.stderr and "bind(" not in done.stderr, done.stderr)
        node.listen_address = "192.0.2.77"
        node.write()
        refused(checks, "listen: not ours", serve(node), 1, "this machine has no such address")


def started_and_stopped(checks):
    """The log says when a node began, as what, and when it ended."""
    with Site() as site:
        node = site.node("plant-a")
        node.start()
        found = events(node, "node_started")
        release = json.loads(run("version", "-o", "json"))["version"]
        checks.equal(
            "log: the start",
            [(line["release"], line["configuration"], line["zone"], str(node.port) in line["listeners"]) for line in found],
            [(release, str((node.root / "config").resolve()), "plant-a", True)])
        node.stop()
        checks.equal(
            "log: the end", [line["cause"] for line in events(node, "node_stopped")], ["it was told to end"])


def appended(checks):
    """What is wrong with a fact is said in options."""
    with Site() as site:
        node = site.node("plant-a")
        node.start()
        base = ["fact", "append", "--socket", node.socket, "--subject", "pump:7", "--predicate", "started"]
        done = bsfg(*base, "--object", "1")
        refused(checks, "append: no zone", done, 2, "--to is missing")
        checks.check("append: nothing of the wire", "envelope" not in done.stderr, done.stderr)
        done = bsfg(*base, "--to", "plant-a", "--object", "{k: 1}")
        refused(checks, "append: no JSON", done, 2, "--object is not JSON: ")
        checks.check("append: nothing of its field", "object_json" not in done.stderr, done.stderr)
        refused(
            checks, "append: a wrong subject",
            bsfg("fact", "append", "--socket", node.socket, "--subject", "no subject", "--predicate", "started", "--to",
                 "plant-a", "--object", "1"), 2, "--subject")


def refusals(checks):
    """The digits that the table shows find the same refusals again."""
    with Site() as site:
        node = site.node("plant-a")
        node.client("mes")
        node.start()
        here = ["peer", "refusals", "--socket", node.socket]
        refused_by = bsfg(*here)
        checks.check("refusals: since when", "nobody was refused since the node began, 20" in refused_by.stdout, refused_by)
        stranger = site.certificate("stranger")
        bsfg("status", "--endpoint", f"127.0.0.1:{node.port}", "--cert", f"{stranger}.crt", "--key", f"{stranger}.key",
             "--ca", site.authority)
        row = wait_until("a refusal", lambda: [l for l in bsfg(*here).stdout.splitlines() if "stranger" in l])[0]
        shown = next(word for word in row.split() if len(word) == 16 and set(word) <= set("0123456789abcdef"))
        for text in (shown, shown.upper(), ":".join(shown[i:i + 2] for i in range(0, 16, 2))):
            checks.check(f"refusals: by {text}", "stranger" in bsfg(*here, "--fingerprint", text).stdout)
        other = shown[:-1] + ("0" if shown[-1] != "0" else "1")
        checks.check(
            "refusals: of nobody", "nobody with this certificate" in bsfg(*here, "--fingerprint", other).stdout)
        refused(checks, "refusals: no digits", bsfg(*here, "--fingerprint", "zz"), 2, "hexadecimal")


def made_again(checks):
    """init keeps the files that are there, and says when they are not what it was asked for."""
    with Site() as site:
        root = site.directory / "again"
        arguments = ["--identity", "plant-a-bsfg", "--address", "127.0.0.1"]
        checks.equal("init: made", bsfg("init", "--root", root, "--zone", "plant-a", *arguments).returncode, 0)
        done = bsfg("init", "--root", root, "--zone", "plant-a", *arguments)
        checks.check("init: the same again", done.returncode == 0 and not done.stderr, done)
        done = bsfg("init", "--root", root, "--zone", "plant-b", *arguments)
        refused(checks, "init: another zone", done, 1, "bsfg.yaml", "zone: plant-a", "plant-b")
        refused(
            checks, "days: none", bsfg("ca", "init", "--dir", site.directory / "days", "--days", "0"), 2, "--days")
        refused(
            checks, "days: none, for a certificate",
            bsfg("cert", "issue", "--ca", site.authority_directory, "--identity", "x", "--out", site.directory / "days",
                 "--days", "0"), 2, "--days")


PARTS = (
    another_zone, another_profile, stream_renamed, as_root, configuration_named, words, broken_file, artifacts,
    listening, started_and_stopped, appended, refusals, made_again,
)


def test(checks):
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="a part, by a part of its name")
    only = parser.parse_args().only
    for part in PARTS:
        if not only or only in part.__name__:
            with checks.guard(part.__name__.replace("_", " ")):
                part(checks)


if __name__ == "__main__":
    main(test)
