#!/usr/bin/env python3
"""`bsfg ca` and `bsfg cert` with a site's own CA, which is openssl here.

    BSFG=path certificate_commands.py
"""

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess

from support import BSFG, Caller, Site, main, run


def openssl(*arguments):
    return subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def command(*arguments):
    """Exit code, output, errors."""
    done = subprocess.run([BSFG, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def make_authority(directory):
    """A root and an issuing CA, as a site has them."""
    directory.mkdir()
    root, issuing = directory / "root", directory / "issuing"
    extensions = directory / "ca.ext"
    extensions.write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
                          "subjectKeyIdentifier=hash\n")
    for name, signer in ((root, None), (issuing, root)):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN=site {name.name}", "-out", f"{name}.csr")
        how = ["-CA", f"{signer}.crt", "-CAkey", f"{signer}.key"] if signer else ["-signkey", f"{name}.key"]
        openssl("x509", "-req", "-in", f"{name}.csr", *how, "-days", 60, "-extfile", extensions,
                "-out", f"{name}.crt")
    both = directory / "both.crt"
    both.write_text((directory / "root.crt").read_text() + (directory / "issuing.crt").read_text())
    return issuing, both


def sign(issuing, request, output, usage="serverAuth,clientAuth"):
    extensions = pathlib.Path(f"{output}.ext")
    extensions.write_text(
        f"basicConstraints=critical,CA:FALSE\nextendedKeyUsage={usage}\n"
        "subjectAltName=DNS:plant-a-bsfg,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", request, "-CA", f"{issuing}.crt", "-CAkey", f"{issuing}.key", "-days", 30,
            "-extfile", extensions, "-out", output)
    return output


def site_authority(checks, directory):
    """csr, import and archive."""
    issuing, both = make_authority(directory / "site")
    certs = directory / "certs"
    run("cert", "csr", "--identity", "plant-a-bsfg", "--address", "127.0.0.1", "--address", "vip.plant-a",
        "--out", certs)
    text = openssl("req", "-in", certs / "server.csr", "-noout", "-text", "-verify")
    checks.check(
        "gateway decision 41: a request asks for names and both usages",
        all(word in text for word in (
            "DNS:plant-a-bsfg", "DNS:vip.plant-a", "IP Address:127.0.0.1",
            "TLS Web Server Authentication, TLS Web Client Authentication")), text)
    checks.equal("gateway decision 41: its key is 0600", mode(certs / "server.csr.key"), 0o600)
    code, _, errors = command("cert", "csr", "--identity", "plant-a-bsfg", "--out", certs)
    checks.check("csr: a key that waits is kept", code == 1 and "--force" in errors, errors)
    leaf = sign(issuing, certs / "server.csr", directory / "leaf.crt")
    code, _, errors = command("cert", "import", leaf, "--out", certs, "--ca", issuing.parent / "root.crt")
    checks.check(
        "import: a missing issuing CA is named",
        code == 1 and "issuing" in errors and not (certs / "server.crt").exists(), errors)
    code, output, errors = command("cert", "import", leaf, "--out", certs, "--ca", both)
    checks.check("import: the pair is in place", code == 0 and (certs / "server.crt").exists(), errors)
    checks.equal("gateway decision 41: the key in place is 0600", mode(certs / "server.key"), 0o600)
    checks.check("import: nothing waits", not (certs / "server.csr.key").exists())

    run("cert", "csr", "--identity", "plant-a-bsfg", "--address", "127.0.0.1", "--out", certs)
    half = sign(issuing, certs / "server.csr", directory / "half.crt", usage="serverAuth")
    code, _, errors = command("cert", "import", half, "--out", certs, "--ca", both)
    checks.check("import: both usages are needed", code == 1 and "clientAuth is needed" in errors, errors)
    code, _, errors = command("cert", "import", issuing.parent / "issuing.crt", "--out", certs, "--ca", both)
    checks.check("import: another key's is refused", code == 1 and "belongs neither" in errors, errors)
    second = sign(issuing, certs / "server.csr", directory / "second.crt")
    code, output, errors = command("cert", "import", second, "--out", certs, "--ca", both)
    kept = list((certs / "archive").iterdir())
    checks.check(
        "import: the one before is archived, without its key",
        code == 0 and len(kept) == 1 and kept[0].suffix == ".crt" and str(kept[0]) in output
        and "PRIVATE" not in kept[0].read_text(), output + errors)
    code, output, _ = command("cert", "archive", certs / "server.crt")
    checks.check("archive: it says where and which", code == 0 and "SHA-256" in output, output)
    command("cert", "csr", "--identity", "plant-b-bsfg", "--out", certs, "--force")
    extensions = directory / "other.ext"
    extensions.write_text("extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:plant-b-bsfg\n")
    openssl("x509", "-req", "-in", certs / "server.csr", "-CA", f"{issuing}.crt", "-CAkey", f"{issuing}.key",
            "-days", 30, "-extfile", extensions, "-out", directory / "other.crt")
    code, _, errors = command("cert", "import", directory / "other.crt", "--out", certs, "--ca", both)
    checks.check("import: another holder's is refused", code == 1 and "--force" in errors, errors)


def holders(checks, directory):
    """import: who the holder before was is told by its names, where it has no common name, or not at all."""
    issuing, both = make_authority(directory / "holders")
    certs = directory / "holders-certs"

    def imported(identity, *arguments):
        """What is imported names its holder by a DNS name alone."""
        run("cert", "csr", "--identity", identity, "--out", certs, "--force")
        request, leaf = directory / "nameless.csr", directory / "nameless.crt"
        extensions = directory / "nameless.ext"
        extensions.write_text(
            f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,DNS:{identity}\n")
        openssl("req", "-new", "-key", certs / "server.csr.key", "-subj", "/", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", f"{issuing}.crt", "-CAkey", f"{issuing}.key", "-days", 30,
                "-extfile", extensions, "-out", leaf)
        code, output, errors = command("cert", "import", leaf, "--out", certs, "--ca", both, *arguments)
        return code, output + errors

    checks.equal("import: without a common name", imported("plant-a-bsfg")[0], 0)
    code, said = imported("plant-b-bsfg")
    checks.check("import: another holder's is refused without common names too",
                 code == 1 and "--force" in said, said)
    checks.equal("import: the same holder's is not", imported("plant-a-bsfg")[0], 0)
    (certs / "server.crt").write_text("damaged")
    code, said = imported("plant-a-bsfg")
    checks.check("import: over a damaged one it takes --force", code == 1 and "--force" in said, said)
    code, said = imported("plant-a-bsfg", "--force")
    checks.check("import: and with --force a damaged one is replaced", code == 0, said)


def durable_revocation(checks, directory):
    """A CRL that a power cut takes back would give its number twice."""
    if not shutil.which("strace"):
        checks.skip("revoke: the new name is on the disk", "there is no strace")
        return
    authority, trace = directory / "durable", directory / "durable.strace"
    run("ca", "init", "--dir", authority)
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=rename,renameat,renameat2,fsync,flock", BSFG, "ca",
         "revoke", "--serial", "AB", "--ca", str(authority)], capture_output=True, text=True)
    calls = trace.read_text() if trace.exists() else ""
    if done.returncode != 0 and "ptrace" in done.stderr.lower():
        checks.skip("revoke: the new name is on the disk", done.stderr.strip())
        return
    steps = re.findall(r"(flock|fsync|rename)\w*\((.*)\) += 0", calls)
    kinds = [kind for kind, _ in steps]
    checks.check(
        "revoke: locked, written, renamed, and the directory synchronised last",
        done.returncode == 0 and kinds == ["flock", "fsync", "rename", "fsync"]
        and steps[-1][1].endswith(f"<{authority}>"), calls + done.stderr)


def hidden_authority(checks, directory):
    """A CA that this user may not look at is not one that does not exist."""
    authority = directory / "hidden"
    run("ca", "init", "--dir", authority)
    issue = ["cert", "issue", "--ca", str(authority), "--identity", "x", "--out", str(directory / "hidden-out")]
    options = {}
    if os.geteuid() == 0:
        # The directory of this test is root's, too: nobody gets that far.
        options = {"user": 65534, "group": 65534, "extra_groups": []}
    else:
        authority.chmod(0)
    try:
        done = subprocess.run([BSFG, *issue], capture_output=True, text=True, **options)
    except PermissionError:
        checks.skip("issue: a CA that is out of reach", "nobody may not run the binary")
        return
    finally:
        authority.chmod(0o700)
    checks.check(
        "issue: a CA that is out of reach is not said to be missing",
        done.returncode == 1 and "as the owner of" in done.stderr and "ca init" not in done.stderr, done.stderr)


def node_commands(checks, site, node, certificate):
    """inspect, verify, status and the modes of keys."""
    config = node.root / "config"
    code, output, _ = command("cert", "inspect", f"{certificate}.crt", "-o", "json")
    shown = json.loads(output)["certificates"][0]
    checks.equal(
        "inspect: a leaf", (code, shown["role"], shown["names"], shown["extended_key_usage"]),
        (0, "leaf", ["dns:one", "cn:one"], ["serverAuth", "clientAuth"]))
    code, output, _ = command("cert", "verify", f"{certificate}.crt", "--config", config)
    checks.check("verify: who it is", code == 0 and output.count("the client one") == 2, output)
    code, output, _ = command(
        "cert", "verify", f"{site.certificate('stranger')}.crt", "--config", config, "-o", "json")
    checks.equal(
        "verify: why it is nobody",
        (code, {check["reason"] for check in json.loads(output)["checks"]}), (1, {"no_matching_identity"}))
    stranger = site.directory / "other-ca"
    run("ca", "init", "--dir", stranger)
    foreign = site.certificate("one", name="foreign", authority=stranger)
    code, output, _ = command("cert", "verify", f"{foreign}.crt", "--config", config)
    checks.check(
        "gateway decision 37: verify: the right name of another CA", code == 1 and "unknown_issuer" in output,
        output)
    code, _, errors = command("ca", "revoke", f"{foreign}.crt", "--ca", site.authority_directory)
    checks.check("revoke: only its own CA's", code == 1 and "not by this CA" in errors, errors)

    key = site.authority_directory / "ca.key"
    key.chmod(0o640 if os.geteuid() else 0o644)
    code, _, errors = command("ca", "revoke", f"{certificate}.crt", "--ca", site.authority_directory)
    checks.check(
        "gateway decision 41: a CA's key that others can read is refused with the chmod to run",
        code == 1 and "chmod 600" in errors and "ca.key" in errors, errors)
    key.chmod(0o600)
    run("ca", "revoke", f"{certificate}.crt", "--ca", site.authority_directory)
    code, output, _ = command("cert", "verify", f"{certificate}.crt", "--config", config)
    checks.check("verify: revoked", code == 1 and output.count("revoked") >= 2, output)
    code, output, _ = command("cert", "status", "--config", config, "-o", "json")
    lists = [each for each in json.loads(output)["certificates"] if each["role"] == "crl"]
    checks.equal(
        "status: the CRL", [(each["serial"], each["subject"]) for each in lists], [("0x1", "1 revoked")])
    code, output, _ = command("cert", "inspect", site.authority_directory / "ca.crl")
    checks.check("inspect: a CRL", code == 0 and "0x1" in output, output)

    key = node.root / "certs" / "server.key"
    key.chmod(0o644)
    code, _, errors = command("serve", "--config", config)
    checks.check(
        "gateway decision 41: a key that others can read is refused with the chmod to run",
        code == 2 and "chmod 600" in errors and "server.key" in errors, (code, errors))
    key.chmod(0o600)


def uncovered(checks, site):
    """A listen address that the certificate does not name."""
    node = site.node("plant-b")
    run("cert", "issue", "--ca", site.authority_directory, "--identity", node.identity, "--address",
        "192.0.2.7", "--out", node.root / "certs", "--force")
    node.client("operator-1", roles=("operator", "auditor"))
    node.start()
    checks.eventually(
        "gateway decision 41: serve warns about an address that no SAN covers",
        lambda: "the listen address 127.0.0.1 is not named by the certificate" in node.errors.read_text())
    caller = Caller(node, site.certificate("operator-1"))
    context = caller.context()
    context.check_hostname = False
    caller.context = lambda: context
    health = caller.request("GET", "/health")
    checks.equal(
        "gateway decision 34: /health says who you are",
        (health.json["caller_identity"], health.json["caller_roles"]), ("operator-1", "auditor,operator"))
    for procedure in ("/bsfg.v1.BoundaryService/FetchFacts", "/bsfg.admin.v1.AdminService/Status",
                      "/bsfg.v1.FederationService/ListStreams"):
        answer = caller.call(procedure, {})
        checks.equal(
            f"gateway decision 34: an operator may not call {procedure.rpartition('/')[2]} on the boundary",
            (answer.status, answer.reason), (403, "identity_not_authorised"))
    node.stop()


def test(checks):
    with Site() as site:
        with checks.guard("a site's own CA"):
            site_authority(checks, site.directory)
        with checks.guard("holders"):
            holders(checks, site.directory)
        with checks.guard("a durable revocation"):
            durable_revocation(checks, site.directory)
        with checks.guard("a hidden CA"):
            hidden_authority(checks, site.directory)
        node = site.node("plant-a")
        node.client("one")
        certificate = site.certificate("one")
        node.write()
        with checks.guard("an uncovered address"):
            uncovered(checks, site)
        with checks.guard("commands on a node's files"):
            node_commands(checks, site, node, certificate)


if __name__ == "__main__":
    main(test)
