"""Path building (RFC 4158): searches a valid path from a certificate to a trust anchor, within limits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.certificate.verification.budget import DEFAULT_LIMITS, Budget, BudgetExceeded, PathLimits
from services.certificate.verification.certificate_checks import (
    RFC_5280,
    Position,
    RuleSet,
    check_baseline_requirements,
    check_certificate,
    check_key_purpose,
)
from services.certificate.verification.name_matching import ComparableName, PeerName, matches_peer
from services.certificate.verification.parsed_certificate import Malformed, ParsedCertificate, parse
from services.certificate.verification.path_validation import VerifyOptions, check_path
from services.certificate.verification.signature_checks import is_signed_by


@dataclass(frozen=True, slots=True)
class ValidPath:
    """A valid path: the fingerprints (SHA-256 of DER) from the certificate to its anchor."""

    path: tuple[str, ...]
    budget: Budget


@dataclass(frozen=True, slots=True)
class PathFailure:
    """The reason why no path is valid: that of the longest path tried."""

    reason: str
    budget: Budget


def verify(
    leaf: bytes,
    intermediates: Sequence[bytes],
    anchors: Sequence[bytes],
    options: VerifyOptions,
    *,
    rules: RuleSet = RFC_5280,
    limits: PathLimits = DEFAULT_LIMITS,
) -> ValidPath | PathFailure:
    """Verifies *leaf* by a path to one of *anchors*; all certificates are DER. The first valid path counts."""
    budget = Budget(limits)
    try:
        target = parse(leaf)
    except Malformed as error:
        return PathFailure(str(error), budget)
    search = _PathSearch(
        _parse_all(intermediates), _parse_all(anchors), options, rules=rules, limits=limits, budget=budget
    )
    reason = (
        search.check(target, Position.LEAF)
        or check_key_purpose(target, options.usage)
        or _check_peer_names(target, options.names)
    )
    if reason is not None:
        return PathFailure(reason, budget)
    try:
        path = search.run(target)
    except BudgetExceeded as error:
        return PathFailure(f"path building stopped: {error}", budget)
    if path is None:
        return PathFailure(search.reason, budget)
    return ValidPath(tuple(each.fingerprint for each in path), budget)


def _parse_all(encoded: Iterable[bytes]) -> list[ParsedCertificate]:
    """Parses certificates, without duplicates and without malformed ones, which no path can contain."""
    certificates = {}
    for each in encoded:
        try:
            certificate = parse(each)
        except Malformed:
            continue
        certificates[certificate.fingerprint] = certificate
    return list(certificates.values())


def _check_peer_names(certificate: ParsedCertificate, names: Sequence[PeerName]) -> str | None:
    for name in names:
        if not matches_peer(name, certificate.alternative_names):
            return f"{name.value} is not among its alternative names"
    return None


class _PathSearch:
    """Depth-first search that tries the likeliest issuer first and verifies each signature once."""

    def __init__(
        self,
        intermediates: Sequence[ParsedCertificate],
        anchors: Sequence[ParsedCertificate],
        options: VerifyOptions,
        *,
        rules: RuleSet,
        limits: PathLimits,
        budget: Budget,
    ) -> None:
        self._anchors = {each.fingerprint for each in anchors}
        self._by_subject: dict[ComparableName, list[ParsedCertificate]] = {}
        for each in (*anchors, *(each for each in intermediates if each.fingerprint not in self._anchors)):
            self._by_subject.setdefault(each.subject, []).append(each)
        self._options = options
        self._rules, self._limits, self._budget = rules, limits, budget
        self._signatures: dict[tuple[str, bytes], bool] = {}
        self._checks: dict[tuple[str, Position], str | None] = {}
        self._progress = 0
        self.reason = "no available certificate is its issuer"

    def run(self, leaf: ParsedCertificate) -> tuple[ParsedCertificate, ...] | None:
        """Returns the first valid path from *leaf*, or None and sets *reason*."""
        if leaf.fingerprint in self._anchors:
            if (reason := self.check(leaf, Position.ANCHOR)) is None:
                return (leaf,)
            self._fail(1, reason)
            return None
        return self._extend((leaf,))

    def check(self, certificate: ParsedCertificate, position: Position) -> str | None:
        """Checks a certificate at its position, once."""
        key = certificate.fingerprint, position
        if key not in self._checks:
            reason = check_certificate(certificate, position, self._options.at, self._rules)
            if reason is None and self._rules.web:
                reason = check_baseline_requirements(certificate, position, self._rules)
            self._checks[key] = reason
        return self._checks[key]

    def _extend(self, path: tuple[ParsedCertificate, ...]) -> tuple[ParsedCertificate, ...] | None:
        for issuer in self._issuers(path):
            self._budget.step()
            is_anchor = issuer.fingerprint in self._anchors
            longer = (*path, issuer)
            position = Position.ANCHOR if is_anchor else Position.INTERMEDIATE
            if (reason := self._check_last(longer, position)) is not None:
                self._fail(len(path), f"{issuer.title}: {reason}")
            elif not is_anchor:
                if (complete := self._extend(longer)) is not None:
                    return complete
            elif (reason := check_path(longer, self._options, self._budget)) is not None:
                self._fail(len(longer) + self._limits.length, reason)
            else:
                return longer
        self._fail(len(path), f"{path[-1].title}: there is no path from it to a trusted root")
        return None

    def _issuers(self, path: tuple[ParsedCertificate, ...]) -> list[ParsedCertificate]:
        """Finds issuers by name, a matching key identifier first (RFC 4158, 3.5.12), without loops (2.4.2)."""
        child = path[-1]
        in_path = {(each.subject, each.spki) for each in path}
        named = [each for each in self._by_subject.get(child.issuer, ()) if (each.subject, each.spki) not in in_path]
        return sorted(named, key=lambda each: (_mismatch(child, each), each.fingerprint not in self._anchors))

    def _check_last(self, path: tuple[ParsedCertificate, ...], position: Position) -> str | None:
        """Returns why the last of *path* cannot be the issuer of the one before; cheap checks first."""
        *below, issuer = path
        intermediates = sum(not each.is_self_issued for each in path[1:]) - (position is Position.ANCHOR)
        if intermediates > self._limits.intermediates or len(path) > self._limits.length:
            return f"the path to it would have more than {self._limits.intermediates} intermediates"
        if (reason := self.check(issuer, position)) is not None:
            return reason
        return None if self._is_signed(below[-1], issuer) else f"it did not sign {below[-1].title}"

    def _is_signed(self, certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
        pair = certificate.fingerprint, issuer.spki
        if pair not in self._signatures:
            self._budget.check_signature()
            self._signatures[pair] = is_signed_by(certificate.parsed, issuer.key)
        return self._signatures[pair]

    def _fail(self, progress: int, reason: str) -> None:
        """Keeps the reason of the path that came farthest."""
        if progress > self._progress:
            self._progress, self.reason = progress, reason


def _mismatch(child: ParsedCertificate, issuer: ParsedCertificate) -> int:
    """Ranks an issuer by its key identifier: 0 equal, 1 unknown, 2 different."""
    expected, actual = child.issuer_identifier, issuer.identifier
    if expected is None or actual is None:
        return 1
    return 0 if expected == actual else 2
