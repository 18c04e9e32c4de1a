"""A YubiKey 5 made of Python, at the level of APDUs, for machines that have none plugged in.

Unmodified yubikit takes it for a device; its attestation root says in its name that it is not one.
"""

from services.virtual_yubikey.directory import VirtualYubiKeys
from services.virtual_yubikey.sealing import SealedFileError, reseal

__all__ = ["SealedFileError", "VirtualYubiKeys", "reseal"]
