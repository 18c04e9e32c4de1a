"""Answers `certificate.verify`: the paths are ours, what is known of roots and revocations is the log's."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from hashlib import sha256

from services.certificate.verification.budget import WorkBudget
from services.certificate.verification.crl_checks import RevocationStatus
from services.certificate.verification.effects import CheckPath, PathChecked, PathNotChecked
from services.certificate.verification.name_matching import Distinguished, PeerName, peer_name
from services.certificate.verification.parsed_certificate import Malformed, ParsedCertificate, Unreadable, parse
from services.certificate.verification.path_building import PathFailure, verify
from services.certificate.verification.path_validation import VerifyOptions
from services.certificate.verification.status_history import StatusHistory
from services.certificate.verification.status_log import StatusLog
from shared.contracts.certificate.value_types import Profile
from shared.contracts.rejection import RejectionCode

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


class _Unanswerable(Exception):
    def __init__(self, code: RejectionCode, problem: str) -> None:
        super().__init__(problem)
        self.answer = PathNotChecked(code, problem)


class PathChecker:
    """Performs `CheckPath`. It only reads and computes: performed twice, the world is the same."""

    def __init__(self, authorities: StatusLog) -> None:
        self._authorities = authorities

    async def perform(self, plan: CheckPath) -> PathChecked | PathNotChecked:
        await self._authorities.caught_up()
        request = plan.request
        try:
            pem = request.certificate_pem or await self._authorities.certificate_pem(request.certificate_id)
            if pem is None:
                raise _Unanswerable(RejectionCode.NOT_FOUND, f"{request.certificate_id} was never a certificate")  # noqa: TRY301 - like all else that is wrong
            leaf = _der("certificate_pem", pem)
            return _judge(plan, leaf, _Log(self._authorities.past, plan))
        except _Unanswerable as problem:
            return problem.answer


def _judge(plan: CheckPath, leaf: bytes, log: _Log) -> PathChecked:
    request = plan.request
    given = [_der(f"intermediates_pem[{n}]", pem) for n, pem in enumerate(request.intermediates_pem)]
    names = _names(request.name)
    log.know(leaf, request.certificate_id if request.certificate_pem is None else None)
    anchors = log.anchors()
    status = log.status_of(sha256(leaf).hexdigest())
    if status is not RevocationStatus.GOOD:
        return PathChecked(
            plan, "it was revoked by then" if status is RevocationStatus.REVOKED else "it was on hold then"
        )
    if not anchors:
        return PathChecked(plan, "no root that is trusted stood at that instant")
    question = VerifyOptions(plan.at, request.usage, names, log.revocation)
    answer = verify(leaf, [*given, *log.intermediates], anchors, question)
    if isinstance(answer, PathFailure):
        return PathChecked(plan, answer.reason)
    return PathChecked(plan, None, answer.path)


class _Log:
    """What the log says at the instant that is asked about, by what a path is made of."""

    def __init__(self, past: StatusHistory, plan: CheckPath) -> None:
        self._past = past
        self._plan = plan
        self._ours = {each.certificate_id: _decoded(each.certificate_pem) for each in past.authorities.values()}
        self._ids = {sha256(encoded).hexdigest(): certificate_id for certificate_id, encoded in self._ours.items()}
        self._issuers: dict[tuple[Distinguished, bytes], list[str]] = {}
        for certificate_id, encoded in self._ours.items():
            try:
                certificate = parse(encoded)
            except Malformed:  # an imported one that no path can lead through
                continue
            self._issuers.setdefault((certificate.subject, certificate.spki), []).append(certificate_id)

    @property
    def intermediates(self) -> list[bytes]:
        return list(self._ours.values())

    def know(self, encoded: bytes, certificate_id: str | None) -> None:
        if certificate_id is not None:
            self._ids[sha256(encoded).hexdigest()] = certificate_id

    def anchors(self) -> list[bytes]:
        """Those that were asked for, or all roots; none that was revoked or on hold at that instant."""
        wanted = self._plan.request.anchors
        for each in wanted:
            if each not in self._ours:
                raise _Unanswerable(RejectionCode.NOT_FOUND, f"there is no authority {each} to trust; anchors are ours")
        roots = [each.certificate_id for each in self._past.authorities.values() if each.profile is Profile.ROOT]
        return [
            self._ours[each]
            for each in wanted or roots
            if self._past.status(each, self._plan.at) is RevocationStatus.GOOD
        ]

    def status_of(self, fingerprint: str) -> RevocationStatus:
        certificate_id = self._ids.get(fingerprint)
        return RevocationStatus.GOOD if certificate_id is None else self._past.status(certificate_id, self._plan.at)

    def revocation(
        self, certificate: ParsedCertificate, issuer: ParsedCertificate, at: datetime, _: WorkBudget
    ) -> RevocationStatus:
        """By its own id; or, of one that was handed in, by its issuer's and its serial. Of others we know nothing."""
        found = {self._ids.get(certificate.fingerprint)}
        for issuer_id in self._issuers.get((issuer.subject, issuer.spki), ()):
            found.add(self._past.certificate_id_of(issuer_id, certificate.parsed.serial_number))
        statuses = {self._past.status(each, at) for each in found if each is not None}
        return next(
            (each for each in (RevocationStatus.REVOKED, RevocationStatus.ON_HOLD) if each in statuses),
            RevocationStatus.GOOD,
        )


def _names(name: str | None) -> tuple[PeerName, ...]:
    try:
        return () if name is None else (peer_name(name),)
    except ValueError as error:
        raise _Unanswerable(RejectionCode.INVALID, f"name: {error}") from error


def _der(field: str, pem: str) -> bytes:
    """Raises for what is no certificate; one that breaks a rule is one, and is judged."""
    encoded = _decoded(pem)
    if not encoded:
        raise _Unanswerable(RejectionCode.INVALID, f"{field} must be one certificate in PEM")
    try:
        parse(encoded)
    except Unreadable as error:
        raise _Unanswerable(RejectionCode.INVALID, f"{field}: {error}") from error
    except Malformed:
        pass
    return encoded


def _decoded(pem: str) -> bytes:
    """Nothing, where it is not one certificate in PEM (RFC 7468)."""
    found = _PEM.findall(pem)
    try:
        return base64.b64decode("".join(found[0].split()), validate=True) if len(found) == 1 else b""
    except binascii.Error:
        return b""
