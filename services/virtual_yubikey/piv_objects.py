"""Data objects of the PIV application, certificates among them."""

from services.virtual_yubikey.iso7816 import (
    Command,
    StatusError,
    StatusWord,
    parse_tlv,
    parse_tlvs,
    tlv,
)
from services.virtual_yubikey.session import Session

PIV_AID = bytes.fromhex("A000000308000010000100")
CURRENT_FILE = 0x3FFF
IDENTIFIER, CONTENT = 0x5C, 0x53
DISCOVERY = 0x7E
# Fingerprints, facial image, printed information and iris images (SP 800-73-4 part 1, table 2).
READ_WITH_PIN = {0x5FC103, 0x5FC108, 0x5FC109, 0x5FC121}
# YubiKeys accept any object in this range, beyond those that NIST defines.
WRITABLE = range(0x5F0000, 0x600000)


def get_data(session: Session, command: Command) -> bytes:
    """GET DATA (SP 800-73-4 part 2, 3.1.2)."""
    if command.parameters != CURRENT_FILE:
        raise StatusError(StatusWord.WRONG_P1_P2)
    identifier = int.from_bytes(parse_tlv(IDENTIFIER, command.data))
    if identifier == DISCOVERY:
        # The application PIN satisfies the access rules; there is no global PIN (part 1, 3.3.2).
        return tlv(DISCOVERY, tlv(0x4F, PIV_AID), tlv(0x5F2F, b"\x40\x00"))
    if identifier in READ_WITH_PIN:
        session.require_pin()
    if identifier not in session.device.objects:
        raise StatusError(StatusWord.FILE_NOT_FOUND)
    return tlv(CONTENT, session.device.objects[identifier])


def put_data(session: Session, command: Command) -> bytes:
    """PUT DATA (SP 800-73-4 part 2, 3.3.1); empty content removes the object."""
    session.require_management_key()
    if command.parameters != CURRENT_FILE:
        raise StatusError(StatusWord.WRONG_P1_P2)
    elements = parse_tlvs(command.data)
    identifier = int.from_bytes(elements.get(IDENTIFIER, b""))
    if identifier not in WRITABLE or CONTENT not in elements:
        raise StatusError(StatusWord.WRONG_DATA)
    session.device = session.device.with_object(identifier, elements[CONTENT] or None)
    return b""
