"""Rules for a TBSCertList: a certificate-signing key signs complete and delta CRLs of its own CAs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from services.key.custody.ca_register import CaCertificate
from services.key.custody.tbs import NotSignableError, TbsCertList

_MAX_VALIDITY = timedelta(days=367)  # a leap year and a day of overlap
_UNDERSTOOD = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.DELTA_CRL_INDICATOR})


def require_sound(crl: TbsCertList) -> None:
    """Checks the rules for every CRL."""
    for extension in crl.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise NotSignableError(f"its critical extension {extension.oid.dotted_string} is not understood here")
    if crl.extension(x509.CRLNumber) is None:
        raise NotSignableError("it has no CRL number (RFC 5280, 5.2.3)")
    delta = crl.extension(x509.DeltaCRLIndicator)
    if delta is not None and not delta.critical:
        raise NotSignableError("its delta CRL indicator must be critical (RFC 5280, 5.2.4)")
    point = crl.extension(x509.IssuingDistributionPoint)
    if point is not None and (point.value.indirect_crl or not point.critical):
        raise NotSignableError("its issuing distribution point must be critical and not indirect (RFC 5280, 5.2.5)")
    _require_next_update(crl)
    _require_plain_entries(crl)


def _require_next_update(crl: TbsCertList) -> None:
    this_update, next_update = crl.crl.last_update_utc, crl.crl.next_update_utc
    if next_update is None:
        raise NotSignableError("it has no nextUpdate (RFC 5280, 5.1.2.5)")
    if not this_update <= next_update <= this_update + _MAX_VALIDITY:
        raise NotSignableError(f"its nextUpdate must be after thisUpdate, and within {_MAX_VALIDITY.days} days of it")


def _require_plain_entries(crl: TbsCertList) -> None:
    for entry in crl.crl:
        for extension in entry.extensions:
            # certificateIssuer would revoke certificates of another CA.
            if extension.critical or extension.oid == CRLEntryExtensionOID.CERTIFICATE_ISSUER:
                raise NotSignableError(f"the extension {extension.oid.dotted_string} of an entry is not signed here")


def require_issuer(crl: TbsCertList, ca_certificates: Sequence[CaCertificate]) -> None:
    """Requires that the issuer is one of the key's CA certificates."""
    problem = "this key has no CA certificate: sign its root first, or have it bound (key.bind-authority)"
    if ca_certificates:
        problem = "its issuer is no CA of this key: the name differs"
    for issuer in ca_certificates:
        if issuer.subject == crl.issuer:
            found = _check_issuer(issuer, crl)
            if found is None:
                return
            problem = found
    raise NotSignableError(problem)


def _check_issuer(issuer: CaCertificate, crl: TbsCertList) -> str | None:
    if issuer.key_identifier is not None:
        extension = crl.extension(x509.AuthorityKeyIdentifier)
        if extension is None or extension.value.key_identifier != issuer.key_identifier:
            return "its authority key identifier is not the subject key identifier of its issuer"
    if crl.crl.last_update_utc < issuer.not_before:
        return "its thisUpdate is before its issuer's certificate begins"
    return None
