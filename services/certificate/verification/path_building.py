"""Finds a path from a certificate to an anchor that is valid, among all that there may be (RFC 4158), within limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.certificate.verification.budget import DEFAULT_LIMITS, BudgetExceeded, PathLimits, WorkBudget
from services.certificate.verification.certificate_checks import (
    RFC_5280,
    Position,
    RuleSet,
    problem,
    unfit,
    web_problem,
)
from services.certificate.verification.name_matching import Distinguished, PeerName, matches
from services.certificate.verification.parsed_certificate import Malformed, ParsedCertificate, parse
from services.certificate.verification.path_validation import VerifyOptions, invalid
from services.certificate.verification.signature_checks import verifies


@dataclass(frozen=True, slots=True)
class ValidPath:
    """*path*: the fingerprints (SHA-256 of DER), from the certificate to its anchor."""

    path: tuple[str, ...]
    work: WorkBudget


@dataclass(frozen=True, slots=True)
class PathFailure:
    reason: str
    work: WorkBudget


def verify(
    leaf: bytes,
    intermediates: Sequence[bytes],
    anchors: Sequence[bytes],
    question: VerifyOptions,
    *,
    rules: RuleSet = RFC_5280,
    limits: PathLimits = DEFAULT_LIMITS,
) -> ValidPath | PathFailure:
    """Whether *leaf* (DER, like all of them) is what *question* asks, by a path to one of *anchors*.

    The first path that is valid is the answer; else the reason why the one that came farthest is not.
    """
    work = WorkBudget(limits)
    try:
        end = parse(leaf)
    except Malformed as error:
        return PathFailure(str(error), work)
    search = _Search(_readable(intermediates), _readable(anchors), question, _Terms(rules, limits, work))
    reason = search.unfit(end, Position.LEAF) or unfit(end, question.usage) or _unnamed(end, question.names)
    if reason is not None:
        return PathFailure(reason, work)
    try:
        path = search.from_(end)
    except BudgetExceeded as error:
        return PathFailure(f"it was given up: {error}", work)
    if path is None:
        return PathFailure(search.reason, work)
    return ValidPath(tuple(each.fingerprint for each in path), work)


def _readable(encoded: Iterable[bytes]) -> list[ParsedCertificate]:
    """Each once. What cannot be read cannot be part of a path: it is passed over, for others may be."""
    found = {}
    for each in encoded:
        try:
            certificate = parse(each)
        except Malformed:
            continue
        found[certificate.fingerprint] = certificate
    return list(found.values())


def _unnamed(certificate: ParsedCertificate, names: Sequence[PeerName]) -> str | None:
    for name in names:
        if not matches(name, certificate.alternative_names):
            return f"{name.value} is none of its alternative names"
    return None


@dataclass(frozen=True, slots=True)
class _Terms:
    rules: RuleSet
    limits: PathLimits
    work: WorkBudget


class _Search:
    """Depth first, the likeliest issuer first; a signature is checked once, whatever path it is part of."""

    def __init__(
        self,
        intermediates: Sequence[ParsedCertificate],
        anchors: Sequence[ParsedCertificate],
        question: VerifyOptions,
        terms: _Terms,
    ) -> None:
        self._anchors = {each.fingerprint for each in anchors}
        self._by_subject: dict[Distinguished, list[ParsedCertificate]] = {}
        for each in (*anchors, *(each for each in intermediates if each.fingerprint not in self._anchors)):
            self._by_subject.setdefault(each.subject, []).append(each)
        self._question = question
        self._rules, self._limits, self._work = terms.rules, terms.limits, terms.work
        self._signed: dict[tuple[str, bytes], bool] = {}
        self._judged: dict[tuple[str, Position], str | None] = {}
        self._came = 0
        self.reason = "none of the certificates that are known issued it"

    def from_(self, leaf: ParsedCertificate) -> tuple[ParsedCertificate, ...] | None:
        if leaf.fingerprint in self._anchors:
            if (reason := self.unfit(leaf, Position.ANCHOR)) is None:
                return (leaf,)
            self._fail(1, reason)
            return None
        return self._extend((leaf,))

    def unfit(self, certificate: ParsedCertificate, place: Position) -> str | None:
        key = certificate.fingerprint, place
        if key not in self._judged:
            reason = problem(certificate, place, self._question.at, self._rules)
            web = web_problem(certificate, place, self._rules) if self._rules.web and reason is None else None
            self._judged[key] = reason or web
        return self._judged[key]

    def _extend(self, path: tuple[ParsedCertificate, ...]) -> tuple[ParsedCertificate, ...] | None:
        for issuer in self._issuers(path):
            self._work.step()
            is_anchor = issuer.fingerprint in self._anchors
            longer = (*path, issuer)
            if (reason := self._unusable(longer, Position.ANCHOR if is_anchor else Position.INTERMEDIATE)) is not None:
                self._fail(len(path), f"{issuer.title}: {reason}")
            elif not is_anchor:
                if (found := self._extend(longer)) is not None:
                    return found
            elif (reason := invalid(longer, self._question, self._work)) is not None:
                self._fail(len(longer) + self._limits.length, reason)
            else:
                return longer
        self._fail(len(path), f"{path[-1].title}: there is no path from it to a root that is trusted")
        return None

    def _issuers(self, path: tuple[ParsedCertificate, ...]) -> list[ParsedCertificate]:
        """By name, those of the right key identifier first (RFC 4158, 3.5.12); none twice in a path (2.4.2)."""
        child = path[-1]
        met = {(each.subject, each.spki) for each in path}
        named = [each for each in self._by_subject.get(child.issuer, ()) if (each.subject, each.spki) not in met]
        return sorted(named, key=lambda each: (_unlike(child, each), each.fingerprint not in self._anchors))

    def _unusable(self, path: tuple[ParsedCertificate, ...], place: Position) -> str | None:
        """Why the last of *path*, an issuer of the one before, leads no further; the cheapest reason first."""
        *below, issuer = path
        intermediates = sum(not each.is_self_issued for each in path[1:]) - (place is Position.ANCHOR)
        if intermediates > self._limits.intermediates or len(path) > self._limits.length:
            return f"the path to it would have more than {self._limits.intermediates} intermediates"
        if (reason := self.unfit(issuer, place)) is not None:
            return reason
        return None if self._is_signed(below[-1], issuer) else f"it did not sign {below[-1].title}"

    def _is_signed(self, certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
        pair = certificate.fingerprint, issuer.spki
        if pair not in self._signed:
            self._work.check_signature()
            self._signed[pair] = verifies(certificate.parsed, issuer.key)
        return self._signed[pair]

    def _fail(self, came: int, reason: str) -> None:
        """Remember the reason of the path that came farthest."""
        if came > self._came:
            self._came, self.reason = came, reason


def _unlike(child: ParsedCertificate, issuer: ParsedCertificate) -> int:
    wanted, offered = child.issuer_identifier, issuer.identifier
    if wanted is None or offered is None:
        return 1
    return 0 if wanted == offered else 2
