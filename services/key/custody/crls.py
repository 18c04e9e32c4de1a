"""Which TBSCertList a certificate-signing key signs: a complete or a delta CRL of an authority that it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from services.key.custody.authorities import Authority
from services.key.custody.tbs import NotToBeSignedError, ToBeListed

_LONGEST = timedelta(days=367)  # a leap year and a day of overlap
_UNDERSTOOD = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.DELTA_CRL_INDICATOR})


def require_sound(crl: ToBeListed) -> None:
    """What holds of every CRL, whoever signs it."""
    for extension in crl.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise NotToBeSignedError(f"its critical extension {extension.oid.dotted_string} is not understood here")
    if crl.extension(x509.CRLNumber) is None:
        raise NotToBeSignedError("it has no CRL number (RFC 5280, 5.2.3)")
    delta = crl.extension(x509.DeltaCRLIndicator)
    if delta is not None and not delta.critical:
        raise NotToBeSignedError("its delta CRL indicator must be critical (RFC 5280, 5.2.4)")
    point = crl.extension(x509.IssuingDistributionPoint)
    if point is not None and (point.value.indirect_crl or not point.critical):
        raise NotToBeSignedError("its issuing distribution point must be critical and not indirect (RFC 5280, 5.2.5)")
    _require_end(crl)
    _require_plain_entries(crl)


def _require_end(crl: ToBeListed) -> None:
    begins, ends = crl.crl.last_update_utc, crl.crl.next_update_utc
    if ends is None:
        raise NotToBeSignedError("it has no nextUpdate (RFC 5280, 5.1.2.5)")
    if not begins <= ends <= begins + _LONGEST:
        raise NotToBeSignedError(f"its nextUpdate must be after thisUpdate, and within {_LONGEST.days} days of it")


def _require_plain_entries(crl: ToBeListed) -> None:
    for entry in crl.crl:
        for extension in entry.extensions:
            # A certificate issuer there would make it revoke what another authority issued.
            if extension.critical or extension.oid == CRLEntryExtensionOID.CERTIFICATE_ISSUER:
                raise NotToBeSignedError(f"the extension {extension.oid.dotted_string} of an entry is not signed here")


def require_issued_by_one_of(crl: ToBeListed, noted: Sequence[Authority]) -> None:
    problem = "this key has no certificate of an authority: sign its root first, or have it bound (key.bind-authority)"
    if noted:
        problem = "its issuer is no authority of this key: the name is another"
    for authority in noted:
        if authority.subject == crl.issuer:
            found = _problem_under(authority, crl)
            if found is None:
                return
            problem = found
    raise NotToBeSignedError(problem)


def _problem_under(authority: Authority, crl: ToBeListed) -> str | None:
    if authority.key_identifier is not None:
        extension = crl.extension(x509.AuthorityKeyIdentifier)
        if extension is None or extension.value.key_identifier != authority.key_identifier:
            return "its authority key identifier is not the subject key identifier of its issuer"
    if crl.crl.last_update_utc < authority.not_before:
        return "its thisUpdate is before its issuer's certificate begins"
    return None
