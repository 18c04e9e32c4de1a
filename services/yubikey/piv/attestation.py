"""Verification of PIV attestations: proof that a slot's key was generated on a certain device, up to a pinned root.

This is no general path validation. Yubico's attestation statements have no authority key identifier, and older device
certificates no basic constraints: `cryptography.x509.verification` rejects genuine ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from yubikit.piv import PIN_POLICY, SLOT, TOUCH_POLICY

from services.yubikey.trust import Trust, fingerprint

# Yubico's extensions of an attestation statement: https://developers.yubico.com/PIV/Introduction/PIV_attestation.html
_FIRMWARE = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.3")
_SERIAL = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.7")
_POLICIES = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.8")
_MAX_CHAIN_LENGTH = 5
_INTEGER = 0x02
_TAG_AND_LENGTH = 2


class AttestationError(Exception):
    """The attestation does not verify; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Metadata of a slot that its attestation must confirm."""

    serial: int
    slot: SLOT
    public_key: PublicKeyTypes
    pin_policy: PIN_POLICY
    touch_policy: TOUCH_POLICY


@dataclass(frozen=True, slots=True)
class Attestation:
    """A verified attestation."""

    firmware: str
    root_fingerprint_sha256: str


def verify_attestation(
    claim: Claim, statement: x509.Certificate, device: x509.Certificate, trust: Trust
) -> Attestation:
    """Verifies that a *statement* of the attestation key of *device* confirms the *claim*, up to a root of *trust*.

    Raises AttestationError otherwise.
    """
    if not _issued(statement, device):
        raise AttestationError("the statement is not signed by the device's attestation key")
    root = _root_above(device, trust, _MAX_CHAIN_LENGTH)
    if root is None:
        raise AttestationError("the device's attestation certificate chains to no root that is trusted for it")
    name = statement.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [part.value for part in name] != [f"YubiKey PIV Attestation {claim.slot:02x}"]:
        raise AttestationError("the statement is about another slot")
    if spki(statement.public_key()) != spki(claim.public_key):
        raise AttestationError("the statement is about another key than the one in the slot")
    if _integer(_extension(statement, _SERIAL)) != claim.serial:
        raise AttestationError("the statement is about another device, by its serial number")
    if _extension(statement, _POLICIES) != bytes([claim.pin_policy, claim.touch_policy]):
        raise AttestationError("the statement names other PIN and touch policies than the slot's")
    return Attestation(".".join(map(str, _extension(statement, _FIRMWARE))), fingerprint(root))


def fingerprint_of(public_key: PublicKeyTypes) -> str:
    """SHA-256 of the SubjectPublicKeyInfo."""
    return sha256(spki(public_key)).hexdigest()


def spki(public_key: PublicKeyTypes) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _root_above(certificate: x509.Certificate, trust: Trust, max_length: int) -> x509.Certificate | None:
    if max_length == 0 or not _is_current(certificate):
        return None
    for root in trust.roots:
        if _is_current(root) and _issued(certificate, root):
            return root
    for issuer in _ca_certificates(trust.intermediates):
        if _issued(certificate, issuer) and (found := _root_above(issuer, trust, max_length - 1)) is not None:
            return found
    return None


def _ca_certificates(certificates: Iterable[x509.Certificate]) -> Iterable[x509.Certificate]:
    for certificate in certificates:
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            continue
        if constraints.ca:
            yield certificate


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_current(certificate: x509.Certificate) -> bool:
    """Compares without arithmetic: a notAfter of 9999-12-31 (Yubico's Root 1, ours) overflows in other time zones."""
    return certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes:
    try:
        value = certificate.extensions.get_extension_for_oid(oid).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise AttestationError(f"the statement has no extension {oid.dotted_string}") from error
    return value.public_bytes()


def _integer(der: bytes) -> int | None:
    if len(der) <= _TAG_AND_LENGTH or der[:_TAG_AND_LENGTH] != bytes([_INTEGER, len(der) - _TAG_AND_LENGTH]):
        return None
    return int.from_bytes(der[_TAG_AND_LENGTH:])
