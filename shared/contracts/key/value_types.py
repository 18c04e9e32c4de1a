"""Value types of key messages: algorithms, purposes, provenance, owners, formats."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.contracts.base import Base64, Fingerprint, Id, Name


class Algorithm(StrEnum):
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    ED25519 = "ed25519"
    X25519 = "x25519"
    ML_DSA_65 = "ml-dsa-65"  # FIPS 204; only if the key service's settings allow it


class SignatureAlgorithm(StrEnum):
    RSA_PKCS1_SHA256 = "rsa-pkcs1-sha256"
    RSA_PKCS1_SHA384 = "rsa-pkcs1-sha384"
    ECDSA_SHA256 = "ecdsa-sha256"
    ECDSA_SHA384 = "ecdsa-sha384"
    ED25519 = "ed25519"
    ML_DSA_65 = "ml-dsa-65"


class Purpose(StrEnum):
    """Purposes of keys, fixed at creation. The custodian parses what a key of each purpose is to sign."""

    CERTIFICATE_SIGNING = "certificate-signing"  # TBSCertificate, TBSCertList
    OCSP_SIGNING = "ocsp-signing"  # ResponseData of RFC 6960
    SSH_CERTIFICATE_SIGNING = "ssh-certificate-signing"
    AUTHENTICATION = "authentication"
    DIGITAL_SIGNATURE = "digital-signature"
    KEY_MANAGEMENT = "key-management"
    CARD_AUTHENTICATION = "card-authentication"
    NATS_OPERATOR = "nats-operator"  # these four are nkeys; the JWTs of NATS are signed with them
    NATS_ACCOUNT = "nats-account"
    NATS_USER = "nats-user"
    NATS_SERVER = "nats-server"


class Provenance(StrEnum):
    """Origins of a private key."""

    SOFTWARE = "software"
    ON_DEVICE = "on-device"
    IMPORTED = "imported"
    DERIVED = "derived"


class OwnerKind(StrEnum):
    """Kinds of key owners. A person's own key cannot be transferred."""

    PERSON = "person"
    ORGANIZATION = "organization"
    UNIT = "unit"
    SERVICE = "service"


class PublicKeyFormat(StrEnum):
    PEM = "pem"  # SubjectPublicKeyInfo, RFC 7468
    DER = "der"  # the same, base64
    JWK = "jwk"  # RFC 7517, with the thumbprint of RFC 7638 as its kid
    SSH = "ssh"  # one line of authorized_keys, RFC 4253 and 8709
    NKEY = "nkey"  # of NATS keys only


class PrivateKeyFormat(StrEnum):
    """Formats of the sealed content of an exported private key."""

    PKCS8 = "pkcs8"  # DER, RFC 5958
    PKCS12 = "pkcs12"  # JSON {"pkcs12": base64, "password": text}: RFC 7292, under a generated password
    NKEY_SEED = "nkey-seed"  # the seed in the encoding of NATS


class Value(BaseModel):
    """A value inside a message: immutable, without unknown fields, without type coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Approval(Value):
    """One person's approval of one signature: actor, hash of the bytes, command."""

    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    message_sha256: Fingerprint
    command_id: Id
    at: AwareDatetime


DerivationPath = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63}){0,7}$"),
    Field(description="names joined by slashes, from the organisation's seed down to this key: pki/root/2026"),
]


class Derivation(Value):
    """Parameters that derive the key again together with the passphrase (docs/adr/0011)."""

    organization: Name
    path: DerivationPath
    salt: Base64 = Field(min_length=16, max_length=64)
    memory_kib: int = Field(ge=19 * 1024, le=1024 * 1024)
    iterations: int = Field(ge=1, le=16)
    lanes: int = Field(ge=1, le=16)
    v: Literal[1] = 1


def sealing_info(key_id: str) -> bytes:
    """Builds the HPKE `info` of a sealed key: a key sealed for one id does not open for another."""
    return b"cim-keys/key-export/v1/" + key_id.encode()


def import_proof(key_id: str, recipient_public_key: bytes) -> bytes:
    """Builds the bytes that an imported key signs as proof of possession for this id and this import."""
    return b"cim-keys/key-import/v1/" + key_id.encode() + b"/" + recipient_public_key
