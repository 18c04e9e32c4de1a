"""What the key service can be asked for, and what it reports. No message here ever holds a private key in the clear."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from shared.contracts.base import DERIVED, Base64, Command, Event, Fingerprint, Id, Message, Pem, Text


class Algorithm(StrEnum):
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    ED25519 = "ed25519"
    X25519 = "x25519"


class Purpose(StrEnum):
    """What a key is for, fixed when it is made. A certificate-signing key signs only certificates and CRLs."""

    CERTIFICATE_SIGNING = "certificate-signing"
    AUTHENTICATION = "authentication"
    DIGITAL_SIGNATURE = "digital-signature"
    KEY_MANAGEMENT = "key-management"
    CARD_AUTHENTICATION = "card-authentication"


class SignatureAlgorithm(StrEnum):
    RSA_PKCS1_SHA256 = "rsa-pkcs1-sha256"
    RSA_PKCS1_SHA384 = "rsa-pkcs1-sha384"
    ECDSA_SHA256 = "ecdsa-sha256"
    ECDSA_SHA384 = "ecdsa-sha384"
    ED25519 = "ed25519"


class Provenance(StrEnum):
    """Where a private key came into being."""

    SOFTWARE = "software"
    ON_DEVICE = "on-device"
    IMPORTED = "imported"


def sealing_info(key_id: str) -> bytes:
    """HPKE's `info` for a key that is sealed to a service: sealed for one key id, it opens for no other."""
    return b"cim-keys/key-export/v1/" + key_id.encode()


class OfKey(Message):
    aggregate_type: ClassVar[str] = "key"
    identified_by: ClassVar[str] = "key_id"


class GenerateKey(OfKey, Command):
    key_id: Id = DERIVED
    algorithm: Algorithm
    purpose: Purpose | None = Field(
        default=None, description="default: key-management for x25519, else digital-signature"
    )
    exportable: bool = Field(default=False, description="whether it may ever leave, sealed to another service")
    owner: Text | None = None
    label: Text | None = None


class SignWithKey(OfKey, Command):
    key_id: Id
    message: Base64 = Field(min_length=1, max_length=65_536, description="the bytes to sign, not a digest of them")
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose


class ExportKey(OfKey, Command):
    """Seal the private key (PKCS#8) to a service that must have it: HPKE, RFC 9180."""

    key_id: Id
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")


class EscrowKey(OfKey, Command):
    """Keep the software copy of an exported key for recovery only: it signs nothing any more."""

    key_id: Id


class RevokeKey(OfKey, Command):
    key_id: Id
    reason: Text = "unspecified"
    void_if_absent: bool = Field(
        default=False, description="where there is no such key, make sure that there never will be: how a saga undoes"
    )


class DestroyKey(OfKey, Command):
    """Crypto-shred the private key: its data key is erased from every revision of KEYS_SECRETS."""

    key_id: Id


class KeyGenerated(OfKey, Event):
    key_id: Id
    algorithm: Algorithm
    public_key_pem: Pem
    fingerprint_sha256: Fingerprint = Field(description="of the SubjectPublicKeyInfo's DER")
    purpose: Purpose
    provenance: Provenance
    exportable: bool
    owner: Text | None = None
    label: Text | None = None


class KeySigned(OfKey, Event):
    key_id: Id
    signature: Base64
    signature_algorithm: SignatureAlgorithm
    message_sha256: Fingerprint
    purpose: Purpose


class KeyExported(OfKey, Event):
    key_id: Id
    algorithm: Algorithm
    sealed_key: Base64 = Field(description="HPKE(X25519, HKDF-SHA256, AES-256-GCM): encapsulated key, then ciphertext")
    recipient_public_key: Base64


class KeyEscrowed(OfKey, Event):
    key_id: Id


class KeyRevoked(OfKey, Event):
    key_id: Id
    reason: Text
    existed: bool = Field(default=True, description="false: the id was voided before any key had it")


class KeyDestroyed(OfKey, Event):
    key_id: Id


KeyCommand = GenerateKey | SignWithKey | ExportKey | EscrowKey | RevokeKey | DestroyKey
KeyEvent = KeyGenerated | KeySigned | KeyExported | KeyEscrowed | KeyRevoked | KeyDestroyed
