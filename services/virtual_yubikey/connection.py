"""A virtual YubiKey as yubikit meets it: a smart card connection."""

from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from services.virtual_yubikey.card import Card


class VirtualConnection(SmartCardConnection):
    """A connection to one powered card, until it is closed."""

    def __init__(self, card: Card) -> None:
        self._card: Card | None = card

    @property
    def transport(self) -> TRANSPORT:
        """Behave as over USB."""
        return TRANSPORT.USB

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Exchange one APDU."""
        if self._card is None:
            raise ConnectionError("this connection to a virtual YubiKey is closed")
        return self._card.transmit(apdu)

    def close(self) -> None:
        """Take the power away, and with it all that was proved."""
        self._card = None
