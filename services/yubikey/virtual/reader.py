"""A virtual YubiKey in a reader of the real PC/SC stack: the other end of vsmartcard's virtual reader driver (vpcd).

``python -m services.yubikey.virtual.reader --serial 42000001 --state DIRECTORY --port 19579``

vpcd listens for each of its two slots, on a port and on the next one. An empty slot costs ykman three seconds a call,
so the second is given a card that has no PIV and refuses all else.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from services.yubikey.virtual.directory import VirtualYubiKeys
from services.yubikey.virtual.faults import PowerLostError
from services.yubikey.virtual.piv_objects import PIV_AID

# The answer to reset of a YubiKey 5 over USB: https://smartcard-atr.apdu.fr, "YubiKey".
ATR = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")
OFF, ON, RESET, GET_ATR = 0, 1, 2, 4
NO_ANSWER, NOT_FOUND = bytes.fromhex("6f00"), bytes.fromhex("6a82")
Exchange = Callable[[bytes], bytes]


class Powered:
    """The device between power on and power off: each time it is a new connection, to which nothing was proved."""

    def __init__(self, yubikeys: VirtualYubiKeys, serial: int) -> None:
        self._yubikeys = yubikeys
        self._serial = serial
        self.reset()

    def reset(self) -> None:
        self._connection = self._yubikeys.open(self._serial)

    def exchange(self, apdu: bytes) -> bytes:
        try:
            data, status = self._connection.send_and_receive(apdu)
        except PowerLostError:
            return NO_ANSWER
        return data + status.to_bytes(2)


def serve(address: tuple[str, int], reset: Callable[[], None], exchange: Exchange, seen: Callable[[], None]) -> None:
    """Be the card in the slot that vpcd listens at *address* for, until vpcd hangs up. *seen*: pcscd asked for it."""
    with socket.create_connection(address) as connection:
        while (message := _receive(connection)) is not None:
            match message:
                case b"":
                    continue
                case _ if len(message) == 1:
                    if message[0] in (OFF, ON, RESET):
                        reset()
                    elif message[0] == GET_ATR:
                        _send(connection, ATR)
                        seen()
                case _:
                    _send(connection, exchange(message))


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


def _mute(apdu: bytes) -> bytes:
    """Not "not found" to everything: ykman would take that for a very old YubiKey."""
    return NOT_FOUND if apdu[5:].startswith(PIV_AID[:5]) else NO_ANSWER


def _nobody() -> None:
    pass


def _firmware(text: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virtual-reader", description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--serial", type=int, required=True, help="which device is in the reader")
    parser.add_argument("--firmware", type=_firmware, default=(5, 7, 4), help="of a device that is not made yet: 5.7.4")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=19579, help="where vpcd listens for the first slot")
    parser.add_argument("--state", type=Path, required=True, help="the directory that keeps the device")
    parser.add_argument("--tell", type=Path, help="a file to be made once pcscd has seen the card")
    parser.add_argument("--key-file", type=Path, help="32 bytes that seal it; default: zeros, for trying it out")
    return parser.parse_args()


def main() -> None:
    wanted = _arguments()
    key = wanted.key_file.read_bytes() if wanted.key_file else bytes(32)
    device = Powered(VirtualYubiKeys(wanted.state, key, [wanted.serial], wanted.firmware), wanted.serial)
    second = (wanted.host, wanted.port + 1), _nobody, _mute, _nobody
    threading.Thread(target=serve, args=second, daemon=True).start()
    try:
        serve((wanted.host, wanted.port), device.reset, device.exchange, wanted.tell.touch if wanted.tell else _nobody)
    except ConnectionError as error:
        sys.exit(f"virtual-reader: the virtual reader driver does not answer at port {wanted.port}: {error}")


if __name__ == "__main__":
    main()
