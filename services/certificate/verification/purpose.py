"""What a certificate's key is for: extended key usages along a path, and key usages that fit them."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from services.certificate.verification.certificate import Certificate
from services.certificate.verification.rules import PURPOSES
from shared.contracts.certificate.vocabulary import VerifiedUsage

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


def unfit(certificate: Certificate, usage: VerifiedUsage) -> str | None:
    """Why it is not good for *usage*, as the last of a path; None: it is."""
    wanted, extended = PURPOSES[usage], certificate.find(x509.ExtendedKeyUsage)
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


def withheld(authority: Certificate, usage: VerifiedUsage) -> str | None:
    """Why what it issues cannot be good for *usage*: an authority's extended key usages hold for all below it.

    RFC 5280 is silent on it; every implementation does so, and the Baseline Requirements (7.1.2.2) rely on it. An
    authority's own responder is its delegate, whatever it may issue.
    """
    wanted, extended = PURPOSES[usage], authority.find(x509.ExtendedKeyUsage)
    if wanted is None or extended is None or usage is VerifiedUsage.OCSP_RESPONDER or _allows(extended, wanted):
        return None
    return f"it may issue nothing that is good for {usage}: its extended key usages do not have it"


def _allows(extended: x509.ExtendedKeyUsage, wanted: ObjectIdentifier) -> bool:
    return wanted in extended or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended
