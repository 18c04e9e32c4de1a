"""Offboards a person: revokes certificates, publishes the CRLs, revokes keys, then frees the device. Forward only."""

from __future__ import annotations

from services.saga.core.definition import Definition, Step
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, publish_each_crl, revoke_each, revoke_each_key
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.saga.people import PersonOffboardingCompleted, StartPersonOffboarding
from shared.contracts.yubikey.devices import ResetYubiKey, YubiKeyReset
from shared.contracts.yubikey.lifecycle import UnassignYubiKey, YubiKeyAssignmentRevoked

Offboarding = Saga[StartPersonOffboarding]


def has_device(saga: Offboarding) -> bool:
    return saga.request.yubikey_serial is not None


def is_to_be_reset(saga: Offboarding) -> bool:
    return has_device(saga) and saga.request.reset


def unassign_device(saga: Offboarding) -> UnassignYubiKey:
    return UnassignYubiKey(serial=_serial(saga), reason=f"{saga.request.person_id} left")


def reset_device(saga: Offboarding) -> ResetYubiKey:
    return ResetYubiKey(serial=_serial(saga))


def completed(saga: Offboarding) -> PersonOffboardingCompleted:
    return PersonOffboardingCompleted(**saga.heading, person_id=saga.request.person_id)


def _serial(saga: Offboarding) -> str:
    assert saga.request.yubikey_serial is not None
    return saga.request.yubikey_serial


# fmt: off
PERSON_OFFBOARDING = Definition(
    saga_type="person-offboarding",
    request=StartPersonOffboarding,
    completed=completed,
    forward_only=True,
    steps=(
        revoke_each(RevocationReason.AFFILIATION_CHANGED, lambda saga: saga.request.certificate_ids),
        publish_each_crl(),
        revoke_each_key("its owner left", lambda saga: saga.request.key_ids),
        Step(unassign_device, YubiKeyAssignmentRevoked, already_done_ok=True, when=has_device),
        Step(reset_device,    YubiKeyReset, **UNATTENDED, when=is_to_be_reset),
    ),
)
# fmt: on
