"""What RFC 5280 demands of one certificate for the place that it has in a path.

Each rule says what is wrong, or None. A path is only as good as the care of those who issued it: what a conforming
authority must not have done is a reason to reject, not something to overlook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from services.certificate.verification.name_constraints import malformed_subtree
from services.certificate.verification.name_matching import is_host_or_wildcard, is_mailbox
from services.certificate.verification.parsed_certificate import ParsedCertificate
from services.certificate.verification.signature_checks import verifies, weakness, weakness_for_the_web
from shared.contracts.certificate.value_types import VerifiedUsage


class Position(StrEnum):
    """Where a certificate stands in a path."""

    LEAF = "leaf"
    INTERMEDIATE = "intermediate"
    ANCHOR = "anchor"


def is_top_level(suffix: str) -> bool:
    """As much of the Public Suffix List as is known without it: its rule for what it does not list is `*`."""
    return "." not in suffix


@dataclass(frozen=True, slots=True)
class RuleSet:
    """RFC 5280 and, where *web* is set, what the CA/Browser Forum's Baseline Requirements (BR) say beside it.

    *is_public_suffix* tells under which names no wildcard may stand (BR 3.2.2.6). Our own PKI is no part of the web's:
    its names end in what no list knows, and a common name there may be any.
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


def problem(certificate: ParsedCertificate, place: Position, at: datetime, rules: RuleSet) -> str | None:
    """What is wrong with it in this place at this instant; None: nothing is, by all that it says itself."""
    return (
        _validity(certificate, at)
        or _extensions(certificate)
        or _names(certificate, place)
        or _identifiers(certificate, place)
        or _key(certificate)
        or (_authority(certificate, rules) if place is not Position.LEAF else _end(certificate))
    )


def _validity(certificate: ParsedCertificate, at: datetime) -> str | None:
    """RFC 5280, 4.1.2.5: both ends are included. It knows whole seconds only, so the instant is cut to them."""
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
            return f"its critical extension {extension.oid.dotted_string} is not known here (RFC 5280, 4.2)"
    return None


def _names(certificate: ParsedCertificate, place: Position) -> str | None:
    if not certificate.issuer:
        return "it names no issuer (RFC 5280, 4.1.2.4)"
    if not certificate.subject and place is not Position.LEAF:
        return "it is an authority's and has no subject (RFC 5280, 4.1.2.6)"
    if not certificate.subject and not certificate.is_critical(x509.SubjectAlternativeName):
        return "it has no subject, and no critical alternative name in its place (RFC 5280, 4.2.1.6)"
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


def _identifiers(certificate: ParsedCertificate, place: Position) -> str | None:
    """RFC 5280, 4.2.1.1 and 4.2.1.2. Only what is signed by its own key may leave out whose key that is."""
    if certificate.issuer_identifier is None and not (place is Position.ANCHOR and _is_self_signed(certificate)):
        return "it does not say by which key it was signed (RFC 5280, 4.2.1.1)"
    if place is not Position.LEAF and certificate.identifier is None:
        return "it is an authority's and has no subject key identifier (RFC 5280, 4.2.1.2)"
    return None


def _is_self_signed(certificate: ParsedCertificate) -> bool:
    """By its signature, whatever its names say (RFC 5280, 3.2)."""
    return verifies(certificate.parsed, certificate.key)


def _key(certificate: ParsedCertificate) -> str | None:
    return weakness(certificate.key)


def _authority(certificate: ParsedCertificate, rules: RuleSet) -> str | None:
    basic, usage = certificate.find(x509.BasicConstraints), certificate.find(x509.KeyUsage)
    if basic is None or not basic.ca:
        return "it is no authority's (RFC 5280, 4.2.1.9)"
    if not certificate.is_critical(x509.BasicConstraints):
        return "its basic constraints are not critical (RFC 5280, 4.2.1.9)"
    if usage is not None and not usage.key_cert_sign:
        return "its key is not for signing certificates (RFC 5280, 4.2.1.3)"
    return _name_constraints(certificate, rules)


def _name_constraints(certificate: ParsedCertificate, rules: RuleSet) -> str | None:
    constraints = certificate.find(x509.NameConstraints)
    if constraints is None:
        return None
    if not rules.web and not certificate.is_critical(x509.NameConstraints):
        return "its name constraints are not critical (RFC 5280, 4.2.1.10)"
    subtree = malformed_subtree(constraints)
    return None if subtree is None else f"its name constraint {subtree[:80]!a} is malformed (RFC 5280, 4.2.1.10)"


def _end(certificate: ParsedCertificate) -> str | None:
    """The last of a path. It may be an authority's (RFC 5280, 6.1), but must not be half of one."""
    if certificate.is_authority:
        return None
    if certificate.find(x509.NameConstraints) is not None:
        return "it is no authority's and has name constraints (RFC 5280, 4.2.1.10)"
    usage = certificate.find(x509.KeyUsage)
    if usage is not None and usage.key_cert_sign:
        return "it is no authority's and its key is for signing certificates (RFC 5280, 4.2.1.9)"
    return None


def web_problem(certificate: ParsedCertificate, place: Position, rules: RuleSet) -> str | None:
    if (weak := weakness_for_the_web(certificate.key)) is not None:
        return weak
    match place:
        case Position.ANCHOR:
            return _root(certificate)
        case Position.LEAF:
            return _subscriber(certificate) or _wildcards(certificate, rules) or _common_name(certificate)
        case Position.INTERMEDIATE:
            return None


def _root(certificate: ParsedCertificate) -> str | None:
    if certificate.find(x509.ExtendedKeyUsage) is not None:
        return "it is a root's and has extended key usages (BR 7.1.2.1.2)"
    issuer = certificate.find(x509.AuthorityKeyIdentifier)
    if issuer is None or not certificate.is_self_issued:
        return None
    if issuer.authority_cert_issuer is not None or issuer.authority_cert_serial_number is not None:
        return "it is a root's and names a certificate as its issuer's (BR 7.1.2.1.3)"
    if issuer.key_identifier is None or issuer.key_identifier != certificate.identifier:
        return "it is a root's and its two key identifiers are not the same (BR 7.1.2.1.3)"
    return None


def _subscriber(certificate: ParsedCertificate) -> str | None:
    usage, extended = certificate.find(x509.KeyUsage), certificate.find(x509.ExtendedKeyUsage)
    if certificate.is_authority or (usage is not None and usage.key_cert_sign):
        return "it is an authority's, and so no subscriber's (BR 7.1.2.7.8)"
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
                return f"its wildcard stands below {suffix}, under which anybody may have a name (BR 3.2.2.6)"
    return None


def _common_name(certificate: ParsedCertificate) -> str | None:
    """BR 7.1.4.3: character for character one of the alternative names; an address as RFC 3986 and RFC 5952 have it."""
    names = {_written(each) for each in certificate.alternative_names}
    for common_name in certificate.name.get_attributes_for_oid(NameOID.COMMON_NAME):
        if common_name.value not in names:
            return "its common name is none of its alternative names (BR 7.1.4.3)"
    return None


def _written(name: x509.GeneralName) -> str:
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


_FITTING: dict[VerifiedUsage, Callable[[x509.KeyUsage], bool]] = {
    VerifiedUsage.ANY: lambda _: True,
    VerifiedUsage.TLS_SERVER: lambda usage: usage.digital_signature or usage.key_encipherment or usage.key_agreement,
    VerifiedUsage.TLS_CLIENT: lambda usage: usage.digital_signature or usage.key_agreement,
    VerifiedUsage.EMAIL: lambda usage: (
        usage.digital_signature or usage.content_commitment or usage.key_encipherment or usage.key_agreement
    ),
    VerifiedUsage.CODE_SIGNING: lambda usage: usage.digital_signature,
    VerifiedUsage.OCSP_RESPONDER: lambda usage: usage.digital_signature or usage.content_commitment,
}
"""RFC 5280, 4.2.1.12, lists for each purpose the key usages that may be consistent with it."""

_ANY_IS_NOT_ENOUGH = (VerifiedUsage.OCSP_RESPONDER, VerifiedUsage.CODE_SIGNING)


def unfit(certificate: ParsedCertificate, usage: VerifiedUsage) -> str | None:
    """Why it is not good for *usage*, as the last of a path; None: it is."""
    wanted, extended = EXTENDED_KEY_USAGES[usage], certificate.find(x509.ExtendedKeyUsage)
    if wanted is None:
        return None
    if extended is None:
        # RFC 6960, 4.2.2.2: a responder must say that it is one
        return "it does not say that it is an OCSP responder's" if usage is VerifiedUsage.OCSP_RESPONDER else None
    if not _allows(extended, wanted) or (usage in _ANY_IS_NOT_ENOUGH and wanted not in extended):
        return f"it is not good for {usage}: its extended key usages do not have it (RFC 5280, 4.2.1.12)"
    key_usage = certificate.find(x509.KeyUsage)
    if key_usage is not None and not _FITTING[usage](key_usage):
        return f"it is not good for {usage}: its key usages do not fit (RFC 5280, 4.2.1.12)"
    return None


def withheld(authority: ParsedCertificate, usage: VerifiedUsage) -> str | None:
    """Why what it issues cannot be good for *usage*: an authority's extended key usages hold for all below it.

    RFC 5280 is silent on it; every implementation does so, and the Baseline Requirements (7.1.2.2) rely on it. An
    authority's own responder is its delegate, whatever it may issue.
    """
    wanted, extended = EXTENDED_KEY_USAGES[usage], authority.find(x509.ExtendedKeyUsage)
    if wanted is None or extended is None or usage is VerifiedUsage.OCSP_RESPONDER or _allows(extended, wanted):
        return None
    return f"it may issue nothing that is good for {usage}: its extended key usages do not have it"


def _allows(extended: x509.ExtendedKeyUsage, wanted: ObjectIdentifier) -> bool:
    return wanted in extended or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended
