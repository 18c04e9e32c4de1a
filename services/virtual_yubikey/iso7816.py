"""Command APDUs, BER-TLV and status words (ISO/IEC 7816-4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

SHORT_RESPONSE = 0x100
EXTENDED_RESPONSE = 0x10000
CHAINING_BIT = 0x10


class StatusWord(IntEnum):
    """Status words that this card returns."""

    SUCCESS = 0x9000
    RETRIES_LEFT = 0x63C0
    WRONG_LENGTH = 0x6700
    SECURITY_STATUS_NOT_SATISFIED = 0x6982
    AUTHENTICATION_BLOCKED = 0x6983
    CONDITIONS_NOT_SATISFIED = 0x6985
    WRONG_DATA = 0x6A80
    FILE_NOT_FOUND = 0x6A82
    WRONG_P1_P2 = 0x6A86
    REFERENCE_NOT_FOUND = 0x6A88
    INSTRUCTION_NOT_SUPPORTED = 0x6D00
    CLASS_NOT_SUPPORTED = 0x6E00


class StatusError(Exception):
    """A command ends with a status word other than success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command APDU. *expected*: maximum number of response bytes (Ne)."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    expected: int

    @property
    def parameters(self) -> int:
        """P1 and P2 as one number."""
        return self.p1 << 8 | self.p2


def parse_command(apdu: bytes) -> Command:
    """Parses a short or extended command APDU (ISO/IEC 7816-4, 5.1).

    Without Le, a card would return no data. A YubiKey returns up to 256 bytes, and yubikit, which never sends Le,
    relies on that.
    """
    if len(apdu) < 4:
        raise StatusError(StatusWord.WRONG_LENGTH)
    cla, ins, p1, p2 = apdu[:4]
    data, expected = _parse_body(apdu[4:])
    return Command(cla=cla, ins=ins, p1=p1, p2=p2, data=data, expected=expected)


def _parse_body(body: bytes) -> tuple[bytes, int]:
    if not body:
        return b"", SHORT_RESPONSE
    if len(body) == 1:
        return b"", body[0] or SHORT_RESPONSE
    if body[0]:
        length, start, le_size, max_expected = body[0], 1, 1, SHORT_RESPONSE
    elif len(body) == 3:
        return b"", int.from_bytes(body[1:]) or EXTENDED_RESPONSE
    elif len(body) == 2:
        raise StatusError(StatusWord.WRONG_LENGTH)
    else:
        length, start, le_size, max_expected = int.from_bytes(body[1:3]), 3, 2, EXTENDED_RESPONSE
    data, le = body[start : start + length], body[start + length :]
    if len(data) < length or len(le) not in (0, le_size):
        raise StatusError(StatusWord.WRONG_LENGTH)
    if not le:
        return data, SHORT_RESPONSE
    return data, int.from_bytes(le) or max_expected


def tlv(tag: int, *values: bytes) -> bytes:
    """Encodes a BER-TLV whose value is the concatenation of *values*."""
    value = b"".join(values)
    if len(value) < 0x80:
        length = bytes([len(value)])
    else:
        size = _octets(len(value))
        length = bytes([0x80 | len(size)]) + size
    return _octets(tag) + length + value


def parse_tlvs(data: bytes) -> dict[int, bytes]:
    """Parses *data* as BER-TLVs, by tag. Raises StatusError (wrong data) if it is malformed."""
    return dict(_each_tlv(data))


def parse_tlv(tag: int, data: bytes) -> bytes:
    """Returns the value of *data*, which must be one BER-TLV with this tag."""
    match list(_each_tlv(data)):
        case [(found, value)] if found == tag:
            return value
    raise StatusError(StatusWord.WRONG_DATA)


def _each_tlv(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        try:
            tag, at = data[at], at + 1
            if tag & 0x1F == 0x1F:  # a tag of two bytes or more; PIV has none longer than two
                tag, at = tag << 8 | data[at], at + 1
            length, at = data[at], at + 1
            if length > 0x80:
                size = length & 0x7F
                length, at = int.from_bytes(data[at : at + size]), at + size
        except IndexError:
            raise StatusError(StatusWord.WRONG_DATA) from None
        value = data[at : at + length]
        if len(value) < length:
            raise StatusError(StatusWord.WRONG_DATA)
        yield tag, value
        at += length


def _octets(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8))
