"""Performer of slot use: certificate requests, signatures, decryption and key moves.

The stored PIN is verified; a touch that the key requires raises a prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.oid import NameOID
from ykman.piv import sign_csr_builder
from yubikit.piv import KEY_TYPE

from services.yubikey.errors import DeviceError
from services.yubikey.piv.authentication import authenticate, with_pin
from services.yubikey.piv.session import OpenDevice, slot_of
from services.yubikey.piv.slots import SlotKey
from services.yubikey.state.sealing import SUITE
from shared.contracts.certificate.value_types import DistinguishedName
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slot_operations import (
    CreateSlotCsr,
    DecryptInSlot,
    MoveSlotKey,
    SignInSlot,
    SlotCsrCreated,
    SlotDecrypted,
    SlotMoved,
    SlotSignatureCreated,
    plaintext_info,
)
from shared.contracts.yubikey.slots import PinPolicy, Slot

T = TypeVar("T")
_SHA256, _SHA384 = hashes.SHA256(), hashes.SHA384()
_KEY_TYPES_AND_HASHES = {
    SignatureAlgorithm.RSA_PKCS1_SHA256: ({KEY_TYPE.RSA2048, KEY_TYPE.RSA3072, KEY_TYPE.RSA4096}, _SHA256),
    SignatureAlgorithm.RSA_PKCS1_SHA384: ({KEY_TYPE.RSA2048, KEY_TYPE.RSA3072, KEY_TYPE.RSA4096}, _SHA384),
    SignatureAlgorithm.ECDSA_SHA256: ({KEY_TYPE.ECCP256}, _SHA256),
    SignatureAlgorithm.ECDSA_SHA384: ({KEY_TYPE.ECCP384}, _SHA384),
    SignatureAlgorithm.ED25519: ({KEY_TYPE.ED25519}, _SHA256),  # Ed25519 ignores this: it has a fixed hash
}


def create_csr(device: OpenDevice, command: CreateSlotCsr) -> SlotCsrCreated:
    """Has the slot's key sign a certificate signing request (PKCS#10)."""
    key, slot = _key_in(device, command.slot), slot_of(command.slot)
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(command.subject))
    if command.subject.email is not None:
        mailbox = x509.SubjectAlternativeName([x509.RFC822Name(command.subject.email)])
        builder = builder.add_extension(mailbox, critical=False)
    hashed = _SHA384 if key.metadata.key_type is KEY_TYPE.ECCP384 else _SHA256

    def operation() -> x509.CertificateSigningRequest:
        return sign_csr_builder(device.session, slot, key.public_key, builder, type(hashed))

    signed = _with_key(device, key, command.slot, operation)
    return SlotCsrCreated(
        serial=str(device.serial),
        slot=command.slot,
        simulated=device.simulated,
        csr_pem=signed.public_bytes(Encoding.PEM).decode(),
        public_key_pem=key.pem,
    )


def sign(device: OpenDevice, command: SignInSlot) -> SlotSignatureCreated:
    """Signs the message of the command with the slot's key."""
    key, slot = _key_in(device, command.slot), slot_of(command.slot)
    kinds, hashed = _KEY_TYPES_AND_HASHES.get(command.signature_algorithm, (set(), _SHA256))
    if key.metadata.key_type not in kinds:
        problem = f"the key in slot {command.slot} is {key.metadata.key_type.name} and makes no"
        raise DeviceError(RejectionCode.INVALID, f"{problem} {command.signature_algorithm} signatures")
    rsa_padding = padding.PKCS1v15() if isinstance(key.public_key, rsa.RSAPublicKey) else None

    def operation() -> bytes:
        return device.session.sign(slot, key.metadata.key_type, command.message, hashed, rsa_padding)

    return SlotSignatureCreated(
        serial=str(device.serial),
        slot=command.slot,
        simulated=device.simulated,
        message_sha256=sha256(command.message).hexdigest(),
        signature=_with_key(device, key, command.slot, operation),
        signature_algorithm=command.signature_algorithm,
        public_key_pem=key.pem,
    )


def decrypt(device: OpenDevice, command: DecryptInSlot) -> SlotDecrypted:
    """Decrypts, or agrees on a shared secret; the result is sealed to the recipient."""
    key, slot = _key_in(device, command.slot), slot_of(command.slot)
    if command.ciphertext is not None:
        ciphertext = command.ciphertext
        if not isinstance(key.public_key, rsa.RSAPublicKey):
            raise DeviceError(
                RejectionCode.INVALID,
                f"the key in slot {command.slot} is for key agreement and cannot decrypt: send peer_public_key_pem",
            )
        plaintext = _with_key(
            device, key, command.slot, lambda: device.session.decrypt(slot, ciphertext, padding.PKCS1v15())
        )
    else:
        peer = _peer(command, key)
        plaintext = _with_key(device, key, command.slot, lambda: device.session.calculate_secret(slot, peer))
    recipient = x25519.X25519PublicKey.from_public_bytes(command.recipient_public_key)
    return SlotDecrypted(
        serial=str(device.serial),
        slot=command.slot,
        simulated=device.simulated,
        sealed_plaintext=SUITE.encrypt(plaintext, recipient, plaintext_info(str(device.serial), command.slot)),
        recipient_public_key=command.recipient_public_key,
    )


def move(device: OpenDevice, command: MoveSlotKey) -> SlotMoved:
    """Moves key and certificate to another slot, or finishes a move that was interrupted."""
    source, target = device.read(command.slot), device.read(command.to)
    moved = SlotMoved(serial=str(device.serial), slot=command.slot, to=command.to, simulated=device.simulated)
    if source.key is None and target.key is None:
        raise DeviceError(RejectionCode.CONFLICT, f"slot {command.slot} has no key to move")
    if source.key is not None and (target.key is not None or target.has_object):
        raise DeviceError(RejectionCode.CONFLICT, f"slot {command.to} is not empty: clear it first")
    authenticate(device)
    if source.key is not None:
        device.session.move_key(slot_of(command.slot), slot_of(command.to))
    if source.certificate is not None:
        device.session.put_certificate(slot_of(command.to), source.certificate)
        device.session.delete_certificate(slot_of(command.slot))
    return moved


def _with_key(device: OpenDevice, key: SlotKey, slot: Slot, operation: Callable[[], T]) -> T:
    """Runs *operation* with the PIN verified before each attempt: policy "always" requires it, a touch repeats it."""

    def with_verified_pin() -> T:
        return operation() if key.pin_policy is PinPolicy.NEVER else with_pin(device, slot, operation)

    return device.use(slot, key, with_verified_pin)


def _name(subject: DistinguishedName) -> x509.Name:
    """The X.501 name, from the widest attribute to the narrowest (RFC 4519)."""
    parts = (
        (NameOID.COUNTRY_NAME, subject.country),
        (NameOID.ORGANIZATION_NAME, subject.organization),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, subject.organizational_unit),
        (NameOID.COMMON_NAME, subject.common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value is not None])


def _key_in(device: OpenDevice, slot: Slot) -> SlotKey:
    key = device.read(slot).key
    if key is None:
        raise DeviceError(RejectionCode.CONFLICT, f"slot {slot} of YubiKey {device.serial} has no key")
    return key


def _peer(command: DecryptInSlot, key: SlotKey) -> ec.EllipticCurvePublicKey | x25519.X25519PublicKey:
    try:
        peer = load_pem_public_key((command.peer_public_key_pem or "").encode())
    except (ValueError, UnsupportedAlgorithm):
        raise DeviceError(RejectionCode.INVALID, "peer_public_key_pem is not a public key in PEM") from None
    mine = key.public_key
    same_curve = (
        isinstance(peer, ec.EllipticCurvePublicKey)
        and isinstance(mine, ec.EllipticCurvePublicKey)
        and peer.curve.name == mine.curve.name
    )
    if same_curve or (isinstance(peer, x25519.X25519PublicKey) and isinstance(mine, x25519.X25519PublicKey)):
        assert isinstance(peer, ec.EllipticCurvePublicKey | x25519.X25519PublicKey)
        return peer
    problem = f"the key in slot {command.slot} agrees only with keys of the same curve"
    raise DeviceError(RejectionCode.INVALID, problem)
