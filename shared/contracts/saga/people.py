"""Start commands and completion events of the sagas for onboarding, offboarding and lost devices."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.contracts.base import DeviceSerial, Id, Name, Text, ValidityDays
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.protocol import Completed, StartSaga
from shared.contracts.saga.provisioning import PersonName, PivPurpose
from shared.contracts.yubikey.devices import (
    RoleName,
)
from shared.contracts.yubikey.lifecycle import (
    RetirementReason,
)

CertificateIds = Annotated[tuple[Id, ...], Field(max_length=64, description="certificates to revoke")]
KeyIds = Annotated[tuple[Id, ...], Field(max_length=64, description="keys in custody to revoke")]


class StartPersonOnboarding(StartSaga):
    """Provision a device for a person's role, with a key and a certificate in a slot for each purpose."""

    person_id: Text
    subject: PersonName
    yubikey_serial: DeviceSerial
    label: Name | None = Field(
        default=None, description="register the device with this label; default: it is registered already"
    )
    role: RoleName
    issuer_id: Id
    purposes: Annotated[tuple[PivPurpose, ...], Field(min_length=1, max_length=4)] = (PivPurpose.AUTHENTICATION,)
    algorithm: Algorithm = Algorithm.EC_P256
    validity_days: ValidityDays


class PersonOnboardingCompleted(Completed):
    person_id: Text
    yubikey_serial: DeviceSerial
    certificate_ids: tuple[Id, ...]


class StartPersonOffboarding(StartSaga):
    """Revoke a person's certificates and keys, and reset the device. This cannot be undone."""

    person_id: Text
    certificate_ids: CertificateIds = ()
    key_ids: KeyIds = ()
    yubikey_serial: DeviceSerial | None = None
    reset: bool = Field(default=True, description="reset the device, which must be plugged in")


class PersonOffboardingCompleted(Completed):
    person_id: Text


class StartDeviceLost(StartSaga):
    """Block a lost device and revoke its certificates and keys. This cannot be undone."""

    yubikey_serial: DeviceSerial
    reported_by: Text | None = None
    location: Text | None = None
    certificate_ids: CertificateIds = ()
    key_ids: KeyIds = ()
    retire: RetirementReason | None = Field(default=None, description="also retire the device, for this reason")


class DeviceLostCompleted(Completed):
    yubikey_serial: DeviceSerial
