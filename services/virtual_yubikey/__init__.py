"""Simulator of a YubiKey 5 at the level of APDUs, for development and tests without a device.

It works with unmodified yubikit. The name of its attestation root says that it is virtual. This distribution is
independent of the rest of the suite, and production images do not contain it.
"""

from services.virtual_yubikey.directory import VirtualYubiKeys
from services.virtual_yubikey.sealing import SealedFileError, reseal

__all__ = ["SealedFileError", "VirtualYubiKeys", "reseal"]
