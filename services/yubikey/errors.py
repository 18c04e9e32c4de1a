"""Errors that a device operation raises; the performer turns them into rejections."""

from __future__ import annotations

from shared.contracts.rejection import RejectionCode


class DeviceError(Exception):
    """A device operation failed; the message is for the user who sent the command."""

    def __init__(self, code: RejectionCode, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class DeviceAbsentError(DeviceError):
    """The device is in no reader of this machine."""

    def __init__(self, serial: int | str) -> None:
        problem = f"YubiKey {serial} is not plugged in"
        super().__init__(RejectionCode.UNAVAILABLE, problem, retryable=True)


class DeviceBusyError(DeviceError):
    """Another program uses the device, or it was removed during the operation: a retry can succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(RejectionCode.UNAVAILABLE, message, retryable=True)
