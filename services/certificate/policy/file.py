"""Reader of the policy file: YAML, checked field by field. An error in it stops the service (exit 78).

docs/adr/0013-issuance-and-policy.md shows an example.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.certificate.names import subtrees
from services.certificate.policy.issuers import DEFAULT_EXPIRY_NOTICE, IssuerPolicy
from services.certificate.policy.rules import IssuanceRule, Policy, RuleAction, SshRule
from services.certificate.profiles import CRL, CrlProfile
from shared.contracts.base import Id
from shared.contracts.certificate.ssh import SshCertificateKind
from shared.contracts.certificate.value_types import Profile, SanKind
from shared.errors import Unusable

_HOUR = timedelta(hours=1)


def _domain(value: str) -> str:
    if not subtrees.is_subtree(SanKind.DNS, value):
        raise ValueError("must be a domain, like example.org; it includes all domains below")
    return value


def _mailboxes(value: str) -> str:
    if not subtrees.is_subtree(SanKind.EMAIL, value):
        raise ValueError("must be example.org, .example.org or alice@example.org")
    return value


def _network(value: str) -> str:
    return str(ip_network(value))


def _http_url(value: str) -> str:
    if not value.startswith("http://"):
        raise ValueError("must begin with http://: fetching it must not require another certificate (RFC 5280, 8)")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
BaseUrl = Annotated[
    str,
    AfterValidator(_http_url),
    StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$", max_length=200),
]


class _Match(_Section):
    """The field `match` of an issuer: its id, or any issuer."""

    issuer_id: Id | None = None
    any: Literal[True] | None = None

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.issuer_id is None) == (self.any is None):
            raise ValueError("give either issuer_id or any: true")
        return self


class _CrlSection(_Section):
    period_hours: Annotated[float, Field(gt=0, le=8760)] = CRL.period / _HOUR
    overlap_hours: Annotated[float, Field(gt=0, le=8760)] = CRL.overlap / _HOUR


class _ExpirySection(_Section):
    announce_days: Annotated[float, Field(gt=0, le=3650)] = DEFAULT_EXPIRY_NOTICE / timedelta(days=1)
    renew: bool = False


class _IssuerSection(_Section):
    match: _Match
    base_url: BaseUrl | None = None
    ocsp: bool = False
    crl: _CrlSection = _CrlSection()
    expiry: _ExpirySection = _ExpirySection()

    def policy(self, public_url: str | None) -> tuple[str | None, IssuerPolicy]:
        policy = IssuerPolicy(
            base_url=self.base_url or public_url,
            ocsp=self.ocsp,
            crl=CrlProfile(self.crl.period_hours * _HOUR, self.crl.overlap_hours * _HOUR),
            expiry_notice=timedelta(days=self.expiry.announce_days),
            renew=self.expiry.renew,
        )
        return self.match.issuer_id, policy


class _IssuanceRuleSection(_Section):
    effect: RuleAction
    actors: tuple[Pattern, ...] = ("*",)
    profiles: frozenset[Profile] | None = None
    issuers: tuple[Id, ...] | None = None
    dns: tuple[Annotated[str, AfterValidator(_domain)], ...] | None = None
    email: tuple[Annotated[str, AfterValidator(_mailboxes)], ...] | None = None
    uri: tuple[Pattern, ...] | None = None
    ip: tuple[Annotated[str, AfterValidator(_network)], ...] | None = None
    max_validity_days: Annotated[int, Field(ge=1)] | None = None

    def rule(self) -> IssuanceRule:
        return IssuanceRule(self.effect, **{name: value for name, value in self if name != "effect"})


class _SshRuleSection(_Section):
    effect: RuleAction
    actors: tuple[Pattern, ...] = ("*",)
    kinds: frozenset[SshCertificateKind] | None = None
    keys: tuple[Id, ...] | None = None
    principals: tuple[Pattern, ...] | None = None
    max_validity_minutes: Annotated[int, Field(ge=1)] | None = None

    def rule(self) -> SshRule:
        return SshRule(self.effect, **{name: value for name, value in self if name != "effect"})


class _File(_Section):
    issuers: tuple[_IssuerSection, ...] = ()
    rules: tuple[_IssuanceRuleSection, ...] = ()
    ssh: tuple[_SshRuleSection, ...] = ()


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies in one file: for X.509 certificates and for SSH certificates."""

    x509: Policy
    ssh: tuple[SshRule, ...] = ()


def policy_from(path: Path | None, public_url: str | None) -> Policies:
    """Reads the policy file, if there is one. *public_url* is the base_url of issuers without one of their own."""
    if public_url is not None:
        public_url = public_url.rstrip("/")
        try:
            _IssuerSection(match=_Match(any=True), base_url=public_url)
        except ValidationError as error:
            raise Unusable("PUBLIC_URL must be like http://pki.example.org") from error
    content = _File() if path is None else _read(path)
    issuers = tuple(each.policy(public_url) for each in content.issuers)
    others = ((None, IssuerPolicy(base_url=public_url)),) if public_url is not None else ()
    x509 = Policy((*issuers, *others), tuple(each.rule() for each in content.rules))
    return Policies(x509, tuple(each.rule() for each in content.ssh))


def _read(path: Path) -> _File:
    try:
        text = path.read_text()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"the policy file {path} cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line + 1
        raise Unusable(f"the policy file {path} is not YAML: line {line}: {error.problem}") from error
    for line, field in _duplicate_fields(root):
        raise Unusable(f"the policy file {path} has the field {field} twice: line {line}")
    try:
        return _File.model_validate({} if content is None else content)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        problems = "; ".join(f"line {_line(root, each['loc'])}, {_path(each['loc'])}: {each['msg']}" for each in errors)
        raise Unusable(f"the policy file {path} is invalid: {problems}") from error


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the whole file"


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Returns the line of the innermost part of *location* that the file has."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in location:
        match node, step:
            case yaml.MappingNode(value=pairs), str():
                found = [(key, value) for key, value in pairs if key.value == step]
            case yaml.SequenceNode(value=items), int() if step < len(items):
                found = [(items[step], items[step])]
            case _:
                break
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def _duplicate_fields(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Finds fields that occur twice: PyYAML silently takes the last one, which could drop a rule."""
    match node:
        case yaml.MappingNode(value=pairs):
            seen: set[str] = set()
            for key, value in pairs:
                if key.value in seen:
                    yield key.start_mark.line + 1, key.value
                seen.add(key.value)
                yield from _duplicate_fields(value)
        case yaml.SequenceNode(value=items):
            for item in items:
                yield from _duplicate_fields(item)
        case _:
            pass
