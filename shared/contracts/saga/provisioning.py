"""Start command and completion event of the saga that puts a key and a certificate on a YubiKey."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.contracts.base import DeviceSerial, Fingerprint, Id, Name, Pem, ValidityDays
from shared.contracts.certificate.value_types import Email
from shared.contracts.key.value_types import Algorithm, Value
from shared.contracts.saga.protocol import Completed, StartSaga
from shared.contracts.yubikey.slots import AnySlot, Slot


class PivPurpose(StrEnum):
    AUTHENTICATION = "authentication"
    DIGITAL_SIGNATURE = "digital-signature"
    KEY_MANAGEMENT = "key-management"
    CARD_AUTHENTICATION = "card-authentication"


class KeyOrigin(StrEnum):
    ON_DEVICE = "on-device"
    IMPORTED = "imported"


class PersonName(Value):
    common_name: Name
    email: Email | None = None
    organization: Name | None = None


class StartCertificateProvisioning(StartSaga):
    issuer_id: Id
    subject: PersonName
    purpose: PivPurpose
    yubikey_serial: DeviceSerial
    slot: AnySlot | None = Field(default=None, description="default: the purpose's own (9a, 9c, 9d, 9e)")
    replace: bool = Field(default=False, description="true: the content of the slot may be overwritten")
    algorithm: Algorithm = Algorithm.EC_P256
    key_origin: KeyOrigin
    validity_days: ValidityDays


class CertificateProvisioningCompleted(Completed):
    key_id: Id
    certificate_id: Id
    slot: Slot
    fingerprint_sha256: Annotated[Fingerprint, Field(description="of the certificate's DER")]
    certificate_pem: Pem
