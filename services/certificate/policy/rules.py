"""What the owner of this PKI lays down: who may have which certificates, and what the issuers' certificates say.

Pure. Read from a file by `services.certificate.policy.file`; where there is none, everything is allowed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from services.certificate.names import subtrees
from services.certificate.names.syntax import AlternativeNames
from services.certificate.policy.issuers import IssuerPolicy
from shared.contracts.certificate.ssh import CreateSshCertificate, SshCertificateKind
from shared.contracts.certificate.value_types import Profile, SanKind


@lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """*pattern* as a regular expression that a whole text must match."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


class RuleAction(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class IssuanceRequest:
    """What the rules judge. *names* is None where nobody is named yet: a check before the subject is known."""

    actor: str
    profile: Profile
    issuer_id: str | None
    names: AlternativeNames | None
    validity_days: int


@dataclass(frozen=True, slots=True)
class IssuanceRule:
    """What is None is not looked at.

    An allow rule allows a request all of whose names it names; where it names some kinds, it allows no other kind. A
    deny rule denies a request one of whose names it names. An account (UPN) is judged like an e-mail address.
    """

    verdict: RuleAction
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

    def is_about(self, asked: IssuanceRequest) -> bool:
        return (
            any(glob(pattern).fullmatch(asked.actor) for pattern in self.actors)
            and (self.profiles is None or asked.profile in self.profiles)
            and (self.issuers is None or asked.issuer_id in self.issuers)
        )

    def allows(self, asked: IssuanceRequest) -> bool:
        short = self.max_validity_days is None or asked.validity_days <= self.max_validity_days
        if not self.is_about(asked) or not short:
            return False
        return not self.names_somebody or all(self._names(name.kind, name.value) for name in asked.names or ())

    def denies(self, asked: IssuanceRequest) -> bool:
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
class SshRule:
    """What is None is not looked at. An allow rule allows a request all of whose principals it names; a deny rule
    denies one any of whose principals it names, or that is longer than it says."""

    verdict: RuleAction
    actors: tuple[str, ...] = ("*",)
    kinds: frozenset[SshCertificateKind] | None = None
    keys: tuple[str, ...] | None = None
    principals: tuple[str, ...] | None = None
    max_validity_minutes: int | None = None

    def allows(self, actor: str, asked: CreateSshCertificate) -> bool:
        short = self.max_validity_minutes is None or asked.validity_minutes <= self.max_validity_minutes
        return self._is_about(actor, asked) and short and all(map(self._names, asked.principals))

    def denies(self, actor: str, asked: CreateSshCertificate) -> bool:
        long = self.max_validity_minutes is None or asked.validity_minutes > self.max_validity_minutes
        return self._is_about(actor, asked) and long and any(map(self._names, asked.principals))

    def _is_about(self, actor: str, asked: CreateSshCertificate) -> bool:
        return (
            any(glob(pattern).fullmatch(actor) for pattern in self.actors)
            and (self.kinds is None or asked.kind in self.kinds)
            and (self.keys is None or asked.signing_key_id in self.keys)
        )

    def _names(self, principal: str) -> bool:
        return self.principals is None or any(glob(pattern).fullmatch(principal) for pattern in self.principals)


def check_ssh_request(rules: tuple[SshRule, ...], actor: str, asked: CreateSshCertificate) -> str | None:
    """Why *asked* is not allowed; None: it is. A denial wins; with any allow rule, what none allows is refused."""
    if any(rule.verdict is RuleAction.DENY and rule.denies(actor, asked) for rule in rules):
        return f"the policy denies {actor} this SSH certificate for {', '.join(asked.principals)}"
    allowing = [rule for rule in rules if rule.verdict is RuleAction.ALLOW]
    if not allowing or any(rule.allows(actor, asked) for rule in allowing):
        return None
    return f"the policy does not allow {actor} an SSH {asked.kind} certificate for {', '.join(asked.principals)}"


@dataclass(frozen=True, slots=True)
class Policy:
    """*issuers*: each with the id it is for (None: any); the first that matches holds. *ml_dsa*: it is enabled."""

    issuers: tuple[tuple[str | None, IssuerPolicy], ...] = ()
    rules: tuple[IssuanceRule, ...] = ()
    ml_dsa: bool = False

    def for_issuer(self, issuer_id: str | None) -> IssuerPolicy:
        for match, policy in self.issuers:
            if match is None or match == issuer_id:
                return policy
        return IssuerPolicy()

    def check_request(self, asked: IssuanceRequest) -> str | None:
        """Why *asked* is not allowed, and what would be; None: it is. A denial wins over whatever allows."""
        for rule in self.rules:
            if rule.verdict is RuleAction.DENY and rule.denies(asked):
                return f"the policy denies {asked.actor} {asked.profile}: denied are {rule}"
        allowing = [rule for rule in self.rules if rule.verdict is RuleAction.ALLOW]
        if not allowing or any(rule.allows(asked) for rule in allowing):
            return None
        theirs = [str(rule) for rule in allowing if any(glob(each).fullmatch(asked.actor) for each in rule.actors)]
        possible = " | ".join(theirs) or "nothing"
        return f"the policy does not allow {asked.actor} this {asked.profile} certificate; allowed are: {possible}"
