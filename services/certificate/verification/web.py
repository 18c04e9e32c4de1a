"""What the CA/Browser Forum's Baseline Requirements (BR) demand beside RFC 5280 of certificates for the public web."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.certificate.verification.certificate import Certificate
from services.certificate.verification.rules import Place, Rules
from services.certificate.verification.signatures import weakness_for_the_web


def web_problem(certificate: Certificate, place: Place, rules: Rules) -> str | None:
    if (weak := weakness_for_the_web(certificate.key)) is not None:
        return weak
    match place:
        case Place.ANCHOR:
            return _root(certificate)
        case Place.LEAF:
            return _subscriber(certificate) or _wildcards(certificate, rules) or _common_name(certificate)
        case Place.INTERMEDIATE:
            return None


def _root(certificate: Certificate) -> str | None:
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


def _subscriber(certificate: Certificate) -> str | None:
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


def _wildcards(certificate: Certificate, rules: Rules) -> str | None:
    for name in certificate.alternative_names:
        if isinstance(name, x509.DNSName) and name.value.startswith("*."):
            suffix = name.value.removeprefix("*.").lower()
            if rules.is_public_suffix(suffix):
                return f"its wildcard stands below {suffix}, under which anybody may have a name (BR 3.2.2.6)"
    return None


def _common_name(certificate: Certificate) -> str | None:
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
