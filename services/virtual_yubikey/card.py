"""The card: dispatches command APDUs to the selected application, and stores changes.

It implements command chaining and GET RESPONSE (ISO/IEC 7816-4, 5.3.3 and 5.3.4).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

from services.virtual_yubikey.faults import (
    Delay,
    ErrorStatus,
    Fault,
    FaultPlan,
    PowerCut,
    PowerLostError,
    Removal,
    TouchSensor,
)
from services.virtual_yubikey.iso7816 import (
    CHAINING_BIT,
    Command,
    StatusError,
    StatusWord,
    parse_command,
)
from services.virtual_yubikey.sealing import SealedFile
from services.virtual_yubikey.session import Application, Session
from services.virtual_yubikey.state import Device, to_json

SELECT, GET_RESPONSE = 0xA4, 0xC0
SELECT_BY_NAME, MIN_NAME_LENGTH = 0x04, 5
# YubiKeys since 4.3 accept commands of about 3 kB, extended or chained.
MAX_COMMAND_BYTES = 3072


@dataclass(slots=True, kw_only=True)
class Memory:
    """A device with its file. The lock serialises APDUs.

    *power*: counts power cycles. *plan*: the faults to inject. *apdus*: number of APDUs since the plan was set.
    """

    device: Device
    file: SealedFile
    lock: Lock = field(default_factory=Lock)
    touch_sensor: TouchSensor = field(default_factory=TouchSensor)
    power: int = 1
    plugged: bool = True
    plan: FaultPlan | None = None
    apdus: int = 0

    def store(self, device: Device) -> None:
        """Writes the device if it changed. Only a written change survives a loss of power."""
        if device is not self.device:
            self.file.write(to_json(device))
            self.device = device


class Card:
    """A powered device with its volatile state, which a loss of power resets."""

    def __init__(self, memory: Memory, applications: Sequence[Application]) -> None:
        self._memory = memory
        self._applications = applications
        self._application: Application | None = None
        self._session = Session(device=memory.device, touch_sensor=memory.touch_sensor)
        self._power = memory.power
        self._chained: Command | None = None
        self._response = b""

    def transmit(self, apdu: bytes) -> tuple[bytes, int]:
        """Processes one command APDU. Returns response data and status word. Raises PowerLostError."""
        with self._memory.lock:
            self._require_power()
            fault, self._memory.apdus = self._fault(apdu), self._memory.apdus + 1
            match fault:
                case PowerCut(after=after) | Removal(after=after):
                    if after:
                        self._exchange(apdu)
                    self._memory.power += 1
                    self._memory.plugged = isinstance(fault, PowerCut)
                    self._require_power()
                case ErrorStatus(status=status):
                    return b"", status
                case Delay(seconds=seconds):
                    time.sleep(seconds)
                case None:
                    pass
            return self._exchange(apdu)

    def _require_power(self) -> None:
        if not self._memory.plugged or self._power != self._memory.power:
            raise PowerLostError("this virtual YubiKey was unplugged, or without power for a moment")

    def _fault(self, apdu: bytes) -> Fault | None:
        return self._memory.plan(self._memory.apdus, apdu) if self._memory.plan is not None else None

    def _exchange(self, apdu: bytes) -> tuple[bytes, int]:
        try:
            return self._process(parse_command(apdu))
        except StatusError as error:
            return b"", error.status

    def _process(self, command: Command) -> tuple[bytes, int]:
        if command.ins == GET_RESPONSE and self._response:
            return self._next_piece(command.expected)
        self._response = b""
        if command.cla & ~CHAINING_BIT:  # no secure messaging and no logical channels
            raise StatusError(StatusWord.CLASS_NOT_SUPPORTED)
        command = self._append(command)
        if command.cla & CHAINING_BIT:
            self._chained = command
            return b"", StatusWord.SUCCESS
        self._response = self._select(command) if command.ins == SELECT else self._run(command)
        return self._next_piece(command.expected)

    def _append(self, command: Command) -> Command:
        """Appends to a chained command. A command with another header starts a new chain."""
        before, self._chained = self._chained, None
        if before and (before.ins, before.parameters) == (command.ins, command.parameters):
            command = replace(command, data=before.data + command.data)
        if len(command.data) > MAX_COMMAND_BYTES:
            raise StatusError(StatusWord.WRONG_LENGTH)
        return command

    def _next_piece(self, expected: int) -> tuple[bytes, int]:
        piece, self._response = self._response[:expected], self._response[expected:]
        if not self._response:
            return piece, StatusWord.SUCCESS
        left = len(self._response)
        return piece, 0x6100 | (left if left < 0x100 else 0)

    def _select(self, command: Command) -> bytes:
        if command.p1 != SELECT_BY_NAME:
            raise StatusError(StatusWord.WRONG_P1_P2)
        for application in self._applications:
            if len(command.data) >= MIN_NAME_LENGTH and application.aid.startswith(command.data):
                self._application = application
                # A repeated SELECT resets the PIN status on a YubiKey, although SP 800-73-4
                # part 2, 3.1.1 keeps the security status then.
                self._session = Session(device=self._memory.device, touch_sensor=self._memory.touch_sensor)
                return application.select(self._memory.device)
        raise StatusError(StatusWord.FILE_NOT_FOUND)

    def _run(self, command: Command) -> bytes:
        session, firmware = self._session, self._memory.device.firmware
        instructions = self._application.instructions if self._application else {}
        instruction = instructions.get(command.ins)
        if instruction is None or firmware < instruction.since:
            raise StatusError(StatusWord.INSTRUCTION_NOT_SUPPORTED)
        session.device, expected_response = self._memory.device, session.expected_response
        try:
            response = instruction.run(session, command)
        except StatusError:
            self._memory.store(session.device)  # a wrong PIN changes the retry counter
            raise
        self._memory.store(session.device)
        if session.expected_response is expected_response:  # firmware 5.7 drops an unanswered challenge
            session.expected_response = None
        return response
