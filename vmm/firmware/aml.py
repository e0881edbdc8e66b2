"""A small encoder of ACPI's language: ACPI Specification 6.5, "ACPI Machine Language (AML) Specification".

Terms are bytes, and a list of terms is their concatenation:

>>> scope("\\\\_SB", device("RTC", name("_HID", eisa_id("PNP0B00")))).hex()
'10175c5f53425f5b820f5254435f085f4849440c41d00b00'
"""

from __future__ import annotations

_NAME, _BYTE, _WORD, _DWORD, _STRING, _QWORD = b"\x08", b"\x0a", b"\x0b", b"\x0c", b"\x0d", b"\x0e"
_SCOPE, _BUFFER, _PACKAGE, _DEVICE = b"\x10", b"\x11", b"\x12", b"\x5b\x82"
_DUAL, _MULTI = b"\x2e", b"\x2f"
_END_TAG = b"\x79\0"  # with a checksum of 0: not used


def path(text: str) -> bytes:
    r"""A name: segments of up to four characters between dots, behind ``\`` or any number of ``^``."""
    bare = text.lstrip("\\^")
    prefix = text[: len(text) - len(bare)].encode()
    segments = [segment.ljust(4, "_").encode() for segment in bare.split(".") if segment]
    match len(segments):
        case 0:
            return prefix + b"\0"
        case 1:
            return prefix + segments[0]
        case 2:
            return prefix + _DUAL + b"".join(segments)
        case count:
            return prefix + _MULTI + bytes((count,)) + b"".join(segments)


def integer(value: int) -> bytes:
    """The shortest constant."""
    if value in (0, 1):
        return bytes((value,))
    for prefix, size in ((_BYTE, 1), (_WORD, 2), (_DWORD, 4)):
        if value < 1 << 8 * size:
            return prefix + value.to_bytes(size, "little")
    return _QWORD + value.to_bytes(8, "little")


def string(text: str) -> bytes:
    return _STRING + text.encode("ascii") + b"\0"


def eisa_id(text: str) -> bytes:
    """ "EISAID": three letters and four hexadecimal digits in 32 bits, the bytes the other way round."""
    letters = (ord(text[0]) & 0x1F) << 10 | (ord(text[1]) & 0x1F) << 5 | ord(text[2]) & 0x1F
    return _DWORD + (letters << 16 | int(text[3:], 16)).to_bytes(4)


def name(of: str, value: bytes) -> bytes:
    return _NAME + path(of) + value


def package(*elements: bytes) -> bytes:
    return _PACKAGE + _with_length(bytes((len(elements),)) + b"".join(elements))


def scope(of: str, *terms: bytes) -> bytes:
    return _SCOPE + _with_length(path(of) + b"".join(terms))


def device(of: str, *terms: bytes) -> bytes:
    return _DEVICE + _with_length(path(of) + b"".join(terms))


def resources(*descriptors: bytes) -> bytes:
    """ "Resource Data Types for ACPI": a buffer of descriptors and the end tag."""
    content = b"".join(descriptors) + _END_TAG
    return _BUFFER + _with_length(integer(len(content)) + content)


def io(base: int, count: int) -> bytes:
    """ "I/O Port Descriptor": fixed ports, all 16 bits decoded."""
    return b"\x47\x01" + base.to_bytes(2, "little") * 2 + bytes((1, count))


def irq(number: int) -> bytes:
    """ "IRQ Descriptor" without flags: edge-triggered, active high."""
    return b"\x22" + (1 << number).to_bytes(2, "little")


def bus_numbers(first: int, last: int) -> bytes:
    """ "Word Address Space Descriptor" of the buses below a bridge."""
    return _space(2, 0x88, 2, 0, first, last)


def ports(first: int, last: int) -> bytes:
    """The same of ports."""
    return _space(2, 0x88, 1, 0x03, first, last)


def memory(first: int, last: int) -> bytes:
    """ "DWord Address Space Descriptor" of memory that can be written and not cached."""
    return _space(4, 0x87, 0, 0x01, first, last)


def memory64(first: int, last: int) -> bytes:
    """ "QWord Address Space Descriptor"."""
    return _space(8, 0x8A, 0, 0x01, first, last)


_PRODUCER_FIXED = 0x0C  # both ends are fixed; positive decode; the bridge produces the range


def _space(size: int, tag: int, kind: int, specific: int, first: int, last: int) -> bytes:
    fields = (0, first, last, 0, last - first + 1)  # granularity, minimum, maximum, translation, length
    body = bytes((kind, _PRODUCER_FIXED, specific)) + b"".join(field.to_bytes(size, "little") for field in fields)
    return bytes((tag,)) + len(body).to_bytes(2, "little") + body


def _with_length(content: bytes) -> bytes:
    """ "Package Length Encoding": the length counts its own bytes."""
    if len(content) + 1 < 1 << 6:
        return bytes((len(content) + 1,)) + content
    for more in (1, 2, 3):
        length = len(content) + 1 + more
        if length < 1 << 4 + 8 * more:
            return bytes((more << 6 | length & 0xF,)) + (length >> 4).to_bytes(more, "little") + content
    raise ValueError(f"{len(content)} bytes are too many for a package")
