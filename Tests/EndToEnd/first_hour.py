#!/usr/bin/env python3
"""The README's first hour, by its very commands: two machines that are thrown away (a network namespace each, and
file systems laid over /etc, /usr/local, /opt and /var), one port of one of them dropped by a firewall, which
`bsfg peer probe` has to find. What these machines have not, stands in: `scp` copies between them, `systemctl`
runs what the unit says as the user that it names.

    BSFG=path first_hour.py
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile

from support import BSFG, PATIENCE, REPOSITORY, main, wait_until

TITLE = "## The first hour"
ADDRESSES = {"plant-a": "10.3.1.10", "enterprise": "10.9.1.10"}
FENCE = re.compile(r"^```(\w+) ([\w-]+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)

SCP = """#!/bin/sh
# HOST:PATH here
exec cp "$SHARED/${1%%:*}/$(basename "${1#*:}")" "$2"
"""

SYSTEMCTL = """#!/bin/sh
unit=/usr/local/lib/systemd/system/bsfg-controller.service
case $* in
    "enable --now bsfg-controller") ;;
    *) echo "systemctl: $* is not done here" >&2; exit 1 ;;
esac
user=$(sed -n 's/^User=//p' $unit)
command=$(sed -n 's/^ExecStart=//p' $unit)
setsid setpriv --reuid=$user --regid=$user --init-groups --no-new-privs $command \\
    > /var/node.out 2> /var/node.err < /dev/null &
echo $! > /var/node.pid
"""


def blocks():
    """(kind, machine, file, text) of the section's code, in order."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index(TITLE):]
    section = section[:section.index("\n## ", 1)]
    return FENCE.findall(section)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Machine:
    """A network namespace and what is laid over this machine's files; root in it is the README's reader."""

    def __init__(self, name, shared):
        self.name, self.shared = name, shared
        self.network = f"bsfg-hour-{os.getpid()}-{name}"[:60]
        ip("netns", "add", self.network)
        ip("-n", self.network, "link", "set", "dev", "lo", "up")
        self.environment = {
            "PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/bin:/usr/sbin:/sbin",
            "SHARED": str(shared), "HOME": "/root"}
        laid = "; ".join(
            f"mkdir -p $T/{part}/u $T/{part}/w && mount -t overlay overlay "
            f"-o lowerdir={path},upperdir=$T/{part}/u,workdir=$T/{part}/w {path} || exit 77"
            for part, path in (("etc", "/etc"), ("local", "/usr/local"), ("opt", "/opt"), ("var", "/var")))
        # Lives as long as its standard input is open.
        self.keeper = subprocess.Popen(
            ["ip", "netns", "exec", self.network, "unshare", "-m", "sh", "-c",
             f"T=$(mktemp -d) && mount -t tmpfs tmpfs $T || exit 77; {laid}; echo laid; cat > /dev/null"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.is_there = self.keeper.stdout.readline() == "laid\n"
        self.process = self.keeper.pid

    def connect(self, other):
        ip("-n", self.network, "link", "add", "name", "cable", "type", "veth", "peer", "name", "cable",
           "netns", other.network)
        for near, far in ((self, other), (other, self)):
            ip("-n", near.network, "address", "add", ADDRESSES[near.name] + "/32", "dev", "cable")
            ip("-n", near.network, "link", "set", "dev", "cable", "up")
            ip("-n", near.network, "route", "add", ADDRESSES[far.name] + "/32", "dev", "cable")

    def drops(self, is_dropped):
        """A firewall before the machine's port 9443: what comes from it vanishes, without a word."""
        ip("-n", self.network, "rule", "add" if is_dropped else "del", "ipproto", "tcp", "sport", "9443",
           "blackhole")

    def inside(self, command):
        return ["nsenter", f"--target={self.process}", "--mount", "--net", "--wd=" + str(REPOSITORY),
                "sh", "-c", command]

    def run(self, command):
        return subprocess.run(
            self.inside(command), capture_output=True, text=True, env=self.environment, timeout=PATIENCE + 60)

    def start(self, command):
        """A command that goes on until it is ended, with its output in a file."""
        output = open(self.shared / f"{self.name}.follow", "wb")
        return subprocess.Popen(
            self.inside("exec " + command), stdout=output, stderr=subprocess.STDOUT, env=self.environment,
            stdin=subprocess.DEVNULL)

    def place(self, path, text, mode="644"):
        done = subprocess.run(
            self.inside(f"cat > {shlex.quote(path)} && chmod {mode} {shlex.quote(path)}"), input=text,
            text=True, env=self.environment, capture_output=True)
        assert done.returncode == 0, done.stderr

    def close(self):
        self.run("[ ! -f /var/node.pid ] || kill $(cat /var/node.pid)")
        self.keeper.stdin.close()
        try:
            self.keeper.wait(30)
        except subprocess.TimeoutExpired:
            self.keeper.kill()
        subprocess.run(["ip", "netns", "del", self.network], capture_output=True)


class Hour:
    def __init__(self, checks, machines):
        self.checks = checks
        self.machines = machines
        self.followers = []
        self.probes = 0
        self.following_printed = []

    def walk(self):
        for kind, where, path, text in blocks():
            names = list(self.machines) if where == "both" else [where]
            for name in names:
                machine = self.machines[name]
                if kind == "yaml":
                    machine.place(path, text)
                    continue
                for line in text.strip().splitlines():
                    self.step(machine, line)

    def step(self, machine, line):
        label = f"{machine.name}: {line}"
        if line == "make install":
            # Of the build that is tested, which make would make anew.
            line += f" BINARY={pathlib.Path(BSFG).resolve()}"
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            machine.environment[name] = value
            return
        if line.startswith("bsfg peer probe"):
            return self.probe(machine, line)
        if " tail -f" in line:
            self.followers.append((machine, machine.start(line)))
            return
        if line.startswith("bsfg ") and self.following_printed:
            self.checks.check(
                f"{label}: as 'init' printed it", self.following_printed.pop(0) == line, line)
        done = machine.run(line)
        self.checks.check(label, done.returncode == 0, f"{done.returncode} {done.stdout} {done.stderr}")
        if line.startswith("bsfg init"):
            lines = done.stdout.splitlines()
            self.following_printed = [
                each.strip() for each in lines[lines.index("Next:") + 1:] if each.strip()][:2]
        if line.startswith("bsfg ca init"):
            there = machine.shared / ADDRESSES[machine.name]
            there.mkdir()
            assert machine.run(f"cp /opt/bsfg/ca/ca.crt {there}").returncode == 0
        if line.startswith("systemctl"):
            wait_until(
                f"{machine.name} listening",
                lambda: "listening" in machine.run("cat /var/node.out").stdout)
        if line.startswith("bsfg fact append"):
            self.see()

    def probe(self, machine, line):
        """With the port dropped it is told, and where; without it everything is in order."""
        source = self.machines["plant-a"]
        source.drops(True)
        done = machine.run(line)
        self.checks.check(
            f"{machine.name}: {line}: the dropped port is found",
            done.returncode == 4 and "firewall" in done.stdout + done.stderr
            and "9443" in done.stdout + done.stderr, f"{done.returncode} {done.stdout} {done.stderr}")
        doctor = machine.run("bsfg doctor peer plant-a")
        self.checks.check(
            f"{machine.name}: and by bsfg doctor peer", doctor.returncode == 1
            and "firewall" in doctor.stdout, doctor.stdout + doctor.stderr)
        source.drops(False)
        done = machine.run(line)
        self.checks.check(
            f"{machine.name}: {line}: with the port open all is well",
            done.returncode == 0, f"{done.returncode} {done.stdout} {done.stderr}")

    def see(self):
        machine, process = self.followers[0]
        output = machine.shared / f"{machine.name}.follow"
        wait_until("the fact on the other side", lambda: "turbine:R80711" in output.read_text())
        self.checks.check(
            f"{machine.name}: the fact is followed with fact tail -f", process.poll() is None,
            output.read_text())
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)

    def close(self):
        for _, process in self.followers:
            if process.poll() is None:
                process.kill()
                process.wait()


def test(checks):
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare", "useradd", "setpriv"))):
        checks.skip("the first hour", "it is walked by root, with ip, nsenter and useradd")
        return
    with tempfile.TemporaryDirectory(prefix="bsfg-hour-", dir="/run") as directory:
        shared = pathlib.Path(directory)
        machines = {}
        hour = Hour(checks, machines)
        try:
            for name in ADDRESSES:
                try:
                    machines[name] = machine = Machine(name, shared)
                except subprocess.CalledProcessError as error:
                    checks.skip("the first hour", f"no network namespace here: {error.stderr.strip()}")
                    return
                if not machine.is_there:
                    checks.skip("the first hour", "no file system over another here")
                    return
                machine.place("/usr/local/bin/scp", SCP, "755")
                machine.place("/usr/local/bin/systemctl", SYSTEMCTL, "755")
            machines["plant-a"].connect(machines["enterprise"])
            with checks.guard("the walk"):
                hour.walk()
        finally:
            hour.close()
            for machine in machines.values():
                machine.close()


if __name__ == "__main__":
    main(test)
