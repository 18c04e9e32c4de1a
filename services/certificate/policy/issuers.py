"""Settings per issuer."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.certificate.profiles import CRL, CrlProfile

DEFAULT_EXPIRY_NOTICE = timedelta(days=30)
_SHARE = 3
"""An end is announced in the last third of a life at the earliest."""


@dataclass(frozen=True, slots=True)
class IssuerUrls:
    """Where the certificates of an issuer say that more is to be found (RFC 5280, 4.2.1.13 and 4.2.2.1)."""

    crl: str | None = None
    issuer: str | None = None
    ocsp: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerPolicy:
    base_url: str | None = None
    ocsp: bool = False
    crl: CrlProfile = CRL
    announced: timedelta = DEFAULT_EXPIRY_NOTICE
    renewal: bool = False

    def pointers(self, issuer_id: str, *, ocsp_no_check: bool) -> IssuerUrls:
        """None at all without a URL. Of one that answers for itself, nobody is asked whether it is revoked."""
        if self.base_url is None:
            return IssuerUrls()
        issuer = f"{self.base_url}/ca/{issuer_id}.cer"
        if ocsp_no_check:
            return IssuerUrls(issuer=issuer)
        return IssuerUrls(
            f"{self.base_url}/crl/{issuer_id}.crl", issuer, f"{self.base_url}/ocsp" if self.ocsp else None
        )

    def expiring_at(self, begin: datetime, end: datetime) -> datetime:
        """When the end of a life is announced: so long before as is laid down, yet in its last third."""
        return (end - min(self.announced, (end - begin) / _SHARE)).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """Status answers are good for *validity*, and made anew when half of it has passed."""

    validity: timedelta = timedelta(days=7)
