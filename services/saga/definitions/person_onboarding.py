"""Onboards a person: assigns a device, provisions it for a role, and starts one slot provisioning for each purpose.

The undo covers the slot provisionings, each with its certificate, and the assignment. The PIN, PUK and management key
that the device was given stay: the YubiKey service has them.
"""

from __future__ import annotations

from services.saga.core.definition import Definition, Each, Step, Undo, child
from services.saga.core.state import Saga
from shared.contracts.saga.people import PersonOnboardingCompleted, StartPersonOnboarding
from shared.contracts.saga.provisioning import (
    CertificateProvisioningCompleted,
    KeyOrigin,
    PivPurpose,
    StartCertificateProvisioning,
)
from shared.contracts.yubikey import lifecycle
from shared.contracts.yubikey.devices import ProvisionYubiKey, YubiKeyProvisioned

Onboarding = Saga[StartPersonOnboarding]


def has_label(saga: Onboarding) -> bool:
    return saga.request.label is not None


def register_device(saga: Onboarding) -> lifecycle.RegisterYubiKey:
    return lifecycle.RegisterYubiKey(
        serial=saga.request.yubikey_serial, label=saga.request.label or "", request_id=saga.id_of("registration")
    )


def deregister_device(saga: Onboarding) -> lifecycle.DeregisterYubiKey:
    return lifecycle.DeregisterYubiKey(
        serial=saga.request.yubikey_serial, reason="the onboarding was undone", request_id=saga.id_of("registration")
    )


def assign_device(saga: Onboarding) -> lifecycle.AssignYubiKey:
    request = saga.request
    return lifecycle.AssignYubiKey(
        serial=request.yubikey_serial,
        person_id=request.person_id,
        person_name=request.subject.common_name,
        request_id=saga.id_of("assignment"),
    )


def unassign_device(saga: Onboarding) -> lifecycle.UnassignYubiKey:
    return lifecycle.UnassignYubiKey(
        serial=saga.request.yubikey_serial, reason="the onboarding was undone", request_id=saga.id_of("assignment")
    )


def provision_device(saga: Onboarding) -> ProvisionYubiKey:
    return ProvisionYubiKey(serial=saga.request.yubikey_serial, role=saga.request.role)


def provision_slot(saga: Onboarding, item: str) -> StartCertificateProvisioning:
    """Starts the provisioning of the slot for purpose *item*."""
    request = saga.request
    return StartCertificateProvisioning(
        saga_id=saga.id_of(f"provisioning/{item}"),
        issuer_id=request.issuer_id,
        subject=request.subject,
        purpose=PivPurpose(item),
        yubikey_serial=request.yubikey_serial,
        algorithm=request.algorithm,
        key_origin=KeyOrigin.ON_DEVICE,
        validity_days=request.validity_days,
    )


def completed(saga: Onboarding) -> PersonOnboardingCompleted:
    provisioned = (each.event for each in saga.outcomes if isinstance(each.event, CertificateProvisioningCompleted))
    return PersonOnboardingCompleted(
        **saga.heading,
        person_id=saga.request.person_id,
        yubikey_serial=saga.request.yubikey_serial,
        certificate_ids=tuple(event.certificate_id for event in provisioned),
    )


_voided = lifecycle.YubiKeyRequestVoided
_deregistered = (Undo(deregister_device, (lifecycle.YubiKeyDeregistered, _voided)),)
_unassigned = (Undo(unassign_device, (lifecycle.YubiKeyAssignmentRevoked, _voided)),)

# fmt: off
PERSON_ONBOARDING = Definition(
    saga_type="person-onboarding",
    request=StartPersonOnboarding,
    completed=completed,
    steps=(
        Step(register_device,  lifecycle.YubiKeyRegistered, when=has_label, already_done_ok=True, undo=_deregistered),
        Step(assign_device,    lifecycle.YubiKeyAssigned, already_done_ok=True, undo=_unassigned),
        Step(provision_device, YubiKeyProvisioned),
        Each(child(provision_slot, CertificateProvisioningCompleted), lambda saga: saga.request.purposes),
    ),
)
# fmt: on
