"""Settings of each issuer: URLs in its certificates, its CRLs, its OCSP responses, and notice of expiry. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.certificate.profiles import CRL, CrlProfile

DEFAULT_EXPIRY_NOTICE = timedelta(days=30)
_NOTICE_SHARE = 3
"""The service announces expiry in the last third of a certificate's validity at the earliest."""


@dataclass(frozen=True, slots=True)
class IssuerUrls:
    """URLs in certificates: cRLDistributionPoints, caIssuers and OCSP (RFC 5280, 4.2.1.13 and 4.2.2.1)."""

    crl: str | None = None
    issuer: str | None = None
    ocsp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerPolicy:
    """The settings of one issuer. Without *base_url* its certificates contain no URLs."""

    base_url: str | None = None
    ocsp: bool = False
    crl: CrlProfile = CRL
    expiry_notice: timedelta = DEFAULT_EXPIRY_NOTICE
    renew: bool = False

    def urls(self, issuer_id: str, *, ocsp_no_check: bool) -> IssuerUrls:
        """Returns the URLs for a certificate of that issuer. One with id-pkix-ocsp-nocheck has no revocation URLs."""
        if self.base_url is None:
            return IssuerUrls()
        issuer = f"{self.base_url}/ca/{issuer_id}.cer"
        if ocsp_no_check:
            return IssuerUrls(issuer=issuer)
        ocsp = f"{self.base_url}/ocsp" if self.ocsp else None
        return IssuerUrls(crl=f"{self.base_url}/crl/{issuer_id}.crl", issuer=issuer, ocsp=ocsp)

    def expiry_notice_at(self, not_before: datetime, not_after: datetime) -> datetime:
        """Returns the time for the notice of expiry."""
        notice = min(self.expiry_notice, (not_after - not_before) / _NOTICE_SHARE)
        return (not_after - notice).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """Validity of OCSP responses. After half of it, new responses replace them."""

    validity: timedelta = timedelta(days=7)
