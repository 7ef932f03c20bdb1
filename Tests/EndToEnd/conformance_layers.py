#!/usr/bin/env python3
"""Requirements 105 to 108 of the specification: the handoff knows ports and nothing behind them. What the compiler
sees is looked at: the modules that each source file imports and the adapters that it names. That the suite of the
ports runs against every adapter is for the Swift tests to say (docs/conformance.md).
"""

import pathlib
import re
import sys

from support import REPOSITORY, Checks

SOURCES = REPOSITORY / "Sources"
IMPORT = re.compile(r"^(?:@\w+ )?(?:public |package |internal |fileprivate )?import (?:\w+ )?(\w+)", re.M)

# The core: handoff, cursor, gate. Then what is in the standard library or in the contract itself.
CORE = ("Replication",)
CORE_MAY_IMPORT = {"Buffers", "Facts", "SwiftProtobuf", "Synchronization", "FoundationEssentials", "Foundation"}
# Storage and transport, which only adapters may know.
SUBSTRATES = {
    "WriteAheadLog", "CPlatform", "Glibc", "COpenSSL", "CLZ4", "CZlib", "CNGHTTP2", "NIOCore", "NIOPosix",
    "NIOSSL", "NIOHTTP1"}
ADAPTER_FOLDERS = ("Buffers/Log", "Buffers/Artifacts", "Buffers/Quarantine")
PORTS = ("StoreBuffer", "ForwardBuffer", "CursorTracker", "ArtifactStore", "Quarantine")


def files(folder):
    return sorted((SOURCES / folder).rglob("*.swift"))


def imports(path):
    return set(IMPORT.findall(path.read_text(encoding="utf-8")))


def adapters():
    """The classes that realise a port on a disk."""
    declared = re.compile(r"class (\w+): (?:LogBuffer, )?(" + "|".join(PORTS) + r")\b")
    return {
        match[1] for folder in ADAPTER_FOLDERS for path in files(folder)
        for match in declared.finditer(path.read_text(encoding="utf-8"))
        if not match[1].startswith("Memory")}


def naming(paths, names):
    pattern = re.compile(r"\b(" + "|".join(sorted(names)) + r")\b")
    return [
        str(path.relative_to(REPOSITORY)) for path in paths
        if pattern.search(path.read_text(encoding="utf-8"))]


def main():
    checks = Checks(pathlib.Path(sys.argv[0]).name)
    core = [path for folder in CORE for path in files(folder)]
    found = {str(path.relative_to(REPOSITORY)): imports(path) - CORE_MAY_IMPORT for path in core}
    checks.equal(
        "spec 19.108: no file of the core imports a substrate",
        {path: names for path, names in found.items() if names}, {})
    ports = [SOURCES / "Buffers" / f"{name}.swift" for name in PORTS[:3]]
    checks.equal(
        "spec 19.108: nor does a port", {
            path.name: imports(path) & SUBSTRATES for path in ports if imports(path) & SUBSTRATES}, {})
    names = adapters()
    checks.check(
        "spec 19.107: there is an adapter for every port",
        names >= {"LogStoreBuffer", "LogForwardBuffer", "LogCursorTracker", "FileArtifactStore",
                  "LogQuarantine"}, names)
    checks.equal("spec 19.107: no file of the core names an adapter", naming(core, names), [])
    tests = sorted((REPOSITORY / "Tests" / "ReplicationTests").rglob("*.swift"))
    checks.equal(
        "spec 19.106: the core's own tests name no adapter and import no substrate",
        (naming(tests, names), [path.name for path in tests if imports(path) & SUBSTRATES]), ([], []))
    sys.exit(checks.finish())


if __name__ == "__main__":
    main()
