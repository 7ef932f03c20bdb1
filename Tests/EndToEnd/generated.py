#!/usr/bin/env python3
"""What is committed of generated code is what the contracts in docs/api make, with the generator of the
swift-protobuf that is used: nobody has written in it.

    generated.py
"""

import subprocess

from support import REPOSITORY, Checks


def main():
    checks = Checks("generated.py")
    done = subprocess.run(
        [REPOSITORY / "Sources/Facts/Wire/regenerate.sh", "--check"], capture_output=True, text=True)
    checks.check(
        "the messages and the descriptor set are what docs/api makes", done.returncode == 0,
        (done.stdout + done.stderr)[-2000:])
    raise SystemExit(checks.finish())


if __name__ == "__main__":
    main()
