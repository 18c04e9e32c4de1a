"""How long a status answer is good for."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """Status answers are good for *validity*, and made anew when half of it has passed."""

    validity: timedelta = timedelta(days=7)
