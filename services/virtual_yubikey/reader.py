"""Virtual YubiKeys in readers of the real PC/SC stack: the other end of vsmartcard's virtual reader driver (vpcd).

``python -m services.virtual_yubikey.reader --serial 42000001 --state DIRECTORY --port 19579``

vpcd listens for each of its two slots, on a port and on the next one. An empty slot costs ykman three seconds a call,
so one that is left over is given a card that has no PIV and refuses all else.
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
REFUSED, NOT_FOUND = bytes.fromhex("6f00"), bytes.fromhex("6a82")
_EVERY = 0.02
_MISSED = 3
"""More than a client's last words to a card that is gone make pcscd ask for the ATR."""


class Card(Protocol):
    """What may be in a slot."""

    def is_there(self) -> bool: ...

    def reset(self) -> None:
        """Power is switched on or off: what was proved is forgotten. Raises KeyError where it is gone."""
        ...

    def exchange(self, apdu: bytes) -> bytes:
        """Raises PowerLostError where it is gone, or was without power in between."""
        ...


class Powered:
    """The device between power on and power off: each time it is a new connection, to which nothing was proved."""

    def __init__(self, yubikeys: VirtualYubiKeys, serial: int) -> None:
        self._yubikeys = yubikeys
        self._serial = serial

    def is_there(self) -> bool:
        return self._serial in self._yubikeys.serials()

    def reset(self) -> None:
        self._connection = self._yubikeys.open(self._serial)

    def exchange(self, apdu: bytes) -> bytes:
        data, status = self._connection.send_and_receive(apdu)
        return data + status.to_bytes(2)


class Mute:
    """A card for a slot that is left over. Not "not found" to everything: ykman takes that for a very old YubiKey."""

    def is_there(self) -> bool:
        return True

    def reset(self) -> None:
        pass

    def exchange(self, apdu: bytes) -> bytes:
        return NOT_FOUND if apdu[5:].startswith(PIV_AID[:5]) else REFUSED


def _nobody() -> None:
    pass


class Slot:
    """One slot that vpcd listens for at *address*. *card*: what is in it; *seen*: pcscd has asked for that."""

    def __init__(self, address: tuple[str, int], card: Card | None = None, seen: Callable[[], None] = _nobody) -> None:
        self._address = address
        self._seen = seen
        self.card = card

    def serve(self) -> None:
        """Be the card until vpcd hangs up. A card that is taken out, or loses its power, is gone from the reader; one
        that has power is put in again.
        """
        while True:
            if (card := self.card) is None or not card.is_there():
                time.sleep(_EVERY)
            elif not self._was_in_until_taken_out(card) or not self._is_missed():
                return

    def _was_in_until_taken_out(self, card: Card) -> bool:
        """False: vpcd has hung up."""
        with socket.create_connection(self._address) as connection, contextlib.suppress(KeyError, PowerLostError):
            card.reset()
            # vpcd asks for the ATR several times a second: that the card was taken out is noticed soon.
            while (message := _receive(connection)) is not None:
                if self.card is not card or not card.is_there():
                    return True
                self._answer(connection, card, message)
            return False
        return True

    def _answer(self, connection: socket.socket, card: Card, message: bytes) -> None:
        match message:
            case b"":
                pass
            case _ if len(message) == 1:
                if message[0] in (OFF, ON, RESET):
                    card.reset()
                elif message[0] == GET_ATR:
                    _send(connection, ATR)
                    self._seen()
            case _:
                _send(connection, card.exchange(message))

    def _is_missed(self) -> bool:
        """Stay away until pcscd has found no card, however often it was asked for one: it looks every 400 ms, and would
        not notice the next one if somebody who had this one told it first that it is gone. False: vpcd has hung up.
        """
        for _ in range(_MISSED):
            message: bytes | None = b""
            while message != bytes([GET_ATR]):
                with socket.create_connection(self._address) as connection:
                    message = _receive(connection)
                if message is None:
                    return False
        return True


def _receive(connection: socket.socket) -> bytes | None:
    """One frame: its length in two bytes, then that many. None: vpcd has hung up."""
    size = _receive_exactly(connection, 2)
    return None if size is None else _receive_exactly(connection, int.from_bytes(size))


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        # vpcd writes a frame in two, and Nagle's algorithm keeps the second till the first is acknowledged: 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not part:
            return None
        received += part
    return received


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(len(message).to_bytes(2) + message)


def serve_all(slots: Sequence[Slot]) -> None:
    """Until vpcd hangs up on one of them, or does not answer: ConnectionError."""
    ended: SimpleQueue[ConnectionError | None] = SimpleQueue()

    def serve(slot: Slot) -> None:
        try:
            slot.serve()
        except ConnectionError as error:
            ended.put(error)
        else:
            ended.put(None)

    for slot in slots:
        threading.Thread(target=serve, args=(slot,), daemon=True).start()
    if (error := ended.get()) is not None:
        raise error


def _firmware(text: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virtual-reader", description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--serial", type=int, action="append", required=True, help="which devices are in the readers")
    parser.add_argument("--firmware", type=_firmware, default=(5, 7, 4), help="of a device that is not made yet: 5.7.4")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=19579, help="where vpcd listens for the first slot")
    parser.add_argument("--state", type=Path, required=True, help="the directory that keeps the devices")
    parser.add_argument("--tell", type=Path, help="a file to be made once pcscd has seen the cards")
    parser.add_argument("--key-file", type=Path, help="32 bytes that seal them; default: zeros, for trying it out")
    return parser.parse_args()


def main() -> None:
    wanted = _arguments()
    key = wanted.key_file.read_bytes() if wanted.key_file else bytes(32)
    yubikeys = VirtualYubiKeys(wanted.state, key, wanted.serial, wanted.firmware)
    cards: list[Card] = [Powered(yubikeys, serial) for serial in wanted.serial]
    cards += [Mute()] * (len(cards) % 2)
    unseen = set(range(len(cards)))

    def seen(number: int) -> None:
        unseen.discard(number)
        if wanted.tell is not None and not unseen:
            wanted.tell.touch()

    slots = [Slot((wanted.host, wanted.port + n), card, partial(seen, n)) for n, card in enumerate(cards)]
    try:
        serve_all(slots)
    except ConnectionError as error:
        sys.exit(f"virtual-reader: the virtual reader driver does not answer at port {wanted.port}: {error}")


if __name__ == "__main__":
    main()
