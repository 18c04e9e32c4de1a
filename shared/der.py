"""As much of DER (X.690) as it takes to put a signature behind what it signs, and to name an account."""


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of already encoded *parts*."""
    return element(0x30, b"".join(parts))


def bit_string(content: bytes) -> bytes:
    """A BIT STRING of whole octets."""
    return element(0x03, b"\x00" + content)


def content(encoded: bytes, at: int = 0) -> tuple[int, int]:
    """Where the content of the DER element at *at* begins and ends (8.1.3; tags of one octet)."""
    length, begin = encoded[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, begin = int.from_bytes(encoded[begin : begin + octets]), begin + octets
    return begin, begin + length


def element(tag: int, content: bytes) -> bytes:
    """Any element whose tag is of one octet."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004 - X.690, 8.1.3.4: the short form
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content
