"""Slot operations on an open device, each with its effect result."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from yubikit.piv import KEY_TYPE, PrivateKey

from services.yubikey.core.effects import (
    Attest,
    Attested,
    CertificatePut,
    GenerateInSlot,
    ImportKeyIntoSlot,
    NotAttested,
    PutCertificate,
    ReadSlot,
    SlotContents,
    SlotFilled,
    StoredCertificate,
)
from services.yubikey.errors import DeviceError
from services.yubikey.piv.attestation import AttestationError, spki
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.session import OpenDevice
from services.yubikey.piv.slots import SlotKey, pem, public_pem
from services.yubikey.trust import fingerprint
from shared.contracts.rejection import RejectionCode

FillEffect = GenerateInSlot | ImportKeyIntoSlot


def key_type_of(key: PrivateKey) -> KEY_TYPE | None:
    """The PIV key type of *key*; None for a size or curve that no YubiKey supports."""
    try:
        return KEY_TYPE.from_public_key(key.public_key())
    except ValueError:
        return None


def slot_filled(device: OpenDevice, effect: FillEffect, *, replaced: bool) -> SlotFilled:
    """Reports the key that is in the slot now, with its attestation if it was generated."""
    key = _key_in(device, effect)
    statement = device.statement(effect.slot) if isinstance(effect, GenerateInSlot) else None
    return SlotFilled(
        effect=effect,
        simulated=device.simulated,
        public_key_pem=key.pem,
        fingerprint_sha256=key.fingerprint,
        attestation=pem(*statement) if statement is not None else None,
        pin_policy=key.pin_policy,
        touch_policy=key.touch_policy,
        replaced=replaced,
    )


def attest(device: OpenDevice, effect: Attest) -> Attested | NotAttested:
    """Has the device attest the slot's key, and verifies the statement."""
    key = device.read(effect.slot).key
    if key is None:
        return NotAttested(effect, device.simulated, f"slot {effect.slot} has no key")
    statement = device.statement(effect.slot)
    if statement is None:
        why = "it was imported" if not key.metadata.generated else "its attestation key or certificate was overwritten"
        return NotAttested(effect, device.simulated, f"the device does not attest this key: {why}")
    try:
        attestation = device.verify_statement(effect.slot, key, statement)
    except AttestationError as error:
        return NotAttested(effect, device.simulated, str(error))
    return Attested(
        effect=effect,
        simulated=device.simulated,
        public_key_pem=key.pem,
        firmware=attestation.firmware,
        pin_policy=key.pin_policy,
        touch_policy=key.touch_policy,
        root_fingerprint_sha256=attestation.root_fingerprint_sha256,
    )


def put_certificate(device: OpenDevice, effect: PutCertificate) -> CertificatePut:
    """Writes a certificate that certifies the key in the slot."""
    try:
        certificate = x509.load_pem_x509_certificate(effect.certificate_pem.encode())
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise DeviceError(RejectionCode.INVALID, "certificate_pem is not one X.509 certificate in PEM") from None
    if spki(public_key) != spki(_key_in(device, effect).public_key):
        where = f"slot {effect.slot} of YubiKey {effect.serial}"
        raise DeviceError(RejectionCode.CONFLICT, f"the certificate does not certify the key in {where}")
    authenticate(device)
    device.put_certificate(effect.slot, certificate)
    return CertificatePut(effect, device.simulated, fingerprint(certificate))


def _key_in(device: OpenDevice, effect: FillEffect | PutCertificate) -> SlotKey:
    key = device.read(effect.slot).key
    if key is None:
        raise DeviceError(RejectionCode.CONFLICT, f"slot {effect.slot} of YubiKey {effect.serial} has no key")
    return key


def read_contents(device: OpenDevice, effect: ReadSlot) -> SlotContents:
    """Reads public key and certificate of the slot."""
    found = device.read(effect.slot)
    certificate = found.certificate
    stored = (
        StoredCertificate(pem(certificate), fingerprint(certificate), public_pem(certificate.public_key()))
        if certificate is not None
        else None
    )
    return SlotContents(
        effect=effect,
        simulated=device.simulated,
        public_key_pem=found.key.pem if found.key is not None else None,
        certificate=stored,
    )
