"""What a card knows until its application is selected again or its power goes, and its shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.virtual_yubikey.faults import Finger
from services.virtual_yubikey.iso7816 import Command, StatusError, StatusWord
from services.virtual_yubikey.state import Device, Firmware


@dataclass(slots=True)
class Session:
    """The device, and what has been proved to it since the application was selected."""

    device: Device
    finger: Finger
    pin_verified: bool = False
    # Proved since a private key was last used: what a PIN policy of "always" asks for.
    pin_fresh: bool = False
    management_authenticated: bool = False
    # The answer awaited from the host in management key authentication: its tag and its bytes.
    awaited: tuple[int, bytes] | None = None

    def require_management_key(self) -> None:
        """Refuse what only an administrator may do."""
        if not self.management_authenticated:
            raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)

    def require_pin(self) -> None:
        """Refuse what only the holder may do."""
        if not self.pin_verified:
            raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)

    def require_touch(self, *, cached: bool = False) -> None:
        """Refuse what is not touched in time."""
        if not self.finger.touches(cached=cached):
            raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)

    def forget_pin(self) -> None:
        """Ask for the PIN again."""
        self.pin_verified = self.pin_fresh = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """What an INS does, and the firmware that brought it."""

    run: Callable[[Session, Command], bytes]
    since: Firmware = (4, 3, 0)


@dataclass(frozen=True, slots=True)
class Application:
    """One application of the card: its AID, its answer to SELECT and its table of instructions."""

    aid: bytes
    select: Callable[[Device], bytes]
    instructions: Mapping[int, Instruction]
