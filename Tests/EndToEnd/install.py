#!/usr/bin/env python3
"""make install: under DESTDIR, where every path and mode is looked at, and as root into a machine that is thrown
away (file systems laid over /etc, /usr/local and /opt), where the three commands that `init` prints are run.

    BSFG=path install.py
"""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

from support import BSFG, PATIENCE, REPOSITORY, Checks, main

UNIT = "lib/systemd/system/bsfg-controller.service"
ROOT = "/opt/bsfg"


def make_install(**variables):
    return subprocess.run(
        ["make", "-s", "install", f"BINARY={pathlib.Path(BSFG).resolve()}",
         *(f"{name}={value}" for name, value in variables.items())],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=600)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def under_destination(checks):
    with tempfile.TemporaryDirectory(prefix="bsfg-install-") as directory:
        top = pathlib.Path(directory)
        # As root too, no user is made and nothing is given away below DESTDIR.
        done = make_install(DESTDIR=top, PREFIX="/usr", ROOT=ROOT)
        checks.check("DESTDIR: it succeeds", done.returncode == 0, done.stderr)
        checks.check("DESTDIR: it says that no user was made", "was not made" in done.stdout, done.stdout)
        usr = top / "usr"
        checks.equal(
            "DESTDIR: modes", {name: mode(top / name) for name in (
                "usr/lib/bsfg/bsfg", f"usr/{UNIT}", "usr/lib/sysusers.d/bsfg.conf", "opt/bsfg")},
            {"usr/lib/bsfg/bsfg": 0o755, f"usr/{UNIT}": 0o644, "usr/lib/sysusers.d/bsfg.conf": 0o644,
             "opt/bsfg": 0o750})
        checks.equal("DESTDIR: bin/bsfg leads to the program",
                     (usr / "bin/bsfg").resolve(), (usr / "lib/bsfg/bsfg").resolve())
        unit = (usr / UNIT).read_text()
        checks.check(
            "DESTDIR: the unit names the program and the node, and nothing is left to fill in",
            f"ExecStart=/usr/bin/bsfg serve --config {ROOT}/config\n" in unit and "User=bsfg\n" in unit
            and f"ReadWritePaths={ROOT}\n" in unit and "@" not in re.sub("@system-service", "", unit), unit)
        names = [line.partition("=")[0] for line in unit.splitlines()]
        hardening = {
            "NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "PrivateTmp",
            "PrivateDevices", "MemoryDenyWriteExecute", "SystemCallFilter", "RestrictAddressFamilies",
            "RestrictNamespaces"}
        checks.check("DESTDIR: the unit is hardened", hardening <= set(names), hardening - set(names))
        checks.check(
            "DESTDIR: the unit makes the directory of a short administration socket, and a reload in the first "
            "instant keeps no node down",
            {"RuntimeDirectory=bsfg", "RuntimeDirectoryMode=0750", "RestartForceExitStatus=SIGHUP"}
            <= set(unit.splitlines()), unit)
        if shutil.which("systemd-analyze"):
            own = top / "bsfg-controller.service"
            own.write_text(unit.replace("/usr/bin/bsfg", str(usr / "bin/bsfg")))
            said = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", str(own)], capture_output=True, text=True)
            about = [line for line in said.stderr.splitlines() if "bsfg" in line]
            checks.equal("DESTDIR: systemd reads the unit without a complaint", about, [])
        else:
            checks.skip("DESTDIR: systemd reads the unit", "there is no systemd-analyze")
        version = subprocess.run(
            [str(usr / "bin/bsfg"), "version"], capture_output=True, text=True, env={})
        checks.check("DESTDIR: the program runs", version.returncode == 0, version.stderr)
        linked = subprocess.run(["ldd", str(usr / "lib/bsfg/bsfg")], capture_output=True, text=True).stdout
        swift = set(re.findall(r"=> \S*/(lib\S+\.so) .*", "\n".join(
            line for line in linked.splitlines() if "/swift/" in line)))
        there = {path.name for path in (usr / "lib/bsfg").iterdir()}
        checks.check("DESTDIR: the Swift libraries lie beside it", swift <= there, swift - there)
        again = make_install(DESTDIR=top, PREFIX="/usr", ROOT=ROOT)
        checks.equal("DESTDIR: a second time changes nothing of it",
                     (again.returncode, (usr / UNIT).read_text() == unit), (0, True))


def on_a_machine(checks):
    """In a mount namespace of its own: this script again, as the operator."""
    if os.geteuid() != 0 or not shutil.which("useradd"):
        checks.skip("a real installation", "it is made as root, with useradd")
        return
    laid = "; ".join(
        f"mkdir -p $T/{name}/u $T/{name}/w {path} && mount -t overlay overlay "
        f"-o lowerdir={path},upperdir=$T/{name}/u,workdir=$T/{name}/w {path} || exit 77"
        for name, path in (("etc", "/etc"), ("local", "/usr/local"), ("opt", "/opt"), ("var", "/var")))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c",
         f"T=$(mktemp -d) && mount -t tmpfs tmpfs $T || exit 77; {laid}; exec \"$@\"", "sh",
         sys.executable, __file__, "--operator"], capture_output=True, text=True, timeout=1200)
    if done.returncode == 77:
        checks.skip("a real installation", f"no file system over another here: {done.stderr.strip()}")
        return
    print(done.stdout, end="")
    checks.check("a real installation: to its end", done.returncode == 0, done.stderr[-2000:])
    for line in done.stdout.splitlines():
        if line.startswith("FAIL "):
            checks.failed.append(line[5:])


def operator():
    """What the README says, as root. Ends with 1 when a check failed."""
    import pwd

    checks = Checks("operator")
    done = make_install()
    checks.check("installed: it succeeds", done.returncode == 0, done.stderr)
    user = pwd.getpwnam("bsfg")
    checks.equal("installed: a user without a shell and without a home of its own",
                 (user.pw_shell, user.pw_dir), ("/usr/sbin/nologin", ROOT))
    found = os.stat(ROOT)
    checks.equal("installed: the node's directory is its user's alone",
                 (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)),
                 (user.pw_uid, user.pw_gid, 0o750))
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}

    def shell(command, **options):
        return subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, env=environment, timeout=PATIENCE, **options)

    said = shell(
        f"bsfg init --root {ROOT} --zone plant-a --identity plant-a-bsfg --address 127.0.0.1 --port 29443")
    checks.check("installed: init", said.returncode == 0, said.stderr)
    lines = said.stdout.splitlines()
    following = [line.strip() for line in lines[lines.index("Next:") + 1:] if line.strip()]
    checks.equal(
        "init prints the next three commands, the last of which starts the unit",
        (len(following), following[2:]), (3, ["systemctl enable --now bsfg-controller"]))
    for command in following[:2]:
        done = shell(command)
        checks.check(f"as printed: {' '.join(command.split()[:3])}", done.returncode == 0, done.stderr)
    key, authority = os.stat(f"{ROOT}/certs/server.key"), os.stat(f"{ROOT}/ca/ca.key")
    checks.equal(
        "the node's key is its user's, the CA's is root's, and nobody else reads either",
        [(found.st_uid, stat.S_IMODE(found.st_mode)) for found in (key, authority)],
        [(user.pw_uid, 0o600), (0, 0o600)])
    unit = pathlib.Path(f"/usr/local/{UNIT}").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.M)[1].split()
    node = serve(command, user, environment)
    try:
        line = node.stdout.readline()
        checks.check("the unit's command serves as the user of the node", "listening" in line,
                     line or node.stderr.read())
        status = shell(f"bsfg status --config {ROOT}")
        checks.check("root asks the node by its socket", status.returncode == 0, status.stderr)
        stranger = shell(f"setpriv --reuid=65534 --clear-groups bsfg status --config {ROOT}")
        checks.check("a stranger does not", stranger.returncode != 0, stranger.stdout)
    finally:
        node.terminate()
        checks.equal("it ends with", node.wait(PATIENCE), 0)
    with checks.guard("root's log commands"):
        root_log_commands(checks, shell, command, user, environment)
    return checks.finish()


def root_log_commands(checks, shell, command, user, environment):
    """An operator is root after a restore: what the commands leave is still the node's."""
    log = pathlib.Path(f"{ROOT}/data/store/facts.operational")

    def strangers():
        return [str(path) for path in pathlib.Path(f"{ROOT}/data").rglob("*")
                if path.lstat().st_uid != user.pw_uid]

    done = shell(f"bsfg log begin-epoch --dir {log} --after-restore --reason restored")
    checks.check("root begins an epoch", done.returncode == 0, done.stderr)
    checks.check("root begins an epoch: the gates are closed", (log / "../../gates.json").exists())
    checks.equal("root begins an epoch: every file is the node's", strangers(), [])
    with open(log / "manifest", "r+b") as manifest:
        manifest.write(bytes(os.fstat(manifest.fileno()).st_size))
    done = shell(f"bsfg log repair --dir {log} --apply")
    checks.check("root repairs a log", done.returncode == 0 and "repaired" in done.stdout, done.stdout + done.stderr)
    checks.equal("root repairs a log: every file is the node's", strangers(), [])
    node = serve(command, user, environment)
    try:
        line = node.stdout.readline()
        checks.check("after root's commands the node serves", "listening" in line, line or node.stderr.read())
    finally:
        node.terminate()
        node.wait(PATIENCE)


def serve(command, user, environment):
    """What the unit runs, as the user that it would be: there is no systemd here."""
    return subprocess.Popen(
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
         "--no-new-privs", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment)


def test(checks):
    with checks.guard("under DESTDIR"):
        under_destination(checks)
    with checks.guard("a real installation"):
        on_a_machine(checks)


if __name__ == "__main__":
    if "--operator" in sys.argv:
        sys.exit(operator())
    main(test)
