"""Revocation status of a certificate by the CRLs of its issuer (RFC 5280, 6.3). Pure."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from services.certificate.verification.budget import Budget
from services.certificate.verification.name_matching import ComparableName, comparable_name
from services.certificate.verification.parsed_certificate import ParsedCertificate
from services.certificate.verification.signature_checks import is_signed_by


class RevocationStatus(StrEnum):
    """The status at an instant; UNDETERMINED if no usable CRL covers the certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    ON_HOLD = "on hold"
    UNDETERMINED = "undetermined"


RevocationCheck = Callable[[ParsedCertificate, ParsedCertificate, datetime, Budget], RevocationStatus]
"""Returns the status of a certificate, given its issuer's certificate, at an instant."""

_PROCESSED = frozenset(
    {ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.ISSUING_DISTRIBUTION_POINT}
)
_ENTRY_PROCESSED = frozenset({x509.CRLReason.oid, x509.InvalidityDate.oid})
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
T = TypeVar("T", bound=x509.ExtensionType)


def no_revocation_check(_: ParsedCertificate, __: ParsedCertificate, ___: datetime, ____: Budget) -> RevocationStatus:
    return RevocationStatus.GOOD


@dataclass(frozen=True, slots=True)
class _Crl:
    """A parsed CRL."""

    parsed: x509.CertificateRevocationList
    issuer: ComparableName
    extensions: x509.Extensions


class CrlChecker:
    """Determines the status from CRLs. It ignores indirect CRLs and delta CRLs."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self._crls = [found for each in encoded if (found := _parse(each)) is not None]

    def __call__(
        self, certificate: ParsedCertificate, issuer: ParsedCertificate, at: datetime, budget: Budget
    ) -> RevocationStatus:
        statuses = [
            _status(each, certificate)
            for each in self._crls
            if _is_in_scope(each, certificate, issuer)
            and _is_usable(each, at)
            and _has_valid_signature(each, issuer, budget)
        ]
        worst = (RevocationStatus.REVOKED, RevocationStatus.ON_HOLD, RevocationStatus.GOOD)
        return next((status for status in worst if status in statuses), RevocationStatus.UNDETERMINED)


def _parse(encoded: bytes) -> _Crl | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `parsed_certificate`
        return _read(encoded)


def _read(encoded: bytes) -> _Crl | None:
    try:
        parsed = x509.load_der_x509_crl(encoded)
        entries = (extension for entry in parsed for extension in entry.extensions)
        if any(extension.critical and extension.oid not in _ENTRY_PROCESSED for extension in entries):
            return None  # RFC 5280, 5.3
        return _Crl(parsed, comparable_name(parsed.issuer), parsed.extensions)
    except _UNREADABLE:
        return None


def _is_in_scope(crl: _Crl, certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    """Tells whether the CRL is of this issuer and covers *certificate* (RFC 5280, 6.3.3 (b))."""
    if crl.issuer != certificate.issuer or crl.issuer != issuer.subject:
        return False
    scope = _find(crl, x509.IssuingDistributionPoint)
    if scope is None:
        return True
    if scope.indirect_crl or scope.only_contains_attribute_certs or scope.only_some_reasons:
        return False
    if scope.only_contains_user_certs and certificate.is_ca:
        return False
    if scope.only_contains_ca_certs and not certificate.is_ca:
        return False
    return scope.relative_name is None and (
        scope.full_name is None or _is_distribution_point(scope.full_name, certificate)
    )


def _is_distribution_point(names: Sequence[x509.GeneralName], certificate: ParsedCertificate) -> bool:
    points = certificate.find(x509.CRLDistributionPoints) or ()
    return any(name in (point.full_name or ()) for point in points for name in names)


def _is_usable(crl: _Crl, at: datetime) -> bool:
    """Tells whether the CRL is current, numbered, and without unknown critical extensions (RFC 5280, 5.1.2, 5.2)."""
    begin, end = crl.parsed.last_update_utc, crl.parsed.next_update_utc
    if end is None or not begin <= at.replace(microsecond=0) <= end:
        return False
    if _find(crl, x509.CRLNumber) is None:
        return False
    for extension in crl.extensions:
        must_be = extension.oid == ExtensionOID.ISSUING_DISTRIBUTION_POINT
        if extension.critical != must_be and (must_be or extension.oid in _PROCESSED):
            return False
        if extension.critical and extension.oid not in _PROCESSED:
            return False
    return True


def _has_valid_signature(crl: _Crl, issuer: ParsedCertificate, budget: Budget) -> bool:
    """Checks the issuer's key usage and the signature (RFC 5280, 6.3.3 (f) and (g))."""
    usage = issuer.find(x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    budget.check_signature()
    return is_signed_by(crl.parsed, issuer.key)


def _status(crl: _Crl, certificate: ParsedCertificate) -> RevocationStatus:
    entry = crl.parsed.get_revoked_certificate_by_serial_number(certificate.parsed.serial_number)
    if entry is None:
        return RevocationStatus.GOOD
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return RevocationStatus.REVOKED
    is_hold = reason is x509.ReasonFlags.certificate_hold
    return RevocationStatus.ON_HOLD if is_hold else RevocationStatus.REVOKED


def _find(crl: _Crl, kind: type[T]) -> T | None:
    try:
        return crl.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
