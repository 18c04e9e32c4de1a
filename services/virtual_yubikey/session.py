"""Session state of a card, which a SELECT or a loss of power resets, and the table of an application."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.virtual_yubikey.faults import TouchSensor
from services.virtual_yubikey.iso7816 import Command, StatusError, StatusWord
from services.virtual_yubikey.state import Device, Firmware


@dataclass(slots=True, kw_only=True)
class Session:
    """The device, and its security status since the application was selected."""

    device: Device
    touch_sensor: TouchSensor
    pin_verified: bool = False
    # Verified since the last use of a private key: PIN policy "always" requires it.
    pin_fresh: bool = False
    management_authenticated: bool = False
    # Expected response of the host in management key authentication: tag and value.
    expected_response: tuple[int, bytes] | None = None

    def require_management_key(self) -> None:
        """Raises StatusError unless the management key is authenticated."""
        if not self.management_authenticated:
            raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)

    def require_pin(self) -> None:
        """Raises StatusError unless the PIN is verified."""
        if not self.pin_verified:
            raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)

    def require_touch(self, *, cached: bool = False) -> None:
        """Waits for a touch. Raises StatusError if there is none in time."""
        if not self.touch_sensor.wait_for_touch(cached=cached):
            raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)

    def reset_pin_status(self) -> None:
        """Resets the security status of the PIN."""
        self.pin_verified = self.pin_fresh = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """Implementation of an INS, and the first firmware that has it."""

    run: Callable[[Session, Command], bytes]
    since: Firmware = (4, 3, 0)


@dataclass(frozen=True, slots=True)
class Application:
    """An application of the card: AID, response to SELECT, and instructions by INS."""

    aid: bytes
    select: Callable[[Device], bytes]
    instructions: Mapping[int, Instruction]
