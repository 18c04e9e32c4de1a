"""Minimal DER encoder and reader (X.690) for joining and splitting encoded elements (ADR 0031)."""


def sequence(*parts: bytes) -> bytes:
    """Encodes a SEQUENCE of encoded *parts*."""
    return element(0x30, b"".join(parts))


def bit_string(octets: bytes) -> bytes:
    """Encodes a BIT STRING of whole octets."""
    return element(0x03, b"\x00" + octets)


def content(encoded: bytes, at: int = 0) -> tuple[int, int]:
    """Returns begin and end of the content of the element at *at* (8.1.3; tags of one octet)."""
    length, begin = encoded[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, begin = int.from_bytes(encoded[begin : begin + octets]), begin + octets
    return begin, begin + length


def element(tag: int, value: bytes) -> bytes:
    """Encodes an element with a tag of one octet."""
    length = len(value)
    if length < 0x80:  # noqa: PLR2004 - X.690, 8.1.3.4: the short form
        return bytes([tag, length]) + value
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + value
