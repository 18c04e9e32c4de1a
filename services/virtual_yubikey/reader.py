"""Virtual YubiKeys in PC/SC readers: the card side of vsmartcard's virtual reader driver (vpcd).

``python -m services.virtual_yubikey.reader --serial 42000001 --state DIRECTORY --port 19579``

vpcd listens for each of its two slots, on a port and on the next one. An empty slot costs ykman three seconds a call,
so a slot without a device gets a card without PIV.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from services.virtual_yubikey.directory import VirtualYubiKeys
from services.virtual_yubikey.faults import PowerLostError
from services.virtual_yubikey.piv_objects import PIV_AID

# The answer to reset of a YubiKey 5 over USB: https://smartcard-atr.apdu.fr, "YubiKey".
ATR = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")
OFF, ON, RESET, GET_ATR = 0, 1, 2, 4
NO_DIAGNOSIS, NOT_FOUND = bytes.fromhex("6f00"), bytes.fromhex("6a82")
_POLL_INTERVAL_S = 0.02
_ATR_REQUESTS_WITHOUT_CARD = 3
"""More requests than pcscd makes for a client that still talks to the removed card."""


class InsertableCard(Protocol):
    """A card in a slot of a reader."""

    def is_present(self) -> bool: ...

    def reset(self) -> None:
        """Powers the card on or off, which resets its security status. Raises KeyError if it was removed."""
        ...

    def exchange(self, apdu: bytes) -> bytes:
        """Exchanges an APDU. Raises PowerLostError if the card was removed or lost its power."""
        ...


class PoweredCard:
    """A virtual YubiKey in a slot. Each reset opens a new connection, without security status."""

    def __init__(self, yubikeys: VirtualYubiKeys, serial: int) -> None:
        self._yubikeys = yubikeys
        self._serial = serial

    def is_present(self) -> bool:
        return self._serial in self._yubikeys.serials()

    def reset(self) -> None:
        self._connection = self._yubikeys.open(self._serial)

    def exchange(self, apdu: bytes) -> bytes:
        data, status = self._connection.send_and_receive(apdu)
        return data + status.to_bytes(2)


class CardWithoutPiv:
    """A card for a slot without a device. ykman takes a card that answers only 6A82 for a very old YubiKey."""

    def is_present(self) -> bool:
        return True

    def reset(self) -> None:
        pass

    def exchange(self, apdu: bytes) -> bytes:
        return NOT_FOUND if apdu[5:].startswith(PIV_AID[:5]) else NO_DIAGNOSIS


def _ignore() -> None:
    pass


class ReaderSlot:
    """A slot of the reader; vpcd listens at *address*. *on_atr_read*: called when pcscd has read the card's ATR."""

    def __init__(
        self, address: tuple[str, int], card: InsertableCard | None = None, on_atr_read: Callable[[], None] = _ignore
    ) -> None:
        self._address = address
        self._on_atr_read = on_atr_read
        self.card = card

    def serve(self) -> None:
        """Serves the card until vpcd closes the connection.

        A card that is removed or loses its power disappears from the reader, and reappears once it has power again.
        """
        while True:
            if (card := self.card) is None or not card.is_present():
                time.sleep(_POLL_INTERVAL_S)
            elif not self._serve_until_removed(card) or not self._wait_until_noticed():
                return

    def _serve_until_removed(self, card: InsertableCard) -> bool:
        """Returns False if vpcd closed the connection."""
        with socket.create_connection(self._address) as connection, contextlib.suppress(KeyError, PowerLostError):
            card.reset()
            # vpcd requests the ATR several times a second, so a removal is noticed soon.
            while (message := _receive(connection)) is not None:
                if self.card is not card or not card.is_present():
                    return True
                self._respond(connection, card, message)
            return False
        return True

    def _respond(self, connection: socket.socket, card: InsertableCard, message: bytes) -> None:
        match message:
            case b"":
                pass
            case _ if len(message) == 1:
                if message[0] in (OFF, ON, RESET):
                    card.reset()
                elif message[0] == GET_ATR:
                    _send(connection, ATR)
                    self._on_atr_read()
            case _:
                _send(connection, card.exchange(message))

    def _wait_until_noticed(self) -> bool:
        """Stays away until pcscd has noticed the empty slot. Returns False if vpcd closed the connection.

        pcscd polls every 400 ms. If a client fails on the removed card and the card is back before the next poll,
        pcscd never detects the new card.
        """
        for _ in range(_ATR_REQUESTS_WITHOUT_CARD):
            message: bytes | None = b""
            while message != bytes([GET_ATR]):
                with socket.create_connection(self._address) as connection:
                    message = _receive(connection)
                if message is None:
                    return False
        return True


def _receive(connection: socket.socket) -> bytes | None:
    """Receives one frame: two bytes of length, then the content. None: vpcd closed the connection."""
    size = _receive_exactly(connection, 2)
    return None if size is None else _receive_exactly(connection, int.from_bytes(size))


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        # vpcd sends a frame in two writes. Nagle's algorithm delays the second until the first is acknowledged: 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not part:
            return None
        received += part
    return received


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(len(message).to_bytes(2) + message)


def serve_slots(slots: Sequence[ReaderSlot]) -> None:
    """Serves all slots until vpcd closes a connection. Raises ConnectionError if vpcd does not accept one."""
    results: SimpleQueue[ConnectionError | None] = SimpleQueue()

    def serve(slot: ReaderSlot) -> None:
        try:
            slot.serve()
        except ConnectionError as error:
            results.put(error)
        else:
            results.put(None)

    for slot in slots:
        threading.Thread(target=serve, args=(slot,), daemon=True).start()
    if (error := results.get()) is not None:
        raise error


def _firmware(text: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virtual-reader", description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument(
        "--serial", type=int, action="append", required=True, help="serial number of a device; may be repeated"
    )
    parser.add_argument(
        "--firmware", type=_firmware, default=(5, 7, 4), help="version of a device that does not exist yet (5.7.4)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=19579, help="port of vpcd for the first slot")
    parser.add_argument("--state", type=Path, required=True, help="directory of the devices")
    parser.add_argument("--tell", type=Path, help="file to create once pcscd has detected the cards")
    parser.add_argument("--key-file", type=Path, help="file with the 32-byte sealing key; default: zeros, for trials")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    key = arguments.key_file.read_bytes() if arguments.key_file else bytes(32)
    yubikeys = VirtualYubiKeys(arguments.state, key, arguments.serial, arguments.firmware)
    cards: list[InsertableCard] = [PoweredCard(yubikeys, serial) for serial in arguments.serial]
    cards += [CardWithoutPiv()] * (len(cards) % 2)
    undetected = set(range(len(cards)))

    def on_atr_read(number: int) -> None:
        undetected.discard(number)
        if arguments.tell is not None and not undetected:
            arguments.tell.touch()

    slots = [
        ReaderSlot((arguments.host, arguments.port + n), card, partial(on_atr_read, n)) for n, card in enumerate(cards)
    ]
    try:
        serve_slots(slots)
    except ConnectionError as error:
        sys.exit(f"virtual-reader: vpcd does not accept connections at port {arguments.port}: {error}")


if __name__ == "__main__":
    main()
