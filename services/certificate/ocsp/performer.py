"""Status answers themselves: performs what the core asks for when a batch is made. Every effect only reads."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from hashlib import sha1, sha256
from typing import NamedTuple, assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from nats.js import JetStreamContext

from services.certificate.authorities import authority
from services.certificate.ocsp import encoding
from services.certificate.ocsp.states import (
    Answer,
    AnswersAssembled,
    AnswersBuilt,
    AnswersUnfit,
    AttachSignatures,
    BuildAnswers,
    FetchResponder,
    FetchStatuses,
    OcspEffect,
    OcspOutcome,
    Plan,
    ResponderFetched,
    Status,
    StatusesFetched,
)
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.revocation.log import RevocationLog
from services.certificate.signatures import verify
from services.certificate.views.queries import IssuedCertificate, responder_ids, unexpired_certificates
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.ocsp import SignedOcspAnswer
from shared.contracts.rejection import RejectionCode


class OcspBuilding:
    """*current* tells where a certificate stands now; what is revoked since when, only the log does."""

    def __init__(
        self,
        js: JetStreamContext,
        revocations: RevocationLog,
        current: Callable[[str], Awaitable[Certificate]],
        policy: OcspPolicy,
    ) -> None:
        self._js = js
        self._revocations = revocations
        self._current = current
        self._policy = policy

    async def perform(self, effect: OcspEffect) -> OcspOutcome:
        match effect:
            case FetchResponder():
                return await self._responder(effect)
            case FetchStatuses(plan=plan, most=most):
                fetched = await (self._of_those(plan) if plan.request.certificate_ids else self._of_all(plan, most))
                return self._withdrawn(plan.request.issuer_id, plan.responder_id, plan.responder_serial) or fetched
            case BuildAnswers():
                return _build(effect)
            case AttachSignatures():
                return await self._attach(effect)
            case _:
                assert_never(effect)

    async def _responder(self, asked: FetchResponder) -> ResponderFetched:
        """The one that was named, or the newest that can answer: one that was withdrawn leaves it to those before."""
        request, issuer = asked.request, await self._current(asked.request.issuer_id)
        known = (request.responder_id,) if request.responder_id else await responder_ids(self._js, request.issuer_id)
        states = [(each, await self._current(each)) for each in known]
        able = [(each, state) for each, state in states if _can_answer(state, asked.at)]
        if not states:
            return ResponderFetched(request, issuer, None, Unborn(), self._policy)
        return ResponderFetched(request, issuer, *(able or states)[0], self._policy)

    async def _of_those(self, plan: Plan) -> StatusesFetched:
        ids = tuple(dict.fromkeys(plan.request.certificate_ids))
        states = [(each, await self._current(each)) for each in ids]
        through = await self._revocations.through()
        statuses = {each: self._status(plan, each, state) for each, state in states}
        known = tuple(status for status in statuses.values() if status is not None)
        return StatusesFetched(plan, known, tuple(each for each in ids if statuses[each] is None), None, through)

    async def _of_all(self, plan: Plan, most: int) -> StatusesFetched:
        """One more than there is room for is looked for: a batch that says it is not the last must not be."""
        found: list[tuple[IssuedCertificate, Certificate]] = []
        async with aclosing(self._candidates(plan)) as candidates:
            async for candidate in candidates:
                found.append(candidate)
                if len(found) > most:
                    break
        through = await self._revocations.through()
        statuses = (self._status(plan, listed.certificate_id, state) for listed, state in found[:most])
        more_after = found[most - 1][0].position if len(found) > most else None
        return StatusesFetched(plan, tuple(each for each in statuses if each is not None), (), more_after, through)

    async def _candidates(self, plan: Plan) -> AsyncGenerator[tuple[IssuedCertificate, Certificate]]:
        request = plan.request
        async with aclosing(unexpired_certificates(self._js, request.issuer_id, request.after, plan.at)) as documents:
            async for listed in documents:
                state = await self._current(listed.certificate_id)
                if not isinstance(state, Unborn | Created):
                    yield listed, state

    def _status(self, plan: Plan, certificate_id: str, state: Certificate) -> Status | None:
        """None: it is no certificate of that issuer. *state* was read before the log was heard to its end."""
        issuer_id = plan.request.issuer_id
        match state:
            case Unborn() | Created() | Revoked(serial=None):
                return None
            case Issued(serial=serial) | Revoked(serial=str() as serial):
                revocation = self._revocations.register.find(issuer_id, int(serial, 16))
                if revocation is not None:
                    return Status(certificate_id, serial, revocation.at, revocation.reason)
                is_good = isinstance(state, Issued) and state.issuer_id == issuer_id
                return Status(certificate_id, serial) if is_good else None
            case _:
                raise AssertionError(state)

    def _withdrawn(self, issuer_id: str, responder_id: str, serial: str) -> AnswersUnfit | None:
        """A responder that is revoked or held answers no more: whoever reads its answers does not ask for its own."""
        return _not_valid(responder_id) if self._revocations.register.find(issuer_id, int(serial, 16)) else None

    async def _attach(self, plan: AttachSignatures) -> AnswersAssembled | AnswersUnfit:
        batch = plan.batch
        responder = await self._current(batch.responder_id)
        await self._revocations.through()
        if not isinstance(responder, Issued):
            return _not_valid(batch.responder_id)
        if (withdrawn := self._withdrawn(batch.issuer_id, batch.responder_id, responder.serial)) is not None:
            return withdrawn
        key = authority(responder.certificate_pem).key
        answers = []
        for index, (answer, signature) in enumerate(zip(batch.answers, plan.signatures, strict=True)):
            tbs = base64.b64decode(answer.tbs)
            try:
                verify(key, batch.signature_algorithm, signature, tbs)
            except InvalidSignature:
                problem = f"signature {index} does not verify with the responder's public key over the answer's tbs"
                return AnswersUnfit(RejectionCode.INVALID, problem)
            if self._revocations.register.changed(batch.issuer_id, int(answer.serial, 16)) > batch.through:
                continue  # revoked, held or released since: a batch of its own says so, and this must not undo it
            response = encoding.response(tbs, batch.signature_algorithm, signature, _der(responder))
            answers.append(
                SignedOcspAnswer(serial=answer.serial, issuer_key_hash=answer.issuer_key_hash, response=response)
            )
        return AnswersAssembled(plan, tuple(answers))


def _not_valid(responder_id: str) -> AnswersUnfit:
    problem = f"the responder {responder_id} is revoked or held; prepare another batch with another one"
    return AnswersUnfit(RejectionCode.CONFLICT, problem)


def _can_answer(responder: Certificate, at: datetime) -> bool:
    match responder:
        case Issued(held=False, key_id=str(), not_before=begin, not_after=end):
            return begin <= at <= end
        case _:
            return False


class _Hashes(NamedTuple):
    sha_1: encoding.IssuerHashes
    sha_256: encoding.IssuerHashes


@lru_cache(maxsize=256)
def _hashes(certificate_pem: str) -> _Hashes:
    """How a CertID names the holder of that certificate as an issuer."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    empty, name = ocsp.OCSPRequestBuilder(), authority(certificate_pem).name
    sha_1 = empty.add_certificate(certificate, certificate, hashes.SHA1()).build()  # noqa: S303 - those who ask have it so; it protects nothing
    sha_256 = empty.add_certificate(certificate, certificate, hashes.SHA256()).build()
    return _Hashes(
        encoding.sha_1(sha1(name, usedforsecurity=False).digest(), sha_1.issuer_key_hash),
        encoding.sha_256(sha256(name).digest(), sha_256.issuer_key_hash),
    )


@lru_cache(maxsize=256)
def _encoded(certificate_pem: str) -> bytes:
    return x509.load_pem_x509_certificate(certificate_pem.encode()).public_bytes(Encoding.DER)


def _der(certificate: Issued) -> bytes:
    return _encoded(certificate.certificate_pem)


def _build(plan: BuildAnswers) -> AnswersBuilt:
    wanted = plan.fetched.plan
    responder_key_hash = _hashes(wanted.responder_certificate_pem).sha_1.key  # RFC 6960, 4.2.1: KeyHash is SHA-1
    answers = []
    for each in plan.fetched.statuses:
        status = encoding.good()
        if each.revoked_at is not None:
            status = encoding.revoked(each.revoked_at, each.reason)
        for issuer in _hashes(wanted.issuer_certificate_pem):
            tbs = encoding.response_data(
                responder_key_hash,
                issuer,
                int(each.serial, 16),
                status,
                this_update=plan.this_update,
                next_update=wanted.next_update,
            )
            answers.append(Answer(each.certificate_id, each.serial, issuer.key.hex(), tbs))
    return AnswersBuilt(plan, tuple(answers), authority(wanted.responder_certificate_pem).algorithm)
