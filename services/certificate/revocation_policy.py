"""How often an issuer says anew what it revoked, and how long its word is good for."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class CrlPolicy:
    """A CRL is due a *period* after the one before, and good for the *overlap* longer: the time there is to mend what
    keeps the next one from being published."""

    period: timedelta = timedelta(hours=24)
    overlap: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """Status answers are good for *validity*, and made anew when half of it has passed."""

    validity: timedelta = timedelta(days=7)
