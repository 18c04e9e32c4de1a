"""A person's key and certificate onto a YubiKey slot, the key made on the device or imported into it.

On-device: made in the slot, attested, certified, verified. Imported: made by the key service, certified, sealed to the
device's service, verified; the software copy is destroyed, or escrowed where it must outlive the device to decrypt.
"""

from __future__ import annotations

from services.saga.core.definition import Definition, Step, Undo
from services.saga.core.state import Saga
from shared.contracts.certificate import commands as certificates
from shared.contracts.certificate import events as issued
from shared.contracts.certificate.value_types import DistinguishedName, Profile, RevocationReason
from shared.contracts.key import commands as keys
from shared.contracts.key import events as kept
from shared.contracts.key.value_types import Purpose
from shared.contracts.saga.provisioning import (
    CertificateProvisioningCompleted,
    KeyOrigin,
    PivPurpose,
    StartCertificateProvisioning,
)
from shared.contracts.yubikey import slots as devices

Provisioning = Saga[StartCertificateProvisioning]

_SLOT = {  # SP 800-73-4, part 1, section 3.3: what each slot's key is for, and when it wants the PIN
    PivPurpose.AUTHENTICATION: (devices.Slot.AUTHENTICATION, devices.PinPolicy.ONCE),
    PivPurpose.DIGITAL_SIGNATURE: (devices.Slot.SIGNATURE, devices.PinPolicy.ALWAYS),
    PivPurpose.KEY_MANAGEMENT: (devices.Slot.KEY_MANAGEMENT, devices.PinPolicy.ONCE),
    PivPurpose.CARD_AUTHENTICATION: (devices.Slot.CARD_AUTHENTICATION, devices.PinPolicy.NEVER),
}


def on_device(saga: Provisioning) -> bool:
    return saga.request.key_origin is KeyOrigin.ON_DEVICE


def imported(saga: Provisioning) -> bool:
    return saga.request.key_origin is KeyOrigin.IMPORTED


def imported_to_decrypt(saga: Provisioning) -> bool:
    return imported(saga) and saga.request.purpose is PivPurpose.KEY_MANAGEMENT


def imported_to_sign(saga: Provisioning) -> bool:
    return imported(saga) and saga.request.purpose is not PivPurpose.KEY_MANAGEMENT


def check_issuance(saga: Provisioning) -> certificates.CheckIssuance:
    """Asked first: what is in the slot is not lost for a certificate that would never be issued."""
    return certificates.CheckIssuance(
        certificate_id=_certificate_id(saga),
        profile=_profile(saga),
        issuer_id=saga.request.issuer_id,
        algorithm=saga.request.algorithm,
        validity_days=saga.request.validity_days,
        subject=_subject(saga),
    )


def generate_slot_key(saga: Provisioning) -> devices.GenerateSlotKey:
    return devices.GenerateSlotKey(
        serial=saga.request.yubikey_serial,
        slot=_slot(saga),
        algorithm=saga.request.algorithm,
        pin_policy=_SLOT[saga.request.purpose][1],
        touch_policy=devices.TouchPolicy.NEVER,
        key_id=_key_id(saga),
        replace=saga.request.replace,
    )


def attest_slot(saga: Provisioning) -> devices.AttestSlot:
    return devices.AttestSlot(serial=saga.request.yubikey_serial, slot=_slot(saga))


def generate_key(saga: Provisioning) -> keys.GenerateKey:
    return keys.GenerateKey(
        key_id=_key_id(saga),
        algorithm=saga.request.algorithm,
        purpose=Purpose(saga.request.purpose),
        exportable=True,
        owner=saga.request.subject.common_name,
    )


def create_certificate(saga: Provisioning) -> certificates.CreateCertificate:
    key = saga.answer(devices.SlotPopulated) if on_device(saga) else saga.answer(kept.KeyGenerated)
    return certificates.CreateCertificate(
        certificate_id=_certificate_id(saga),
        profile=_profile(saga),
        subject=_subject(saga),
        public_key_pem=key.public_key_pem,
        key_id=_key_id(saga),
        issuer_id=saga.request.issuer_id,
        validity_days=saga.request.validity_days,
    )


def sign_certificate(saga: Provisioning) -> keys.SignWithKey:
    created = saga.answer(issued.CertificateCreated)
    return keys.SignWithKey(
        key_id=created.signing_key_id,
        message=created.tbs,
        signature_algorithm=created.signature_algorithm,
        purpose=Purpose.CERTIFICATE_SIGNING,
    )


def attach_signature(saga: Provisioning) -> certificates.SignCertificate:
    return certificates.SignCertificate(
        certificate_id=_certificate_id(saga), signature=saga.answer(kept.KeySigned).signature
    )


def prepare_import(saga: Provisioning) -> devices.PrepareImport:
    return devices.PrepareImport(serial=saga.request.yubikey_serial, slot=_slot(saga))


def export_key(saga: Provisioning) -> keys.ExportKey:
    return keys.ExportKey(
        key_id=_key_id(saga), recipient_public_key=saga.answer(devices.ImportPrepared).recipient_public_key
    )


def import_key(saga: Provisioning) -> devices.ImportSlotKey:
    return devices.ImportSlotKey(
        serial=saga.request.yubikey_serial,
        slot=_slot(saga),
        key_id=_key_id(saga),
        algorithm=saga.request.algorithm,
        sealed_key=saga.answer(kept.KeyExported).sealed_key,
        pin_policy=_SLOT[saga.request.purpose][1],
        touch_policy=devices.TouchPolicy.NEVER,
        replace=saga.request.replace,
    )


def import_certificate(saga: Provisioning) -> devices.ImportSlotCertificate:
    return devices.ImportSlotCertificate(
        serial=saga.request.yubikey_serial,
        slot=_slot(saga),
        certificate_pem=saga.answer(issued.CertificateSigned).certificate_pem,
    )


def verify_slot(saga: Provisioning) -> devices.VerifySlot:
    return devices.VerifySlot(
        serial=saga.request.yubikey_serial,
        slot=_slot(saga),
        fingerprint_sha256=saga.answer(issued.CertificateSigned).fingerprint_sha256,
    )


def destroy_software_copy(saga: Provisioning) -> keys.DestroyKey:
    return keys.DestroyKey(key_id=_key_id(saga))


def escrow_software_copy(saga: Provisioning) -> keys.EscrowKey:
    return keys.EscrowKey(key_id=_key_id(saga))


def clear_slot(saga: Provisioning) -> devices.ClearSlot:
    return devices.ClearSlot(serial=saga.request.yubikey_serial, slot=_slot(saga), key_id=_key_id(saga))


def revoke_certificate(saga: Provisioning) -> certificates.RevokeCertificate:
    reason = RevocationReason.CESSATION_OF_OPERATION
    return certificates.RevokeCertificate(certificate_id=_certificate_id(saga), reason=reason, void_if_absent=True)


def revoke_key(saga: Provisioning) -> keys.RevokeKey:
    return keys.RevokeKey(key_id=_key_id(saga), reason="the provisioning was undone", void_if_absent=True)


def overwritten(saga: Provisioning) -> str | None:
    """What `replace` cost: the key that was in the slot is gone, whatever is undone."""
    populated, cleared = saga.find(devices.SlotPopulated), saga.find(devices.SlotCleared)
    if (populated and populated.replaced) or (cleared and cleared.overwrote):
        return f"what was in slot {_slot(saga)} was overwritten"
    return None


def completed(saga: Provisioning) -> CertificateProvisioningCompleted:
    certificate = saga.answer(issued.CertificateSigned)
    return CertificateProvisioningCompleted(
        **saga.heading,
        key_id=_key_id(saga),
        certificate_id=certificate.certificate_id,
        slot=_slot(saga),
        fingerprint_sha256=certificate.fingerprint_sha256,
        certificate_pem=certificate.certificate_pem,
    )


def _subject(saga: Provisioning) -> DistinguishedName:
    person = saga.request.subject
    return DistinguishedName(common_name=person.common_name, email=person.email, organization=person.organization)


def _slot(saga: Provisioning) -> devices.Slot:
    return saga.request.slot or _SLOT[saga.request.purpose][0]


def _profile(saga: Provisioning) -> Profile:
    return Profile(f"piv-{saga.request.purpose}")


def _key_id(saga: Provisioning) -> str:
    return saga.id_of("key")


def _certificate_id(saga: Provisioning) -> str:
    return saga.id_of("certificate")


_slot_cleared = (Undo(clear_slot, devices.SlotCleared),)
_certificate_revoked = (Undo(revoke_certificate, issued.CertificateRevoked),)
_key_destroyed = (Undo(revoke_key, kept.KeyRevoked), Undo(destroy_software_copy, kept.KeyDestroyed))

# fmt: off
CERTIFICATE_PROVISIONING = Definition(
    saga_type="certificate-provisioning",
    request=StartCertificateProvisioning,
    completed=completed,
    steps=(
        Step(check_issuance,        issued.IssuanceChecked),
        Step(generate_slot_key,     devices.SlotPopulated,  when=on_device, undo=_slot_cleared, lost=overwritten),
        Step(attest_slot,           devices.SlotAttested,   when=on_device, failed=devices.SlotAttestationFailed),
        Step(generate_key,          kept.KeyGenerated,      when=imported, undo=_key_destroyed),
        Step(create_certificate,    issued.CertificateCreated, undo=_certificate_revoked),
        Step(sign_certificate,      kept.KeySigned),
        Step(attach_signature,      issued.CertificateSigned),
        Step(prepare_import,        devices.ImportPrepared, when=imported),
        Step(export_key,            kept.KeyExported,       when=imported),
        Step(import_key,            devices.SlotPopulated,  when=imported, undo=_slot_cleared, lost=overwritten),
        Step(import_certificate,    devices.SlotCertificateImported),
        Step(verify_slot,           devices.SlotVerified),
        Step(destroy_software_copy, kept.KeyDestroyed,      when=imported_to_sign),
        Step(escrow_software_copy,  kept.KeyEscrowed,       when=imported_to_decrypt),
    ),
)
# fmt: on
