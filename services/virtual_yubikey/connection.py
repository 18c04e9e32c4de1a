"""Smart card connection of yubikit to a virtual YubiKey."""

from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from services.virtual_yubikey.card import Card


class VirtualConnection(SmartCardConnection):
    """A connection to a powered card."""

    def __init__(self, card: Card) -> None:
        self._card: Card | None = card

    @property
    def transport(self) -> TRANSPORT:
        """USB, like a YubiKey in a port."""
        return TRANSPORT.USB

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Exchanges one APDU."""
        if self._card is None:
            raise ConnectionError("this connection to a virtual YubiKey is closed")
        return self._card.transmit(apdu)

    def close(self) -> None:
        """Powers the card off, which resets its security status."""
        self._card = None
