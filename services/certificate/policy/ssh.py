"""What the owner of this PKI lays down about SSH certificates: who may have which principals, for how long. Pure."""

from dataclasses import dataclass

from services.certificate.policy.patterns import glob
from services.certificate.policy.rules import Verdict
from shared.contracts.certificate.ssh import CreateSshCertificate, SshCertificateKind


@dataclass(frozen=True, slots=True)
class SshRule:
    """What is None is not looked at. An allow rule allows a request all of whose principals it names; a deny rule
    denies one any of whose principals it names, or that is longer than it says."""

    verdict: Verdict
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


def objection(rules: tuple[SshRule, ...], actor: str, asked: CreateSshCertificate) -> str | None:
    """Why *asked* is not allowed; None: it is. A denial wins; with any allow rule, what none allows is refused."""
    if any(rule.verdict is Verdict.DENY and rule.denies(actor, asked) for rule in rules):
        return f"the policy denies {actor} this SSH certificate for {', '.join(asked.principals)}"
    allowing = [rule for rule in rules if rule.verdict is Verdict.ALLOW]
    if not allowing or any(rule.allows(actor, asked) for rule in allowing):
        return None
    return f"the policy does not allow {actor} an SSH {asked.kind} certificate for {', '.join(asked.principals)}"
