"""Rules for a TBSCertificate: a certificate-signing key signs its own root, or a certificate below one of its CAs."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from services.key.custody.ca_register import CaCertificate
from services.key.custody.name_constraints import find_violation, names_of
from services.key.custody.tbs import NotSignableError, TbsCertificate

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    }
)
"""Extensions that may be critical: those that this suite can process."""


def is_ca(tbs: TbsCertificate) -> bool:
    basic = tbs.extension(x509.BasicConstraints)
    return basic is not None and basic.value.ca


def require_sound(tbs: TbsCertificate) -> None:
    """Checks the rules for every certificate."""
    for extension in tbs.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise NotSignableError(f"its critical extension {extension.oid.dotted_string} is not understood here")
    if tbs.not_after < tbs.not_before:
        raise NotSignableError("its validity ends before it begins")
    _require_fitting_usage(tbs)


def _require_fitting_usage(tbs: TbsCertificate) -> None:
    basic, usage = tbs.extension(x509.BasicConstraints), tbs.extension(x509.KeyUsage)
    if basic is not None and basic.value.ca:
        if not basic.critical:
            raise NotSignableError("a CA certificate's basic constraints must be critical (RFC 5280, 4.2.1.9)")
        if not tbs.subject_name.rdns:
            raise NotSignableError("a CA certificate must have a subject (RFC 5280, 4.1.2.6)")
        if usage is None or not usage.value.key_cert_sign:
            raise NotSignableError("a CA certificate's key usage must have keyCertSign (RFC 5280, 4.2.1.3)")
        return
    if usage is not None and (usage.value.key_cert_sign or usage.value.crl_sign):
        raise NotSignableError("its key usage has keyCertSign or cRLSign, but it is not a CA certificate")
    if tbs.extension(x509.NameConstraints) is not None:
        raise NotSignableError("it has name constraints, and it is not a CA certificate (RFC 5280, 4.2.1.10)")


def require_root(tbs: TbsCertificate, ca_certificates: Sequence[CaCertificate]) -> None:
    """Checks a certificate about the signing key itself: a new root, or its renewal under the same name."""
    if tbs.issuer != tbs.subject:
        raise NotSignableError("the public key in it is the issuer's own, which only a self-issued root may have")
    if not is_ca(tbs):
        raise NotSignableError("it is self-issued, and not a CA certificate (cA of its basic constraints is not true)")
    identifier, issuer = tbs.extension(x509.SubjectKeyIdentifier), tbs.extension(x509.AuthorityKeyIdentifier)
    if issuer is not None and (identifier is None or issuer.value.key_identifier != identifier.value.digest):
        raise NotSignableError("it is self-issued, and its authority key identifier is not its own")
    if ca_certificates and not any(each.self_issued and each.subject == tbs.subject for each in ca_certificates):
        raise NotSignableError("this key has a CA certificate already, and none of a root of this name")


def find_issuer(tbs: TbsCertificate, ca_certificates: Sequence[CaCertificate]) -> CaCertificate:
    """Returns the CA certificate under which the key may sign *tbs*. Raises NotSignableError if there is none."""
    problem = "this key has no CA certificate: sign its root first, or have it bound (key.bind-authority)"
    if ca_certificates:
        problem = "its issuer is no CA of this key: the name differs"
    for issuer in ca_certificates:
        if issuer.subject == tbs.issuer:
            found = _check_below(issuer, tbs)
            if found is None:
                return issuer
            problem = found
    raise NotSignableError(problem)


def _check_below(issuer: CaCertificate, tbs: TbsCertificate) -> str | None:
    if issuer.key_identifier is not None:
        extension = tbs.extension(x509.AuthorityKeyIdentifier)
        if extension is None or extension.value.key_identifier != issuer.key_identifier:
            return "its authority key identifier is not the subject key identifier of its issuer"
    if tbs.not_before < issuer.not_before or tbs.not_after > issuer.not_after:
        return (
            "its validity does not lie within its issuer's, "
            f"{issuer.not_before:%Y-%m-%dT%H:%M:%SZ} to {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}"
        )
    basic = tbs.extension(x509.BasicConstraints)
    if basic is not None and basic.value.ca and issuer.path_length is not None:
        below = basic.value.path_length
        if below is None or below >= issuer.path_length:
            return f"its path length must be less than its issuer's, {issuer.path_length}"
    if issuer.constraints:
        names = names_of(tbs)
        for constraints in issuer.constraints:
            if (problem := find_violation(constraints, names)) is not None:
                return problem
    return None
