"""The words of the sagas about people and their devices: who comes, who goes, what is lost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.contracts.base import DeviceSerial, Id, Name, Text, ValidityDays
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.protocol import CompletionAnnouncement, StartSaga
from shared.contracts.saga.provisioning import PersonName, PivPurpose
from shared.contracts.yubikey.devices import (
    RoleName,
)
from shared.contracts.yubikey.lifecycle import (
    RetirementReason,
)

CertificateIds = Annotated[tuple[Id, ...], Field(max_length=64, description="all that are to be revoked")]
KeyIds = Annotated[tuple[Id, ...], Field(max_length=64, description="in custody, that are to be revoked")]


class StartPersonOnboarding(StartSaga):
    """A person gets a device, made ready for a role, with a key and a certificate in a slot for each purpose."""

    person_id: Text
    subject: PersonName
    yubikey_serial: DeviceSerial
    label: Name | None = Field(default=None, description="register the device under it; default: it is registered")
    role: RoleName
    issuer_id: Id
    purposes: Annotated[tuple[PivPurpose, ...], Field(min_length=1, max_length=4)] = (PivPurpose.AUTHENTICATION,)
    algorithm: Algorithm = Algorithm.EC_P256
    validity_days: ValidityDays


class PersonOnboardingCompleted(CompletionAnnouncement):
    person_id: Text
    yubikey_serial: DeviceSerial
    certificate_ids: tuple[Id, ...]


class StartPersonOffboarding(StartSaga):
    """A person goes: certificates and keys are revoked, the device is taken back and emptied. There is no way back."""

    person_id: Text
    certificate_ids: CertificateIds = ()
    key_ids: KeyIds = ()
    yubikey_serial: DeviceSerial | None = None
    reset: bool = Field(default=True, description="whether the device is emptied; it must be plugged in for that")


class PersonOffboardingCompleted(CompletionAnnouncement):
    person_id: Text


class StartDeviceLost(StartSaga):
    """A device is gone: nothing is put on it any more, what was on it is revoked. There is no way back."""

    yubikey_serial: DeviceSerial
    reported_by: Text | None = None
    location: Text | None = None
    certificate_ids: CertificateIds = ()
    key_ids: KeyIds = ()
    retire: RetirementReason | None = Field(default=None, description="and the device is retired for that reason")


class DeviceLostCompleted(CompletionAnnouncement):
    yubikey_serial: DeviceSerial
