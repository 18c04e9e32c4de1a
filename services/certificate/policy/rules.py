"""What the owner of this PKI lays down: who may have which certificates, and what the issuers' certificates say.

Pure. Read from a file by `services.certificate.policy.file`; where there is none, everything is allowed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.certificate.names import subtrees
from services.certificate.names.forms import Names
from services.certificate.policy.patterns import glob
from services.certificate.profiles import CRL, CrlProfile
from shared.contracts.certificate.vocabulary import Profile, SanKind

ANNOUNCED = timedelta(days=30)
_SHARE = 3
"""An end is announced in the last third of a life at the earliest."""


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rules judge. *names* is None where nobody is named yet: a check before the subject is known."""

    actor: str
    profile: Profile
    issuer_id: str | None
    names: Names | None
    validity_days: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What is None is not looked at.

    An allow rule allows a request all of whose names it names; where it names some kinds, it allows no other kind. A
    deny rule denies a request one of whose names it names. An account (UPN) is judged like an e-mail address.
    """

    verdict: Verdict
    actors: tuple[str, ...] = ("*",)
    profiles: frozenset[Profile] | None = None
    issuers: tuple[str, ...] | None = None
    dns: tuple[str, ...] | None = None
    email: tuple[str, ...] | None = None
    uri: tuple[str, ...] | None = None
    ip: tuple[str, ...] | None = None
    max_validity_days: int | None = None

    @property
    def names_somebody(self) -> bool:
        return any(each is not None for each in (self.dns, self.email, self.uri, self.ip))

    def is_about(self, asked: Asked) -> bool:
        return (
            any(glob(pattern).fullmatch(asked.actor) for pattern in self.actors)
            and (self.profiles is None or asked.profile in self.profiles)
            and (self.issuers is None or asked.issuer_id in self.issuers)
        )

    def allows(self, asked: Asked) -> bool:
        short = self.max_validity_days is None or asked.validity_days <= self.max_validity_days
        if not self.is_about(asked) or not short:
            return False
        return not self.names_somebody or all(self._names(name.kind, name.value) for name in asked.names or ())

    def denies(self, asked: Asked) -> bool:
        long = self.max_validity_days is None or asked.validity_days > self.max_validity_days
        if not self.is_about(asked) or not long:
            return False
        return not self.names_somebody or any(self._reaches(name.kind, name.value) for name in asked.names or ())

    def _names(self, kind: SanKind, value: str) -> bool:
        patterns, lies_in = self._patterns(kind)
        return any(lies_in(value, pattern) for pattern in patterns or ())

    def _reaches(self, kind: SanKind, value: str) -> bool:
        """A wildcard that stands for a denied name, among others, is denied."""
        wild = kind is SanKind.DNS and any(subtrees.wildcard_reaches(value, each) for each in self.dns or ())
        return wild or self._names(kind, value)

    def _patterns(self, kind: SanKind) -> tuple[tuple[str, ...] | None, Callable[[str, str], bool]]:
        match kind:
            case SanKind.DNS:
                return self.dns, subtrees.host_below
            case SanKind.EMAIL | SanKind.UPN:
                return self.email, subtrees.mailbox_below
            case SanKind.URI:
                return self.uri, lambda value, pattern: glob(pattern).fullmatch(value) is not None
            case SanKind.IP:
                return self.ip, subtrees.address_below

    def __str__(self) -> str:
        """What it is about, as its file has it."""
        told: dict[str, object] = {
            "profiles": None if self.profiles is None else sorted(self.profiles),
            "issuers": self.issuers,
            "dns": self.dns,
            "email": self.email,
            "uri": self.uri,
            "ip": self.ip,
        }
        parts = [f"{name} {', '.join(map(str, each))}" for name, each in told.items() if isinstance(each, tuple | list)]
        if self.max_validity_days is not None:
            parts.append(f"{self.max_validity_days} days")
        return "; ".join(parts) or "anything"


@dataclass(frozen=True, slots=True)
class Pointers:
    """Where the certificates of an issuer say that more is to be found (RFC 5280, 4.2.1.13 and 4.2.2.1)."""

    crl: str | None = None
    issuer: str | None = None
    ocsp: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerPolicy:
    base_url: str | None = None
    ocsp: bool = False
    crl: CrlProfile = CRL
    announced: timedelta = ANNOUNCED
    renewal: bool = False

    def pointers(self, issuer_id: str, *, answers_for_itself: bool) -> Pointers:
        """None at all without a URL. Of one that answers for itself, nobody is asked whether it is revoked."""
        if self.base_url is None:
            return Pointers()
        issuer = f"{self.base_url}/ca/{issuer_id}.cer"
        if answers_for_itself:
            return Pointers(issuer=issuer)
        return Pointers(f"{self.base_url}/crl/{issuer_id}.crl", issuer, f"{self.base_url}/ocsp" if self.ocsp else None)

    def expiring_at(self, begin: datetime, end: datetime) -> datetime:
        """When the end of a life is announced: so long before as is laid down, yet in its last third."""
        return (end - min(self.announced, (end - begin) / _SHARE)).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Policy:
    """*issuers*: each with the id it is for (None: any); the first that matches holds. *ml_dsa*: it is enabled."""

    issuers: tuple[tuple[str | None, IssuerPolicy], ...] = ()
    rules: tuple[Rule, ...] = ()
    ml_dsa: bool = False

    def of_issuer(self, issuer_id: str | None) -> IssuerPolicy:
        for match, policy in self.issuers:
            if match is None or match == issuer_id:
                return policy
        return IssuerPolicy()

    def objection(self, asked: Asked) -> str | None:
        """Why *asked* is not allowed, and what would be; None: it is. A denial wins over whatever allows."""
        for rule in self.rules:
            if rule.verdict is Verdict.DENY and rule.denies(asked):
                return f"the policy denies {asked.actor} {asked.profile}: denied are {rule}"
        allowing = [rule for rule in self.rules if rule.verdict is Verdict.ALLOW]
        if not allowing or any(rule.allows(asked) for rule in allowing):
            return None
        theirs = [str(rule) for rule in allowing if any(glob(each).fullmatch(asked.actor) for each in rule.actors)]
        possible = " | ".join(theirs) or "nothing"
        return f"the policy does not allow {asked.actor} this {asked.profile} certificate; allowed are: {possible}"
