"""Checks of one certificate at its position in a path: RFC 5280, the Baseline Requirements, and key purposes. Pure.

Each check returns what is wrong, or None. A certificate that a conforming CA must not have issued is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from services.certificate.verification.name_constraints import find_malformed_subtree
from services.certificate.verification.name_matching import is_host_or_wildcard, is_mailbox
from services.certificate.verification.parsed_certificate import ParsedCertificate
from services.certificate.verification.signature_checks import baseline_key_weakness, is_signed_by, key_weakness
from shared.contracts.certificate.value_types import VerifiedUsage


class Position(StrEnum):
    """The position of a certificate in a path."""

    LEAF = "leaf"
    INTERMEDIATE = "intermediate"
    ANCHOR = "anchor"


def is_top_level(suffix: str) -> bool:
    """Tells whether *suffix* is a top-level domain: the default rule `*` of the Public Suffix List."""
    return "." not in suffix


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules to apply: RFC 5280 and, with *web*, the CA/Browser Forum's Baseline Requirements (BR).

    *is_public_suffix* tells below which domains a wildcard is forbidden (BR 3.2.2.6). Our own PKI is not part of the
    Web PKI: its domains are on no list, and its common names are free.
    """

    web: bool = False
    is_public_suffix: Callable[[str], bool] = is_top_level


RFC_5280 = RuleSet()
WEB = RuleSet(web=True)


_MUST_NOT_BE_CRITICAL: dict[type[x509.ExtensionType], str] = {
    x509.AuthorityKeyIdentifier: "4.2.1.1",
    x509.SubjectKeyIdentifier: "4.2.1.2",
    x509.FreshestCRL: "4.2.1.15",
    x509.AuthorityInformationAccess: "4.2.2.1",
    x509.SubjectInformationAccess: "4.2.2.2",
}
_MUST_BE_CRITICAL: dict[type[x509.ExtensionType], str] = {
    x509.PolicyConstraints: "4.2.1.11",
    x509.InhibitAnyPolicy: "4.2.1.14",
}
_PROCESSED = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    }
)


def check_certificate(certificate: ParsedCertificate, position: Position, at: datetime, rules: RuleSet) -> str | None:
    """Returns what RFC 5280 forbids in *certificate* at this position and instant, or None."""
    return (
        _validity(certificate, at)
        or _extensions(certificate)
        or _names(certificate, position)
        or _identifiers(certificate, position)
        or _key(certificate)
        or (_ca(certificate, rules) if position is not Position.LEAF else _leaf(certificate))
    )


def _validity(certificate: ParsedCertificate, at: datetime) -> str | None:
    """Includes both ends of the validity, to the second (RFC 5280, 4.1.2.5)."""
    second = at.replace(microsecond=0)
    begin, end = certificate.parsed.not_valid_before_utc, certificate.parsed.not_valid_after_utc
    if second < begin:
        return f"it is valid from {begin.isoformat()} only"
    return f"it is valid until {end.isoformat()} only" if second > end else None


def _extensions(certificate: ParsedCertificate) -> str | None:
    for kind, section in _MUST_NOT_BE_CRITICAL.items():
        if certificate.is_critical(kind):
            return f"its {kind.__name__} is critical (RFC 5280, {section})"
    for kind, section in _MUST_BE_CRITICAL.items():
        if certificate.find(kind) is not None and not certificate.is_critical(kind):
            return f"its {kind.__name__} is not critical (RFC 5280, {section})"
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _PROCESSED:
            return f"its critical extension {extension.oid.dotted_string} is unknown (RFC 5280, 4.2)"
    return None


def _names(certificate: ParsedCertificate, position: Position) -> str | None:
    if not certificate.issuer:
        return "it has no issuer name (RFC 5280, 4.1.2.4)"
    if not certificate.subject and position is not Position.LEAF:
        return "it is a CA certificate without a subject (RFC 5280, 4.1.2.6)"
    if not certificate.subject and not certificate.is_critical(x509.SubjectAlternativeName):
        return "it has no subject, and no critical alternative name in its position (RFC 5280, 4.2.1.6)"
    for name in certificate.alternative_names:
        match name:
            case x509.DNSName(value=value) if not is_host_or_wildcard(value):
                return f"its alternative name {value[:80]!a} is no host name (RFC 5280, 4.2.1.6)"
            case x509.IPAddress(value=value) if not isinstance(value, IPv4Address | IPv6Address):
                return f"its alternative name {value} is no IP address (RFC 5280, 4.2.1.6)"
            case x509.RFC822Name(value=value) if not is_mailbox(value):
                return f"its alternative name {value[:80]!a} is no mailbox (RFC 5280, 4.2.1.6)"
            case _:
                pass
    return None


def _identifiers(certificate: ParsedCertificate, position: Position) -> str | None:
    """Requires key identifiers (RFC 5280, 4.2.1.1, 4.2.1.2); a self-signed certificate may omit the issuer's."""
    if certificate.issuer_identifier is None and not (position is Position.ANCHOR and _is_self_signed(certificate)):
        return "it has no authority key identifier (RFC 5280, 4.2.1.1)"
    if position is not Position.LEAF and certificate.identifier is None:
        return "it is a CA certificate without a subject key identifier (RFC 5280, 4.2.1.2)"
    return None


def _is_self_signed(certificate: ParsedCertificate) -> bool:
    """Compares the signature, not the names (RFC 5280, 3.2)."""
    return is_signed_by(certificate.parsed, certificate.key)


def _key(certificate: ParsedCertificate) -> str | None:
    return key_weakness(certificate.key)


def _ca(certificate: ParsedCertificate, rules: RuleSet) -> str | None:
    basic, usage = certificate.find(x509.BasicConstraints), certificate.find(x509.KeyUsage)
    if basic is None or not basic.ca:
        return "it is not a CA certificate (RFC 5280, 4.2.1.9)"
    if not certificate.is_critical(x509.BasicConstraints):
        return "its basic constraints are not critical (RFC 5280, 4.2.1.9)"
    if usage is not None and not usage.key_cert_sign:
        return "its key usage lacks keyCertSign (RFC 5280, 4.2.1.3)"
    return _name_constraints(certificate, rules)


def _name_constraints(certificate: ParsedCertificate, rules: RuleSet) -> str | None:
    constraints = certificate.find(x509.NameConstraints)
    if constraints is None:
        return None
    if not rules.web and not certificate.is_critical(x509.NameConstraints):
        return "its name constraints are not critical (RFC 5280, 4.2.1.10)"
    subtree = find_malformed_subtree(constraints)
    return None if subtree is None else f"its name constraint {subtree[:80]!a} is malformed (RFC 5280, 4.2.1.10)"


def _leaf(certificate: ParsedCertificate) -> str | None:
    """Checks the leaf. It may be a CA certificate (RFC 5280, 6.1), but must not have only some properties of one."""
    if certificate.is_ca:
        return None
    if certificate.find(x509.NameConstraints) is not None:
        return "it is not a CA certificate, and it has name constraints (RFC 5280, 4.2.1.10)"
    usage = certificate.find(x509.KeyUsage)
    if usage is not None and usage.key_cert_sign:
        return "it is not a CA certificate, and its key usage has keyCertSign (RFC 5280, 4.2.1.9)"
    return None


def check_baseline_requirements(certificate: ParsedCertificate, position: Position, rules: RuleSet) -> str | None:
    """Returns what the Baseline Requirements forbid in *certificate* at this position, or None."""
    if (problem := baseline_key_weakness(certificate.key)) is not None:
        return problem
    match position:
        case Position.ANCHOR:
            return _root(certificate)
        case Position.LEAF:
            return _subscriber(certificate) or _wildcards(certificate, rules) or _common_name(certificate)
        case Position.INTERMEDIATE:
            return None


def _root(certificate: ParsedCertificate) -> str | None:
    if certificate.find(x509.ExtendedKeyUsage) is not None:
        return "it is a root with extended key usages (BR 7.1.2.1.2)"
    issuer = certificate.find(x509.AuthorityKeyIdentifier)
    if issuer is None or not certificate.is_self_issued:
        return None
    if issuer.authority_cert_issuer is not None or issuer.authority_cert_serial_number is not None:
        return "it is a root whose authority key identifier names a certificate (BR 7.1.2.1.3)"
    if issuer.key_identifier is None or issuer.key_identifier != certificate.identifier:
        return "it is a root whose two key identifiers differ (BR 7.1.2.1.3)"
    return None


def _subscriber(certificate: ParsedCertificate) -> str | None:
    usage, extended = certificate.find(x509.KeyUsage), certificate.find(x509.ExtendedKeyUsage)
    if certificate.is_ca or (usage is not None and usage.key_cert_sign):
        return "it is a CA certificate, not a subscriber certificate (BR 7.1.2.7.8)"
    if extended is None or certificate.is_critical(x509.ExtendedKeyUsage):
        return "it must have extended key usages that are not critical (BR 7.1.2.7.6)"
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended:
        return "it must not be for any extended key usage (BR 7.1.2.7.10)"
    if not certificate.alternative_names:
        return "it has no alternative name (BR 7.1.2.7.12)"
    if certificate.subject and certificate.is_critical(x509.SubjectAlternativeName):
        return "its alternative names are critical, and it has a subject beside them (BR 7.1.2.7.12)"
    return None


def _wildcards(certificate: ParsedCertificate, rules: RuleSet) -> str | None:
    for name in certificate.alternative_names:
        if isinstance(name, x509.DNSName) and name.value.startswith("*."):
            suffix = name.value.removeprefix("*.").lower()
            if rules.is_public_suffix(suffix):
                return f"its wildcard is directly below {suffix}, under which anybody may register a name (BR 3.2.2.6)"
    return None


def _common_name(certificate: ParsedCertificate) -> str | None:
    """Requires that the common name equals a SAN (BR 7.1.4.3), an address in the form of RFC 5952."""
    names = {_text_of(each) for each in certificate.alternative_names}
    for common_name in certificate.name.get_attributes_for_oid(NameOID.COMMON_NAME):
        if common_name.value not in names:
            return "its common name is not among its alternative names (BR 7.1.4.3)"
    return None


def _text_of(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName(value=value):
            return value
        case x509.IPAddress(value=value):
            return str(value)
        case _:
            return ""


EXTENDED_KEY_USAGES: dict[VerifiedUsage, ObjectIdentifier | None] = {
    VerifiedUsage.ANY: None,
    VerifiedUsage.TLS_SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    VerifiedUsage.TLS_CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    VerifiedUsage.EMAIL: ExtendedKeyUsageOID.EMAIL_PROTECTION,
    VerifiedUsage.CODE_SIGNING: ExtendedKeyUsageOID.CODE_SIGNING,
    VerifiedUsage.OCSP_RESPONDER: ExtendedKeyUsageOID.OCSP_SIGNING,
}


_CONSISTENT_KEY_USAGES: dict[VerifiedUsage, Callable[[x509.KeyUsage], bool]] = {
    VerifiedUsage.ANY: lambda _: True,
    VerifiedUsage.TLS_SERVER: lambda usage: usage.digital_signature or usage.key_encipherment or usage.key_agreement,
    VerifiedUsage.TLS_CLIENT: lambda usage: usage.digital_signature or usage.key_agreement,
    VerifiedUsage.EMAIL: lambda usage: (
        usage.digital_signature or usage.content_commitment or usage.key_encipherment or usage.key_agreement
    ),
    VerifiedUsage.CODE_SIGNING: lambda usage: usage.digital_signature,
    VerifiedUsage.OCSP_RESPONDER: lambda usage: usage.digital_signature or usage.content_commitment,
}
"""Key usages that are consistent with each purpose (RFC 5280, 4.2.1.12)."""

_NEEDS_EXPLICIT_PURPOSE = (VerifiedUsage.OCSP_RESPONDER, VerifiedUsage.CODE_SIGNING)


def check_key_purpose(certificate: ParsedCertificate, usage: VerifiedUsage) -> str | None:
    """Returns why a leaf must not be used for *usage*, or None."""
    expected, extended = EXTENDED_KEY_USAGES[usage], certificate.find(x509.ExtendedKeyUsage)
    if expected is None:
        return None
    if extended is None:
        # RFC 6960, 4.2.2.2: a responder must say that it is one
        return (
            "it is not an OCSP responder's: its extended key usages lack OCSPSigning"
            if usage is VerifiedUsage.OCSP_RESPONDER
            else None
        )
    if not _allows(extended, expected) or (usage in _NEEDS_EXPLICIT_PURPOSE and expected not in extended):
        return f"it must not be used for {usage}: its extended key usages lack it (RFC 5280, 4.2.1.12)"
    key_usage = certificate.find(x509.KeyUsage)
    if key_usage is not None and not _CONSISTENT_KEY_USAGES[usage](key_usage):
        return f"it must not be used for {usage}: its key usages do not fit (RFC 5280, 4.2.1.12)"
    return None


def check_issuer_purpose(ca: ParsedCertificate, usage: VerifiedUsage) -> str | None:
    """Returns why certificates of this CA must not be used for *usage*, or None.

    The extended key usages of a CA restrict all certificates below it. RFC 5280 does not say so, but every
    implementation does it and the Baseline Requirements (7.1.2.2) rely on it. An OCSP responder is exempt: it is the
    delegate of its CA.
    """
    expected, extended = EXTENDED_KEY_USAGES[usage], ca.find(x509.ExtendedKeyUsage)
    if expected is None or extended is None or usage is VerifiedUsage.OCSP_RESPONDER or _allows(extended, expected):
        return None
    return f"no certificate below it may be used for {usage}: its extended key usages lack it"


def _allows(extended: x509.ExtendedKeyUsage, expected: ObjectIdentifier) -> bool:
    return expected in extended or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended
