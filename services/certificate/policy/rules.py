"""Rules of the issuance policy: which actor may have which X.509 and SSH certificates. Pure.

`services.certificate.policy.file` reads them from a file. Without a file every request is allowed.
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
    """Compiles a pattern of the policy file: `*` matches any text, every other character itself."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


class RuleAction(StrEnum):
    """The field `effect` of a rule in the policy file."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceRequest:
    """A request for an X.509 certificate as the rules see it.

    *names* is None for a check that names no subject yet.
    """

    actor: str
    profile: Profile
    issuer_id: str | None
    names: AlternativeNames | None
    validity_days: int


@dataclass(frozen=True, slots=True)
class IssuanceRule:
    """A rule about X.509 certificates. A condition that is None matches every request.

    An allow rule needs all names of the request to match; with patterns for some kinds of name it allows no other
    kind. A deny rule needs one name to match. A UPN is matched as an e-mail address.
    """

    action: RuleAction
    actors: tuple[str, ...] = ("*",)
    profiles: frozenset[Profile] | None = None
    issuers: tuple[str, ...] | None = None
    dns: tuple[str, ...] | None = None
    email: tuple[str, ...] | None = None
    uri: tuple[str, ...] | None = None
    ip: tuple[str, ...] | None = None
    max_validity_days: int | None = None

    @property
    def has_name_patterns(self) -> bool:
        return any(each is not None for each in (self.dns, self.email, self.uri, self.ip))

    def applies_to(self, request: IssuanceRequest) -> bool:
        return (
            any(glob(pattern).fullmatch(request.actor) for pattern in self.actors)
            and (self.profiles is None or request.profile in self.profiles)
            and (self.issuers is None or request.issuer_id in self.issuers)
        )

    def allows(self, request: IssuanceRequest) -> bool:
        is_short = self.max_validity_days is None or request.validity_days <= self.max_validity_days
        if not self.applies_to(request) or not is_short:
            return False
        return not self.has_name_patterns or all(self._matches(name.kind, name.value) for name in request.names or ())

    def denies(self, request: IssuanceRequest) -> bool:
        is_long = self.max_validity_days is None or request.validity_days > self.max_validity_days
        if not self.applies_to(request) or not is_long:
            return False
        return not self.has_name_patterns or any(self._overlaps(name.kind, name.value) for name in request.names or ())

    def _matches(self, kind: SanKind, value: str) -> bool:
        patterns, is_within = self._patterns(kind)
        return any(is_within(value, pattern) for pattern in patterns or ())

    def _overlaps(self, kind: SanKind, value: str) -> bool:
        """Tells whether *value* matches, or is a wildcard that covers a denied host beside others."""
        covers = kind is SanKind.DNS and any(subtrees.wildcard_covers(value, each) for each in self.dns or ())
        return covers or self._matches(kind, value)

    def _patterns(self, kind: SanKind) -> tuple[tuple[str, ...] | None, Callable[[str, str], bool]]:
        match kind:
            case SanKind.DNS:
                return self.dns, subtrees.is_host_within
            case SanKind.EMAIL | SanKind.UPN:
                return self.email, subtrees.is_mailbox_within
            case SanKind.URI:
                return self.uri, lambda value, pattern: glob(pattern).fullmatch(value) is not None
            case SanKind.IP:
                return self.ip, subtrees.is_address_within

    def __str__(self) -> str:
        """Formats the conditions with the field names of the policy file."""
        conditions: dict[str, object] = {
            "profiles": None if self.profiles is None else sorted(self.profiles),
            "issuers": self.issuers,
            "dns": self.dns,
            "email": self.email,
            "uri": self.uri,
            "ip": self.ip,
        }
        present = {field: values for field, values in conditions.items() if isinstance(values, tuple | list)}
        parts = [f"{field} {', '.join(map(str, values))}" for field, values in present.items()]
        if self.max_validity_days is not None:
            parts.append(f"{self.max_validity_days} days")
        return "; ".join(parts) or "anything"


@dataclass(frozen=True, slots=True)
class SshRule:
    """A rule about SSH certificates. A condition that is None matches every request.

    An allow rule needs all principals of the request to match. A deny rule needs one to match, or a validity that is
    longer than its maximum.
    """

    action: RuleAction
    actors: tuple[str, ...] = ("*",)
    kinds: frozenset[SshCertificateKind] | None = None
    keys: tuple[str, ...] | None = None
    principals: tuple[str, ...] | None = None
    max_validity_minutes: int | None = None

    def allows(self, actor: str, request: CreateSshCertificate) -> bool:
        is_short = self.max_validity_minutes is None or request.validity_minutes <= self.max_validity_minutes
        return self._applies_to(actor, request) and is_short and all(map(self._matches, request.principals))

    def denies(self, actor: str, request: CreateSshCertificate) -> bool:
        is_long = self.max_validity_minutes is None or request.validity_minutes > self.max_validity_minutes
        return self._applies_to(actor, request) and is_long and any(map(self._matches, request.principals))

    def _applies_to(self, actor: str, request: CreateSshCertificate) -> bool:
        return (
            any(glob(pattern).fullmatch(actor) for pattern in self.actors)
            and (self.kinds is None or request.kind in self.kinds)
            and (self.keys is None or request.signing_key_id in self.keys)
        )

    def _matches(self, principal: str) -> bool:
        return self.principals is None or any(glob(pattern).fullmatch(principal) for pattern in self.principals)


def check_ssh_request(rules: tuple[SshRule, ...], actor: str, request: CreateSshCertificate) -> str | None:
    """Returns why the rules do not allow *request*, or None. Deny rules win; without an allow rule all is allowed."""
    if any(rule.action is RuleAction.DENY and rule.denies(actor, request) for rule in rules):
        return f"the policy denies {actor} this SSH certificate for {', '.join(request.principals)}"
    allow_rules = [rule for rule in rules if rule.action is RuleAction.ALLOW]
    if not allow_rules or any(rule.allows(actor, request) for rule in allow_rules):
        return None
    return f"the policy does not allow {actor} an SSH {request.kind} certificate for {', '.join(request.principals)}"


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy for X.509 certificates.

    *issuers* pairs issuer ids (None: any) with their settings; the first match counts. *ml_dsa* enables ML-DSA
    keys.
    """

    issuers: tuple[tuple[str | None, IssuerPolicy], ...] = ()
    rules: tuple[IssuanceRule, ...] = ()
    ml_dsa: bool = False

    def for_issuer(self, issuer_id: str | None) -> IssuerPolicy:
        for match, policy in self.issuers:
            if match is None or match == issuer_id:
                return policy
        return IssuerPolicy()

    def check_request(self, request: IssuanceRequest) -> str | None:
        """Returns why the rules do not allow *request* and what they would allow, or None. Deny rules win."""
        for rule in self.rules:
            if rule.action is RuleAction.DENY and rule.denies(request):
                return f"the policy denies {request.actor} {request.profile}: denied are {rule}"
        allow_rules = [rule for rule in self.rules if rule.action is RuleAction.ALLOW]
        if not allow_rules or any(rule.allows(request) for rule in allow_rules):
            return None
        for_actor = [rule for rule in allow_rules if any(glob(each).fullmatch(request.actor) for each in rule.actors)]
        allowed = " | ".join(map(str, for_actor)) or "nothing"
        return f"the policy does not allow {request.actor} this {request.profile} certificate; allowed are: {allowed}"
