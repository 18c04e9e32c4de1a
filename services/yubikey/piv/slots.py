"""Content of a PIV slot: key, metadata and certificate."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from yubikit.piv import PIN_POLICY, PublicKey, SlotMetadata

from services.yubikey.piv.attestation import spki
from shared.contracts.yubikey.slots import PinPolicy, TouchPolicy

_PIN_POLICIES = {
    PIN_POLICY.DEFAULT: PinPolicy.DEFAULT,
    PIN_POLICY.NEVER: PinPolicy.NEVER,
    PIN_POLICY.ONCE: PinPolicy.ONCE,
    PIN_POLICY.ALWAYS: PinPolicy.ALWAYS,
    PIN_POLICY.MATCH_ONCE: PinPolicy.ONCE,  # YubiKey Bio: a fingerprint counts as the PIN
    PIN_POLICY.MATCH_ALWAYS: PinPolicy.ALWAYS,
}


@dataclass(frozen=True, slots=True)
class SlotKey:
    """Public key and metadata of a slot."""

    public_key: PublicKey
    metadata: SlotMetadata

    @property
    def pem(self) -> str:
        return public_pem(self.public_key)

    @property
    def fingerprint(self) -> str:
        return sha256(spki(self.public_key)).hexdigest()

    @property
    def pin_policy(self) -> PinPolicy:
        return _PIN_POLICIES[self.metadata.pin_policy]

    @property
    def touch_policy(self) -> TouchPolicy:
        return TouchPolicy[self.metadata.touch_policy.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """Key and certificate of a slot. *has_object*: the certificate object exists, readable as a certificate or not."""

    simulated: bool
    key: SlotKey | None
    certificate: x509.Certificate | None
    has_object: bool

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the key."""
        return self.key.fingerprint if self.key is not None else None

    def is_like(self, other: SlotReading) -> bool:
        """True if both have the same key and the same certificate."""
        left, right = ((each.fingerprint, each.certificate, each.has_object) for each in (self, other))
        return left == right

    @property
    def public_key_pem(self) -> str | None:
        """Public key of the key, or of the certificate if only that is left."""
        if self.key is not None:
            return self.key.pem
        return public_pem(self.certificate.public_key()) if self.certificate is not None else None

    def is_occupied(self, discarded: str | None) -> bool:
        """True if there is a certificate, or a key other than the placeholder with the fingerprint *discarded*."""
        return self.has_object or (self.key is not None and self.key.fingerprint != discarded)


def public_pem(public_key: PublicKeyTypes) -> str:
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def pem(*certificates: x509.Certificate) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)
