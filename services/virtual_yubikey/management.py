"""The management application: device information. The device has PIV over USB and no other application."""

from services.virtual_yubikey.iso7816 import Command, StatusError, StatusWord, tlv
from services.virtual_yubikey.session import Application, Instruction, Session
from services.virtual_yubikey.state import FORM_FACTOR, Device

PIV_CAPABILITY = (0x0010).to_bytes(2)


def select(device: Device) -> bytes:
    """Response to SELECT: a text that ends with the firmware version, as on a YubiKey."""
    major, minor, patch = device.firmware
    return f"Virtual mgr - FW version {major}.{minor}.{patch}".encode()


def read_config(session: Session, command: Command) -> bytes:
    """READ CONFIG (Yubico, configuration of YubiKey interfaces): one page, its length first."""
    if command.p1:
        raise StatusError(StatusWord.WRONG_P1_P2)
    device = session.device
    page = b"".join(
        (
            tlv(0x01, PIV_CAPABILITY),  # supported over USB
            tlv(0x02, device.serial.to_bytes(4)),
            tlv(0x03, PIV_CAPABILITY),  # enabled over USB
            tlv(0x04, bytes([FORM_FACTOR])),
            tlv(0x05, bytes(device.firmware)),
            tlv(0x06, b"\0\0"),  # no automatic eject
            tlv(0x07, b"\0"),  # no challenge-response time-out
            tlv(0x08, b"\0"),  # no device flags
            tlv(0x0A, b"\0"),  # no configuration lock
        )
    )
    return bytes([len(page)]) + page


MANAGEMENT = Application(
    aid=bytes.fromhex("A000000527471117"),
    select=select,
    instructions={0x1D: Instruction(read_config)},
)
