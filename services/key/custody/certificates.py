"""Which TBSCertificate a certificate-signing key signs: one about itself as a root, or one below an authority it is."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from services.key.custody.authorities import Authority
from services.key.custody.name_constraints import names_of, violation
from services.key.custody.tbs import NotToBeSignedError, ToBeCertified

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
"""Extensions that may be critical. RFC 5280 lets no other be, of those that this suite knows."""


def is_authority(tbs: ToBeCertified) -> bool:
    basic = tbs.extension(x509.BasicConstraints)
    return basic is not None and basic.value.ca


def require_sound(tbs: ToBeCertified) -> None:
    """What holds of every certificate, whoever signs it."""
    for extension in tbs.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise NotToBeSignedError(f"its critical extension {extension.oid.dotted_string} is not understood here")
    if tbs.not_after < tbs.not_before:
        raise NotToBeSignedError("its validity ends before it begins")
    _require_fitting_usage(tbs)


def _require_fitting_usage(tbs: ToBeCertified) -> None:
    basic, usage = tbs.extension(x509.BasicConstraints), tbs.extension(x509.KeyUsage)
    if basic is not None and basic.value.ca:
        if not basic.critical:
            raise NotToBeSignedError("an authority's basic constraints must be critical (RFC 5280, 4.2.1.9)")
        if not tbs.subject_name.rdns:
            raise NotToBeSignedError("an authority must have a name (RFC 5280, 4.1.2.6)")
        if usage is None or not usage.value.key_cert_sign:
            raise NotToBeSignedError("an authority's key usage must have keyCertSign (RFC 5280, 4.2.1.3)")
        return
    if usage is not None and (usage.value.key_cert_sign or usage.value.crl_sign):
        raise NotToBeSignedError("its key usage has keyCertSign or cRLSign, and it is no authority's (cA is not true)")
    if tbs.extension(x509.NameConstraints) is not None:
        raise NotToBeSignedError("it has name constraints, and it is no authority's (RFC 5280, 4.2.1.10)")


def require_root(tbs: ToBeCertified, noted: Sequence[Authority]) -> None:
    """A certificate of the custodian's own key: a new root, or a root's renewal under the same name."""
    if tbs.issuer != tbs.subject:
        raise NotToBeSignedError("the public key in it is the issuer's own, which only a self-issued root may have")
    if not is_authority(tbs):
        raise NotToBeSignedError("it is self-issued, and no authority (cA of its basic constraints is not true)")
    identifier, issuer = tbs.extension(x509.SubjectKeyIdentifier), tbs.extension(x509.AuthorityKeyIdentifier)
    if issuer is not None and (identifier is None or issuer.value.key_identifier != identifier.value.digest):
        raise NotToBeSignedError("it is self-issued, and its authority key identifier is not its own")
    if noted and not any(known.self_issued and known.subject == tbs.subject for known in noted):
        raise NotToBeSignedError("this key is an authority already, and not a root of this name")


def authority_for(tbs: ToBeCertified, noted: Sequence[Authority]) -> Authority:
    """The authority, among those that the custodian's key is, under which it may sign *tbs*."""
    problem = "this key has no certificate of an authority: sign its root first, or have it bound (key.bind-authority)"
    if noted:
        problem = "its issuer is no authority of this key: the name is another"
    for authority in noted:
        if authority.subject == tbs.issuer:
            found = _problem_under(authority, tbs)
            if found is None:
                return authority
            problem = found
    raise NotToBeSignedError(problem)


def _problem_under(authority: Authority, tbs: ToBeCertified) -> str | None:
    if authority.key_identifier is not None:
        extension = tbs.extension(x509.AuthorityKeyIdentifier)
        if extension is None or extension.value.key_identifier != authority.key_identifier:
            return "its authority key identifier is not the subject key identifier of its issuer"
    if tbs.not_before < authority.not_before or tbs.not_after > authority.not_after:
        return (
            "its validity does not lie within its issuer's, "
            f"{authority.not_before:%Y-%m-%dT%H:%M:%SZ} to {authority.not_after:%Y-%m-%dT%H:%M:%SZ}"
        )
    basic = tbs.extension(x509.BasicConstraints)
    if basic is not None and basic.value.ca and authority.path_length is not None:
        below = basic.value.path_length
        if below is None or below >= authority.path_length:
            return f"its path length must be less than its issuer's, {authority.path_length}"
    if authority.constraints:
        names = names_of(tbs)
        for constraints in authority.constraints:
            if (problem := violation(constraints, names)) is not None:
                return problem
    return None
