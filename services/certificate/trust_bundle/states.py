"""States of a trust bundle: Unborn or Published. A snapshot is one of them as JSON."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    organization: str
    version: int
    certificate_ids: tuple[str, ...]
    kind: Literal["published"] = "published"


TrustBundle = Unborn | Published
