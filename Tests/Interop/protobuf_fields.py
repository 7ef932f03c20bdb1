"""Protobuf's wire format without a library: the fields of a message as they come, and a message of fields.

For tests that look at bytes which no generated class may have touched, or that change them on their way.
"""


class Fixed(bytes):
    """The four or eight bytes of a field of fixed size."""


def fields(data):
    """A message's fields in order, as (number, value); a value is an integer, bytes, or `Fixed`."""
    found, place, end = [], 0, len(data)

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < end:
        tag = varint()
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            found.append((number, varint()))
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        value = data[place:place + size]
        if len(value) < size:
            raise ValueError(f"field {number} is cut off")
        found.append((number, value if kind == 2 else Fixed(value)))
        place += size
    return found


def field(found, number, default=None):
    """The first of this number."""
    return next((value for each, value in found if each == number), default)


def varint(number):
    encoded = b""
    while True:
        byte, number = number & 127, number >> 7
        encoded += bytes([byte | (128 if number else 0)])
        if not number:
            return encoded


def message(found):
    """The bytes of such fields."""
    encoded = b""
    for number, value in found:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        elif isinstance(value, Fixed):
            encoded += varint(number << 3 | (5 if len(value) == 4 else 1)) + value
        else:
            encoded += varint(number << 3 | 2) + varint(len(value)) + value
    return encoded
