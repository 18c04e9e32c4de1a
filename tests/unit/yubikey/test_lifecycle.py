"""Lifecycle of a device: given events, when a command, then an event or a rejection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.yubikey.core.domain import YUBIKEY
from services.yubikey.core.effects import AtDevice
from services.yubikey.core.states import SlotContent
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey import devices, lifecycle, secrets, slot_operations, slots
from shared.contracts.yubikey.lifecycle import (
    RetirementReason,
)
from shared.decider import AlreadyDone, Context, Perform, Rejection
from shared.messages.ids import derive_id
from tests.support.saga_simulation import NOON, START

SERIAL, SHA = "42000001", "0" * 64
SLOT_9A, SLOT_82 = slots.Slot.AUTHENTICATION, slots.Slot.RETIRED_1
ALICE, BOB = "alice@acme.example", "bob@acme.example"
ABOUT = {"serial": SERIAL}
REGISTERED = lifecycle.YubiKeyRegistered(**ABOUT, label="A-17")
ASSIGNED = lifecycle.YubiKeyAssigned(**ABOUT, person_id=ALICE, person_name="Alice")
LOST = lifecycle.YubiKeyLost(**ABOUT, person_id=ALICE, reported_by="alice", location=None)
RETIRED = lifecycle.YubiKeyRetired(**ABOUT, reason=RetirementReason.DAMAGED, replacement_serial=None)
SEALED = devices.YubiKeySealed(**ABOUT, simulated=True, config_sha256=SHA, slots=())
UNSEALED = lifecycle.YubiKeyUnsealed(**ABOUT, reason="why not")
RESET = devices.YubiKeyReset(**ABOUT, simulated=True)
DEREGISTERED = lifecycle.YubiKeyDeregistered(**ABOUT, reason="back")
REVOKED = lifecycle.YubiKeyAssignmentRevoked(**ABOUT, person_id=ALICE, reason="left")

BY_ONE, BY_ANOTHER = {"request_id": str(derive_id(START, "one"))}, {"request_id": str(derive_id(START, "another"))}
VOIDED = lifecycle.YubiKeyRequestVoided(**ABOUT, **BY_ONE, reason="left")

REGISTER = lifecycle.RegisterYubiKey(**ABOUT, label="A-17")
ASSIGN = lifecycle.AssignYubiKey(**ABOUT, person_id=ALICE, person_name="Alice")
TRANSFER = lifecycle.TransferYubiKey(**ABOUT, person_id=BOB)
UNASSIGN = lifecycle.UnassignYubiKey(**ABOUT, reason="left")
REPORT = lifecycle.ReportYubiKeyLost(**ABOUT)
RETIRE = lifecycle.RetireYubiKey(**ABOUT, reason=RetirementReason.DAMAGED)
UNSEAL = lifecycle.UnsealYubiKey(**ABOUT, reason="why not")
DEREGISTER = lifecycle.DeregisterYubiKey(**ABOUT, reason="back")
PROVISION = devices.ProvisionYubiKey(**ABOUT, role="person")
GENERATE = slots.GenerateSlotKey(**ABOUT, slot=SLOT_9A, algorithm=Algorithm.EC_P256)
CLEAR = slots.ClearSlot(**ABOUT, slot=SLOT_9A)
UNDO = slots.ClearSlot(**ABOUT, slot=SLOT_9A, key_id=str(START))
IMPORT_CERTIFICATE = slots.ImportSlotCertificate(**ABOUT, slot=SLOT_9A, certificate_pem="-----BEGIN X-----")
SIGN = slot_operations.SignInSlot(**ABOUT, slot=SLOT_9A, message=b"x", signature_algorithm=SignatureAlgorithm.ED25519)
ROTATE = secrets.RotateManagementKey(**ABOUT)
CONFIGURE_PIN = secrets.ConfigurePin(**ABOUT)


def decided(history, command):
    state = YUBIKEY.initial
    for event in history:
        state = YUBIKEY.evolve(state, event)
    return YUBIKEY.decide(state, command, Context(command_id=START, aggregate_id=SERIAL, at=NOON, actor="ada"))


@pytest.mark.parametrize(
    ("history", "command", "event"),
    [
        ([], REGISTER, REGISTERED),
        ([REGISTERED], ASSIGN, ASSIGNED),
        ([REGISTERED, ASSIGNED], UNASSIGN, REVOKED),
        ([REGISTERED, ASSIGNED, REVOKED], DEREGISTER, DEREGISTERED),
        ([REGISTERED, ASSIGNED], RETIRE, RETIRED),
        ([SEALED], UNSEAL, UNSEALED),
        (
            [REGISTERED, ASSIGNED],
            TRANSFER,
            lifecycle.YubiKeyTransferred(**ABOUT, from_person_id=ALICE, person_id=BOB, person_name=None),
        ),
        (
            [REGISTERED, ASSIGNED],
            REPORT,
            lifecycle.YubiKeyLost(**ABOUT, person_id=ALICE, reported_by="ada", location=None),
        ),
        ([LOST], RETIRE, RETIRED),
        ([REGISTERED], ASSIGN.model_copy(update=BY_ONE), ASSIGNED.model_copy(update=BY_ONE)),
        ([REGISTERED, ASSIGNED.model_copy(update=BY_ONE)], UNASSIGN.model_copy(update=BY_ONE), REVOKED),
        ([REGISTERED, ASSIGNED], UNASSIGN.model_copy(update=BY_ONE), VOIDED),  # by somebody else: it stays
        ([REGISTERED], UNASSIGN.model_copy(update=BY_ONE), VOIDED),
        ([REGISTERED, VOIDED], ASSIGN.model_copy(update=BY_ANOTHER), ASSIGNED.model_copy(update=BY_ANOTHER)),
        ([], DEREGISTER.model_copy(update={**BY_ONE, "reason": "left"}), VOIDED),
        ([REGISTERED.model_copy(update=BY_ONE)], DEREGISTER.model_copy(update=BY_ONE), DEREGISTERED),
        ([REGISTERED, LOST, RESET], ASSIGN, ASSIGNED),
    ],
)
def test_what_is_said_of_a_device_is_told(history, command, event):
    assert decided(history, command) == event


@pytest.mark.parametrize(
    ("history", "command"),
    [
        ([REGISTERED], REGISTER),
        ([], DEREGISTER),
        ([REGISTERED, ASSIGNED], ASSIGN),
        ([], UNASSIGN),
        ([LOST], REPORT),
        ([RETIRED], RETIRE),
        ([SEALED, UNSEALED], UNSEAL),
        ([VOIDED], UNASSIGN.model_copy(update=BY_ONE)),
        ([VOIDED], DEREGISTER.model_copy(update=BY_ONE)),
    ],
)
def test_what_stands_is_not_told_again(history, command):
    assert isinstance(decided(history, command), AlreadyDone)


@pytest.mark.parametrize(
    ("history", "command", "why"),
    [
        ([RETIRED], REGISTER, "is retired"),
        ([REGISTERED, ASSIGNED], DEREGISTER, "unassign first"),
        ([], ASSIGN, "not registered"),
        ([REGISTERED, DEREGISTERED], ASSIGN, "not registered"),
        ([REGISTERED, ASSIGNED], lifecycle.AssignYubiKey(**ABOUT, person_id=BOB), "yubikey.transfer"),
        ([REGISTERED], TRANSFER, "is not assigned"),
        ([REGISTERED, LOST], ASSIGN, "is lost"),
        ([REGISTERED, VOIDED], ASSIGN.model_copy(update=BY_ONE), "undone before it arrived"),
        ([VOIDED], REGISTER.model_copy(update=BY_ONE), "undone before it arrived"),
        ([RETIRED], REPORT, "retired already"),
        ([], PROVISION, "register and yubikey.assign"),
        ([REGISTERED, ASSIGNED, LOST], PROVISION, "is lost"),
        ([LOST], GENERATE, "is lost"),
        ([LOST], IMPORT_CERTIFICATE, "is lost"),
        ([RETIRED], SIGN, "is retired"),
        ([RETIRED, RESET], GENERATE, "is retired"),
        ([LOST], CONFIGURE_PIN, "is lost"),
        ([SEALED], GENERATE, "is sealed"),
        ([SEALED], IMPORT_CERTIFICATE, "is sealed"),
        ([SEALED], CLEAR, "is sealed"),
        ([SEALED], ROTATE, "is sealed"),
        ([REGISTERED, ASSIGNED, SEALED], PROVISION, "is sealed"),
    ],
)
def test_what_may_not_be_is_refused_with_the_reason(history, command, why):
    refused = decided(history, command)

    assert isinstance(refused, Rejection), refused
    assert (refused.code, why in refused.message) == (RejectionCode.CONFLICT, True), refused.message


def test_a_device_does_not_replace_itself():
    wish = lifecycle.RetireYubiKey(**ABOUT, reason=RetirementReason.UPGRADED, replacement_serial=SERIAL)
    assert decided([], wish).code is RejectionCode.INVALID


@pytest.mark.parametrize(
    ("history", "command"),
    [
        ([LOST], UNDO),
        ([LOST], slots.VerifySlot(**ABOUT, slot=SLOT_9A)),
        ([LOST], devices.DetectYubiKey(**ABOUT)),
        ([LOST], devices.ResetYubiKey(**ABOUT)),
        ([LOST], secrets.ReleaseSecret(**ABOUT, secret=secrets.DeviceSecret.PIN, recipient_public_key=bytes(32))),
        ([SEALED], UNDO),
        ([SEALED], CONFIGURE_PIN),
        ([SEALED], SIGN),
        ([SEALED], devices.ResetYubiKey(**ABOUT)),
        ([SEALED, RESET], GENERATE),
        ([REGISTERED, ASSIGNED], PROVISION),
    ],
)
def test_what_undoes_reads_or_begins_anew_is_done(history, command):
    assert isinstance(decided(history, command), Perform)


def test_what_is_asked_of_the_device_is_known_by_the_commands_id():
    assert decided([], ROTATE) == Perform(AtDevice(SERIAL, str(START), ROTATE))


def test_a_reset_empties_the_slots_and_a_move_takes_the_key_along():
    state = YUBIKEY.initial
    content = SlotContent(str(START), "-----BEGIN X-----")
    state = replace(state, slots={SLOT_9A: content})
    moved = YUBIKEY.evolve(state, slot_operations.SlotMoved(**ABOUT, simulated=True, slot=SLOT_9A, to=SLOT_82))

    assert moved.slots == {SLOT_82: content}
    assert YUBIKEY.evolve(moved, RESET).slots == {}
