"""Virtual devices that a test plugs in and out, and touches late or never, while a service runs."""

from yubikit.core.smartcard import SW, SmartCardConnection

from services.yubikey.errors import DeviceAbsentError
from services.yubikey.readers.virtual import VirtualDevices

GENERAL_AUTHENTICATE, MANAGEMENT_KEY_SLOT = 0x87, 0x9B


class PluggableDevices(VirtualDevices):
    """*untouched*: number of touch requests of each device that fail before one succeeds."""

    def __init__(self, directory, key, serials):
        super().__init__(directory, key, serials)
        self.plugged = set(serials)
        self.untouched = {}
        self.tries = dict.fromkeys(serials, 0)

    def serials(self):
        return sorted(self.plugged)

    def open(self, serial):
        if serial not in self.plugged:
            raise DeviceAbsentError(serial)
        return Touchable(super().open(serial), self, serial)


class Touchable(SmartCardConnection):
    """Returns 6982 to the second half of a mutual authentication, like a YubiKey that was not touched."""

    def __init__(self, connection, hands, serial):
        self._connection = connection
        self._hands = hands
        self._serial = serial

    @property
    def transport(self):
        return self._connection.transport

    def send_and_receive(self, apdu):
        answers_witness = apdu[1] == GENERAL_AUTHENTICATE and apdu[3] == MANAGEMENT_KEY_SLOT and len(apdu) > 12
        if answers_witness and self._serial in self._hands.untouched:
            self._hands.tries[self._serial] += 1
            if self._hands.untouched[self._serial] > 0:
                self._hands.untouched[self._serial] -= 1
                return b"", SW.SECURITY_CONDITION_NOT_SATISFIED
        return self._connection.send_and_receive(apdu)

    def close(self):
        self._connection.close()
