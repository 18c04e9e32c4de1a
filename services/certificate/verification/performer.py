"""Performer of `CheckPath`: validates a path with the CA certificates and revocations in the log."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from hashlib import sha256

from services.certificate.verification.budget import Budget
from services.certificate.verification.crl_checks import RevocationStatus
from services.certificate.verification.effects import CheckPath, PathChecked, PathNotChecked
from services.certificate.verification.name_matching import ComparableName, PeerName, parse_peer_name
from services.certificate.verification.parsed_certificate import Malformed, ParsedCertificate, Unreadable, parse
from services.certificate.verification.path_building import PathFailure, verify
from services.certificate.verification.path_validation import VerifyOptions
from services.certificate.verification.status_history import StatusHistory
from services.certificate.verification.status_log import StatusLog
from shared.contracts.certificate.value_types import Profile
from shared.contracts.rejection import RejectionCode

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


class _RejectedRequest(Exception):
    def __init__(self, code: RejectionCode, problem: str) -> None:
        super().__init__(problem)
        self.outcome = PathNotChecked(code, problem)


class PathChecker:
    """Performs `CheckPath`. It reads and computes only, so performing it twice is safe."""

    def __init__(self, status_log: StatusLog) -> None:
        self._status_log = status_log

    async def perform(self, effect: CheckPath) -> PathChecked | PathNotChecked:
        await self._status_log.catch_up()
        request = effect.request
        try:
            pem = request.certificate_pem or await self._status_log.certificate_pem(request.certificate_id)
            if pem is None:
                raise _RejectedRequest(RejectionCode.NOT_FOUND, f"there is no certificate {request.certificate_id}")  # noqa: TRY301 - one exit for every rejection
            leaf = _load_certificate("certificate_pem", pem)
            return _check(effect, leaf, _StatusView(self._status_log.history, effect))
        except _RejectedRequest as rejected:
            return rejected.outcome


def _check(effect: CheckPath, leaf: bytes, view: _StatusView) -> PathChecked:
    request = effect.request
    intermediates = [
        _load_certificate(f"intermediates_pem[{n}]", pem) for n, pem in enumerate(request.intermediates_pem)
    ]
    names = _peer_names(request.name)
    if request.certificate_pem is None:
        view.add(leaf, request.certificate_id)
    anchors = view.anchors()
    match view.status_of(sha256(leaf).hexdigest()):
        case RevocationStatus.REVOKED:
            return PathChecked(effect, "it was revoked at that instant")
        case RevocationStatus.ON_HOLD:
            return PathChecked(effect, "it was on hold at that instant")
        case _:
            pass
    if not anchors:
        return PathChecked(effect, "no trusted root was valid at that instant")
    options = VerifyOptions(at=effect.at, usage=request.usage, names=names, revocation=view.revocation)
    result = verify(leaf, [*intermediates, *view.intermediates], anchors, options)
    if isinstance(result, PathFailure):
        return PathChecked(effect, result.reason)
    return PathChecked(effect, None, result.path)


class _StatusView:
    """The CA certificates and revocations of the log at the instant of *effect*, indexed for path building."""

    def __init__(self, history: StatusHistory, effect: CheckPath) -> None:
        self._history = history
        self._effect = effect
        self._cas = {each.certificate_id: _decode_pem(each.certificate_pem) for each in history.cas.values()}
        self._ids = {sha256(encoded).hexdigest(): certificate_id for certificate_id, encoded in self._cas.items()}
        self._issuers: dict[tuple[ComparableName, bytes], list[str]] = {}
        for certificate_id, encoded in self._cas.items():
            try:
                certificate = parse(encoded)
            except Malformed:  # an imported certificate, which cannot be part of a path
                continue
            self._issuers.setdefault((certificate.subject, certificate.spki), []).append(certificate_id)

    @property
    def intermediates(self) -> list[bytes]:
        return list(self._cas.values())

    def add(self, encoded: bytes, certificate_id: str) -> None:
        self._ids[sha256(encoded).hexdigest()] = certificate_id

    def anchors(self) -> list[bytes]:
        """Returns the anchors of the request, or all roots, without those revoked or on hold at the instant."""
        requested = self._effect.request.anchors
        for each in requested:
            if each not in self._cas:
                raise _RejectedRequest(
                    RejectionCode.NOT_FOUND, f"{each} is not a CA certificate of this service; an anchor must be one"
                )
        roots = [each.certificate_id for each in self._history.cas.values() if each.profile is Profile.ROOT]
        return [self._cas[each] for each in requested or roots if self._status(each) is RevocationStatus.GOOD]

    def status_of(self, fingerprint: str) -> RevocationStatus:
        certificate_id = self._ids.get(fingerprint)
        return RevocationStatus.GOOD if certificate_id is None else self._status(certificate_id)

    def revocation(
        self, certificate: ParsedCertificate, issuer: ParsedCertificate, at: datetime, _: Budget
    ) -> RevocationStatus:
        """Looks a certificate up by its id or, if the request contained it, by issuer and serial number.

        A certificate that the log does not have is good.
        """
        ids = {self._ids.get(certificate.fingerprint)}
        for issuer_id in self._issuers.get((issuer.subject, issuer.spki), ()):
            ids.add(self._history.certificate_id_of(issuer_id, certificate.parsed.serial_number))
        statuses = {self._history.status(each, at) for each in ids if each is not None}
        worst_first = (RevocationStatus.REVOKED, RevocationStatus.ON_HOLD)
        return next((each for each in worst_first if each in statuses), RevocationStatus.GOOD)

    def _status(self, certificate_id: str) -> RevocationStatus:
        return self._history.status(certificate_id, self._effect.at)


def _peer_names(name: str | None) -> tuple[PeerName, ...]:
    try:
        return () if name is None else (parse_peer_name(name),)
    except ValueError as error:
        raise _RejectedRequest(RejectionCode.INVALID, f"name: {error}") from error


def _load_certificate(field: str, pem: str) -> bytes:
    """Decodes a certificate. Rejects the command if it is unreadable; one that breaks a rule is validated."""
    encoded = _decode_pem(pem)
    if not encoded:
        raise _RejectedRequest(RejectionCode.INVALID, f"{field} must be one certificate in PEM")
    try:
        parse(encoded)
    except Unreadable as error:
        raise _RejectedRequest(RejectionCode.INVALID, f"{field}: {error}") from error
    except Malformed:
        pass
    return encoded


def _decode_pem(pem: str) -> bytes:
    """Returns the DER of exactly one certificate in PEM (RFC 7468), else no bytes."""
    blocks = _PEM.findall(pem)
    try:
        return base64.b64decode("".join(blocks[0].split()), validate=True) if len(blocks) == 1 else b""
    except binascii.Error:
        return b""
