"""A certificate as path validation sees it: parsed once, with what is compared again and again worked out."""

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
    limits_distances,
    pairs_of_identifiers,
    skeleton,
    spells_its_curve_out,
)
from services.certificate.verification.name_matching import Distinguished, distinguished

_NAME_CONSTRAINTS = bytes((0x55, 0x1D, 0x1E))  # 2.5.29.30
_POLICY_MAPPINGS = bytes((0x55, 0x1D, 0x21))  # 2.5.29.33
_MOST_SERIAL_OCTETS = 20
_LONGEST_TITLE = 80
_UNREADABLE = (
    ValueError,
    TypeError,  # what the parser says of an IP address that is no network
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

T = TypeVar("T", bound=x509.ExtensionType)


class Malformed(ValueError):
    """A certificate that RFC 5280 does not have, in what it says or in how it is encoded."""


class Unreadable(Malformed):
    """What is no certificate at all, or none that can be read here."""


@dataclass(frozen=True, slots=True, eq=False)
class ParsedCertificate:
    """*name* is the subject as it is written, *key* a public key of `cryptography`, *spki* its DER. A policy is
    mapped to those that are as good as it."""

    parsed: x509.Certificate
    fingerprint: str
    name: x509.Name
    subject: Distinguished
    issuer: Distinguished
    key: object
    spki: bytes
    extensions: x509.Extensions
    policy_mappings: Mapping[x509.ObjectIdentifier, frozenset[x509.ObjectIdentifier]]

    @property
    def is_self_issued(self) -> bool:
        return self.subject == self.issuer

    @property
    def is_authority(self) -> bool:
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
        """What it is called in a sentence."""
        text = self.name.rfc4514_string() if len(self.subject) < _LONGEST_TITLE else ""
        return text[:_LONGEST_TITLE] or f"sha256:{self.fingerprint[:16]}"

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
    """Raises Malformed, which says what is wrong."""
    try:
        bones = skeleton(encoded)
    except ValueError as error:
        raise Unreadable(f"it is no certificate in DER: {error}") from error
    _require_serial(bones.serial)
    if bones.inner_algorithm != bones.outer_algorithm:
        raise Malformed("its two signature algorithms are not the same (RFC 5280, 4.1.1.2)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are longer than X.520 has them: they are names all the same
        return _parse(encoded, bones)


def _parse(encoded: bytes, bones: Skeleton) -> ParsedCertificate:
    try:
        parsed = x509.load_der_x509_certificate(encoded)
        name = parsed.subject
        subject, issuer = distinguished(name), distinguished(parsed.issuer)
        key, spelt_out = parsed.public_key(), spells_its_curve_out(bones.spki)
    except _UNREADABLE as error:
        raise Unreadable("it, its names or its public key cannot be read here (RFC 5280, 4.1)") from error
    try:
        extensions = parsed.extensions
        mappings = _policy_mappings(bones.extensions.get(_POLICY_MAPPINGS, b"\x30\x00"))
        distances = limits_distances(bones.extensions.get(_NAME_CONSTRAINTS, b"\x30\x00"))
    except _UNREADABLE as error:
        raise Malformed("its extensions are malformed, or one is there twice (RFC 5280, 4.2)") from error
    if parsed.version is not x509.Version.v3:
        raise Malformed("it is not of version 3 (RFC 5280, 4.1.2.1)")
    if spelt_out:
        raise Malformed("its public key spells its curve out instead of naming it (RFC 5480, 2.1.1)")
    if distances:
        raise Malformed("its name constraints have a minimum or a maximum (RFC 5280, 4.2.1.10)")
    fingerprint = sha256(encoded).hexdigest()
    return ParsedCertificate(parsed, fingerprint, name, subject, issuer, key, bones.spki, extensions, mappings)


def _policy_mappings(encoded: bytes) -> dict[x509.ObjectIdentifier, frozenset[x509.ObjectIdentifier]]:
    found: dict[x509.ObjectIdentifier, frozenset[x509.ObjectIdentifier]] = {}
    for issuers, subjects in pairs_of_identifiers(encoded):
        policy, other = x509.ObjectIdentifier(issuers), x509.ObjectIdentifier(subjects)
        found[policy] = found.get(policy, frozenset()) | {other}
    return found


def _require_serial(content: bytes) -> None:
    """RFC 5280, 4.1.2.2: a positive integer of at most 20 octets."""
    if len(content) > _MOST_SERIAL_OCTETS or not any(content) or content[0] & 0x80:
        raise Malformed("its serial number is not positive, or has more than 20 octets (RFC 5280, 4.1.2.2)")
