"""What RFC 5280 demands of one certificate for the place that it has in a path.

Each rule says what is wrong, or None. A path is only as good as the care of those who issued it: what a conforming
authority must not have done is a reason to reject, not something to overlook.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from services.certificate.verification.certificate import Certificate
from services.certificate.verification.name_constraints import malformed_subtree
from services.certificate.verification.peers import is_host_or_wildcard, is_mailbox
from services.certificate.verification.rules import Place, Rules
from services.certificate.verification.signatures import verifies, weakness

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


def problem(certificate: Certificate, place: Place, at: datetime, rules: Rules) -> str | None:
    """What is wrong with it in this place at this instant; None: nothing is, by all that it says itself."""
    return (
        _validity(certificate, at)
        or _extensions(certificate)
        or _names(certificate, place)
        or _identifiers(certificate, place)
        or _key(certificate)
        or (_authority(certificate, rules) if place is not Place.LEAF else _end(certificate))
    )


def _validity(certificate: Certificate, at: datetime) -> str | None:
    """RFC 5280, 4.1.2.5: both ends are included. It knows whole seconds only, so the instant is cut to them."""
    second = at.replace(microsecond=0)
    begin, end = certificate.parsed.not_valid_before_utc, certificate.parsed.not_valid_after_utc
    if second < begin:
        return f"it is valid from {begin.isoformat()} only"
    return f"it is valid until {end.isoformat()} only" if second > end else None


def _extensions(certificate: Certificate) -> str | None:
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


def _names(certificate: Certificate, place: Place) -> str | None:
    if not certificate.issuer:
        return "it names no issuer (RFC 5280, 4.1.2.4)"
    if not certificate.subject and place is not Place.LEAF:
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


def _identifiers(certificate: Certificate, place: Place) -> str | None:
    """RFC 5280, 4.2.1.1 and 4.2.1.2. Only what is signed by its own key may leave out whose key that is."""
    if certificate.issuer_identifier is None and not (place is Place.ANCHOR and _is_self_signed(certificate)):
        return "it does not say by which key it was signed (RFC 5280, 4.2.1.1)"
    if place is not Place.LEAF and certificate.identifier is None:
        return "it is an authority's and has no subject key identifier (RFC 5280, 4.2.1.2)"
    return None


def _is_self_signed(certificate: Certificate) -> bool:
    """By its signature, whatever its names say (RFC 5280, 3.2)."""
    return verifies(certificate.parsed, certificate.key)


def _key(certificate: Certificate) -> str | None:
    return weakness(certificate.key)


def _authority(certificate: Certificate, rules: Rules) -> str | None:
    basic, usage = certificate.find(x509.BasicConstraints), certificate.find(x509.KeyUsage)
    if basic is None or not basic.ca:
        return "it is no authority's (RFC 5280, 4.2.1.9)"
    if not certificate.is_critical(x509.BasicConstraints):
        return "its basic constraints are not critical (RFC 5280, 4.2.1.9)"
    if usage is not None and not usage.key_cert_sign:
        return "its key is not for signing certificates (RFC 5280, 4.2.1.3)"
    return _name_constraints(certificate, rules)


def _name_constraints(certificate: Certificate, rules: Rules) -> str | None:
    constraints = certificate.find(x509.NameConstraints)
    if constraints is None:
        return None
    if not rules.web and not certificate.is_critical(x509.NameConstraints):
        return "its name constraints are not critical (RFC 5280, 4.2.1.10)"
    subtree = malformed_subtree(constraints)
    return None if subtree is None else f"its name constraint {subtree[:80]!a} is malformed (RFC 5280, 4.2.1.10)"


def _end(certificate: Certificate) -> str | None:
    """The last of a path. It may be an authority's (RFC 5280, 6.1), but must not be half of one."""
    if certificate.is_authority:
        return None
    if certificate.find(x509.NameConstraints) is not None:
        return "it is no authority's and has name constraints (RFC 5280, 4.2.1.10)"
    usage = certificate.find(x509.KeyUsage)
    if usage is not None and usage.key_cert_sign:
        return "it is no authority's and its key is for signing certificates (RFC 5280, 4.2.1.9)"
    return None
