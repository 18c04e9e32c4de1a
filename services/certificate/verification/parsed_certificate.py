"""Certificate parsed for path validation, with the values that it compares repeatedly computed once. Pure."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from services.certificate.verification.der_reader import (
    Skeleton,
    has_distances,
    has_explicit_curve,
    policy_mapping_pairs,
    read_skeleton,
)
from services.certificate.verification.name_matching import ComparableName, comparable_name

_NAME_CONSTRAINTS = bytes((0x55, 0x1D, 0x1E))  # 2.5.29.30
_POLICY_MAPPINGS = bytes((0x55, 0x1D, 0x21))  # 2.5.29.33
_MAX_SERIAL_OCTETS = 20
_MAX_TITLE_LENGTH = 80
_PARSE_ERRORS = (
    ValueError,
    TypeError,  # raised for an IP address in place of a network
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

T = TypeVar("T", bound=x509.ExtensionType)


class Malformed(ValueError):
    """A certificate that violates RFC 5280 in its content or its encoding."""


class Unreadable(Malformed):
    """Bytes that are not a certificate, or one that this suite cannot parse."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ParsedCertificate:
    """A certificate and its values for comparison.

    *name* is the subject as encoded, *key* a public key of `cryptography`, *spki* its DER. *policy_mappings* has the
    subject domain policies of each issuer domain policy.
    """

    parsed: x509.Certificate
    fingerprint: str
    name: x509.Name
    subject: ComparableName
    issuer: ComparableName
    key: object
    spki: bytes
    extensions: x509.Extensions
    policy_mappings: Mapping[x509.ObjectIdentifier, frozenset[x509.ObjectIdentifier]]

    @property
    def is_self_issued(self) -> bool:
        return self.subject == self.issuer

    @property
    def is_ca(self) -> bool:
        basic = self.find(x509.BasicConstraints)
        return basic is not None and basic.ca

    @property
    def identifier(self) -> bytes | None:
        found = self.find(x509.SubjectKeyIdentifier)
        return None if found is None else found.digest

    @property
    def issuer_identifier(self) -> bytes | None:
        found = self.find(x509.AuthorityKeyIdentifier)
        return None if found is None else found.key_identifier

    @property
    def alternative_names(self) -> tuple[x509.GeneralName, ...]:
        found = self.find(x509.SubjectAlternativeName)
        return () if found is None else tuple(found)

    @property
    def title(self) -> str:
        """Returns the name of the certificate in messages."""
        text = self.name.rfc4514_string() if len(self.subject) < _MAX_TITLE_LENGTH else ""
        return text[:_MAX_TITLE_LENGTH] or f"sha256:{self.fingerprint[:16]}"

    def find(self, kind: type[T]) -> T | None:
        extension = self._extension(kind)
        return None if extension is None else extension.value

    def is_critical(self, kind: type[x509.ExtensionType]) -> bool:
        extension = self._extension(kind)
        return extension is not None and extension.critical

    def _extension(self, kind: type[T]) -> x509.Extension[T] | None:
        try:
            return self.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None


@lru_cache(maxsize=1024)
def parse(encoded: bytes) -> ParsedCertificate:
    """Parses a certificate. Raises Malformed with what is wrong."""
    try:
        skeleton = read_skeleton(encoded)
    except ValueError as error:
        raise Unreadable(f"it is no certificate in DER: {error}") from error
    _require_serial(skeleton.serial)
    if skeleton.inner_algorithm != skeleton.outer_algorithm:
        raise Malformed("its two signature algorithms are not the same (RFC 5280, 4.1.1.2)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names longer than the upper bounds of X.520, which are common
        return _parse(encoded, skeleton)


def _parse(encoded: bytes, skeleton: Skeleton) -> ParsedCertificate:
    try:
        parsed = x509.load_der_x509_certificate(encoded)
        name = parsed.subject
        subject, issuer = comparable_name(name), comparable_name(parsed.issuer)
        key, has_explicit = parsed.public_key(), has_explicit_curve(skeleton.spki)
    except _PARSE_ERRORS as error:
        raise Unreadable("it, its names or its public key cannot be read here (RFC 5280, 4.1)") from error
    try:
        extensions = parsed.extensions
        mappings = _policy_mappings(skeleton.extensions.get(_POLICY_MAPPINGS, b"\x30\x00"))
        distances = has_distances(skeleton.extensions.get(_NAME_CONSTRAINTS, b"\x30\x00"))
    except _PARSE_ERRORS as error:
        raise Malformed("its extensions are malformed, or one occurs twice (RFC 5280, 4.2)") from error
    if parsed.version is not x509.Version.v3:
        raise Malformed("it is not of version 3 (RFC 5280, 4.1.2.1)")
    if has_explicit:
        raise Malformed("its public key has explicit curve parameters instead of a named curve (RFC 5480, 2.1.1)")
    if distances:
        raise Malformed("its name constraints have a minimum or a maximum (RFC 5280, 4.2.1.10)")
    fingerprint = sha256(encoded).hexdigest()
    return ParsedCertificate(
        parsed=parsed,
        fingerprint=fingerprint,
        name=name,
        subject=subject,
        issuer=issuer,
        key=key,
        spki=skeleton.spki,
        extensions=extensions,
        policy_mappings=mappings,
    )


def _policy_mappings(encoded: bytes) -> dict[x509.ObjectIdentifier, frozenset[x509.ObjectIdentifier]]:
    found: dict[x509.ObjectIdentifier, frozenset[x509.ObjectIdentifier]] = {}
    for issuers, subjects in policy_mapping_pairs(encoded):
        policy, other = x509.ObjectIdentifier(issuers), x509.ObjectIdentifier(subjects)
        found[policy] = found.get(policy, frozenset()) | {other}
    return found


def _require_serial(content: bytes) -> None:
    """Requires a positive integer of at most 20 octets (RFC 5280, 4.1.2.2)."""
    if len(content) > _MAX_SERIAL_OCTETS or not any(content) or content[0] & 0x80:
        raise Malformed("its serial number is not positive, or has more than 20 octets (RFC 5280, 4.1.2.2)")
