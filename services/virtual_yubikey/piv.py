"""The PIV application: a table of instructions by INS.

SP 800-73-4 part 2 defines the instructions below F0, and Yubico's PIV extensions those from F6 on.
"""

from services.virtual_yubikey.iso7816 import Command, StatusError, StatusWord, tlv
from services.virtual_yubikey.piv_authentication import (
    MANAGEMENT_KEY,
    authenticate_management_key,
    change_reference,
    reset_retry,
    set_management_key,
    set_retries,
    verify,
)
from services.virtual_yubikey.piv_objects import PIV_AID, get_data, put_data
from services.virtual_yubikey.piv_slots import (
    attest_key,
    generate_key,
    get_metadata,
    import_asymmetric,
    move_key,
    use_key,
)
from services.virtual_yubikey.session import Application, Instruction, Session
from services.virtual_yubikey.state import Device

REGISTERED_PROVIDER = PIV_AID[:5]


def select(_device: Device) -> bytes:
    """Response to SELECT: the application property template (SP 800-73-4 part 2, 3.1.1)."""
    provider = tlv(0x79, tlv(0x4F, REGISTERED_PROVIDER))
    return tlv(0x61, tlv(0x4F, PIV_AID[len(REGISTERED_PROVIDER) :]), provider)


def general_authenticate(session: Session, command: Command) -> bytes:
    """GENERAL AUTHENTICATE (SP 800-73-4 part 2, 3.2.4) with the management key or the key of a slot."""
    if command.p2 == MANAGEMENT_KEY:
        return authenticate_management_key(session, command)
    return use_key(session, command)


def get_version(session: Session, _command: Command) -> bytes:
    """GET VERSION (Yubico): the firmware version."""
    return bytes(session.device.firmware)


def get_serial(session: Session, _command: Command) -> bytes:
    """GET SERIAL (Yubico)."""
    return session.device.serial.to_bytes(4)


def reset(session: Session, _command: Command) -> bytes:
    """RESET (Yubico): factory reset, allowed only while both PIN and PUK are blocked."""
    if any(reference.remaining for reference in session.device.references.values()):
        raise StatusError(StatusWord.CONDITIONS_NOT_SATISFIED)
    session.device = session.device.reset()
    session.reset_pin_status()
    session.management_authenticated = False
    return b""


PIV = Application(
    aid=PIV_AID,
    select=select,
    instructions={
        0x20: Instruction(verify),
        0x24: Instruction(change_reference),
        0x2C: Instruction(reset_retry),
        0x47: Instruction(generate_key),
        0x87: Instruction(general_authenticate),
        0xCB: Instruction(get_data),
        0xDB: Instruction(put_data),
        0xF6: Instruction(move_key, since=(5, 7, 0)),
        0xF7: Instruction(get_metadata, since=(5, 3, 0)),
        0xF8: Instruction(get_serial, since=(5, 0, 3)),
        0xF9: Instruction(attest_key),
        0xFA: Instruction(set_retries),
        0xFB: Instruction(reset),
        0xFD: Instruction(get_version),
        0xFE: Instruction(import_asymmetric),
        0xFF: Instruction(set_management_key),
    },
)
