"""What is done with one open device in one go, and what is told of it."""

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
from services.yubikey.piv.attestation import NotProvenError, spki
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.session import OpenDevice
from services.yubikey.piv.slots import SlotKey, pem, public_pem
from services.yubikey.trust import fingerprint
from shared.contracts.rejection import RejectionCode

Filling = GenerateInSlot | ImportKeyIntoSlot


def key_type_of(key: PrivateKey) -> KEY_TYPE | None:
    try:
        return KEY_TYPE.from_public_key(key.public_key())
    except ValueError:
        return None  # a size or a curve that no YubiKey has


def filled(device: OpenDevice, effect: Filling, replaced: bool) -> SlotFilled:  # noqa: FBT001 - a fact, not a mode
    key = _key_in(device, effect)
    statement = device.statement(effect.slot) if isinstance(effect, GenerateInSlot) else None
    return SlotFilled(
        effect,
        device.simulated,
        key.pem,
        key.fingerprint,
        pem(*statement) if statement is not None else None,
        key.pin_policy,
        key.touch_policy,
        replaced,
    )


def attest(device: OpenDevice, effect: Attest) -> Attested | NotAttested:
    key = device.read(effect.slot).key
    if key is None:
        return NotAttested(effect, device.simulated, f"slot {effect.slot} has no key")
    statement = device.statement(effect.slot)
    if statement is None:
        why = "it was imported" if not key.metadata.generated else "the device's attestation key or certificate is gone"
        return NotAttested(effect, device.simulated, f"the device states nothing about this key: {why}")
    try:
        proof = device.proof(effect.slot, key, statement)
    except NotProvenError as error:
        return NotAttested(effect, device.simulated, str(error))
    return Attested(
        effect,
        device.simulated,
        key.pem,
        proof.firmware,
        key.pin_policy,
        key.touch_policy,
        proof.root_fingerprint_sha256,
    )


def put_certificate(device: OpenDevice, effect: PutCertificate) -> CertificatePut:
    try:
        certificate = x509.load_pem_x509_certificate(effect.certificate_pem.encode())
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise DeviceError(RejectionCode.INVALID, "certificate_pem is not one X.509 certificate in PEM") from None
    if spki(public_key) != spki(_key_in(device, effect).public_key):
        where = f"slot {effect.slot} of YubiKey {effect.serial}"
        raise DeviceError(RejectionCode.CONFLICT, f"the certificate is not of the key in {where}")
    authenticate(device)
    device.put_certificate(effect.slot, certificate)
    return CertificatePut(effect, device.simulated, fingerprint(certificate))


def _key_in(device: OpenDevice, effect: Filling | PutCertificate) -> SlotKey:
    key = device.read(effect.slot).key
    if key is None:
        raise DeviceError(RejectionCode.CONFLICT, f"slot {effect.slot} of YubiKey {effect.serial} has no key")
    return key


def contents(device: OpenDevice, effect: ReadSlot) -> SlotContents:
    found = device.read(effect.slot)
    certificate = found.certificate
    stored = (
        StoredCertificate(pem(certificate), fingerprint(certificate), public_pem(certificate.public_key()))
        if certificate is not None
        else None
    )
    return SlotContents(effect, device.simulated, found.key.pem if found.key is not None else None, stored)
