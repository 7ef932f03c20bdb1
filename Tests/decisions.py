#!/usr/bin/env python3
"""Whether each engine decision has a test of its number.

A test says in its name what it proves: "decision 7: ..."; those of the gateway's decisions that touch
the log say "gateway decision 7: ...". This lists the numbers that are in the names of tests and fails
when one is missing. That the tests pass is for the Swift tests to say.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent

# 23 and 24 say how the benchmarks are run and published: their programs hold to them, not a test here.
ENGINE = [number for number in range(1, 34) if number not in (23, 24)]
GATEWAY = list(range(1, 46))

NAME = re.compile(r'@Test\(\s*"(gateway )?decision (\d+): [^"]+"')


def main():
    found = {}
    for path in sorted(ROOT.rglob("*.swift")):
        for match in NAME.finditer(path.read_text(encoding="utf-8")):
            found.setdefault((bool(match[1]), int(match[2])), []).append(path.relative_to(ROOT))
    failed = False
    for is_gateway, numbers in ((False, ENGINE), (True, GATEWAY)):
        name = "gateway decision" if is_gateway else "decision"
        for number in numbers:
            paths = found.get((is_gateway, number))
            if paths:
                print(f"PASS {name} {number}")
            else:
                failed = True
                print(f"FAIL {name} {number}: no test has it in its name")
    for is_gateway, number in sorted(found):
        if not is_gateway and number not in ENGINE:
            failed = True
            print(f"FAIL decision {number}: a test has a number that no decision to be tested has")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
