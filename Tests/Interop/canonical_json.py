"""Checks our canonical JSON against the PyPI package rfc8785.

Reads lines of three fields separated by tabs: the document in base64, `ok` or `no`, and our
canonical bytes in base64 (empty for `no`). Each document is loaded strictly (the rules below are the
contract's, written anew from it), canonicalised by rfc8785, and compared: the same bytes, or both
refuse. Exit status 1 at the first difference.
"""

import base64
import json
import sys

import rfc8785

SAFE = 2**53 - 1
DEPTH_LIMIT = 64


class Refused(Exception):
    pass


def number_of_integer(text):
    value = int(text)
    if abs(value) <= SAFE:
        return value
    # An integer beyond what a double keeps stands only as ECMAScript prints its double.
    double = float(text)
    if double in (float("inf"), float("-inf")) or rfc8785.dumps(double).decode() != text:
        raise Refused("integer")
    return double


def number_of_fraction(text):
    double = float(text)
    if double in (float("inf"), float("-inf")):
        raise Refused("infinite")
    if double == 0 and any(digit in "123456789" for digit in text.lower().split("e")[0]):
        raise Refused("zero")
    return double


def object_of_pairs(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused("duplicate name")
    return members


def constant(text):
    raise Refused(text)


def depth(value):
    deepest, level = 0, [value]
    while True:
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return deepest
        deepest += 1
        level = [
            inner
            for item in containers
            for inner in (item.values() if isinstance(item, dict) else item)
        ]


def canonical(document):
    try:
        value = json.loads(
            document.decode("utf-8"),
            parse_int=number_of_integer,
            parse_float=number_of_fraction,
            parse_constant=constant,
            object_pairs_hook=object_of_pairs,
        )
        if depth(value) > DEPTH_LIMIT:
            raise Refused("depth")
        return rfc8785.dumps(value)
    except (Refused, ValueError, RecursionError, rfc8785.CanonicalizationError):
        return None


def main(path):
    accepted = refused = 0
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            document, verdict, ours = line.rstrip(b"\n").split(b"\t")
            document = base64.b64decode(document)
            ours = base64.b64decode(ours) if verdict == b"ok" else None
            theirs = canonical(document)
            if ours != theirs:
                print(f"line {number}: {document!r}\n  ours   {ours!r}\n  theirs {theirs!r}")
                return 1
            if theirs is None:
                refused += 1
            else:
                accepted += 1
    print(f"accepted {accepted} refused {refused}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
