"""Publishes OCSP responses of an issuer: prepared, signed in one batch by the responder's key, published.

An event about one certificate (signed, revoked, held or released) triggers it for that one. A new responder triggers it
for all, batch after batch, and so does the time when the responses are due again.
"""

from __future__ import annotations

from datetime import datetime

from services.saga.core.definition import Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, UNATTENDED_TIMEOUT
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.contracts.certificate.ocsp import OcspPrepared, OcspPublished, PrepareOcsp, PublishOcsp
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.commands import SignBatch
from shared.contracts.key.events import KeyBatchSigned
from shared.contracts.key.value_types import Purpose
from shared.contracts.saga.maintenance import OcspPublicationCompleted, StartOcspPublication

Publication = Saga[StartOcspPublication]


def is_empty(saga: Publication) -> bool:
    prepared = saga.find(OcspPrepared)
    return prepared is None or not prepared.answers


def prepare_answers(saga: Publication) -> PrepareOcsp:
    request = saga.request
    return PrepareOcsp(
        batch_id=saga.id_of("batch"),
        issuer_id=request.issuer_id,
        responder_id=request.responder_id,
        certificate_ids=request.certificate_ids,
        after=request.after,
    )


def sign_answers(saga: Publication) -> SignBatch:
    prepared = saga.outcome(OcspPrepared)
    return SignBatch(
        key_id=prepared.signing_key_id,
        messages=tuple(answer.tbs for answer in prepared.answers),
        signature_algorithm=prepared.signature_algorithm,
        purpose=Purpose.OCSP_SIGNING,
    )


def publish_answers(saga: Publication) -> PublishOcsp:
    return PublishOcsp(batch_id=saga.id_of("batch"), signatures=saga.outcome(KeyBatchSigned).signatures)


def completed(saga: Publication) -> OcspPublicationCompleted:
    published = saga.find(OcspPublished)
    batch_id = published.batch_id if published else None
    return OcspPublicationCompleted(**saga.heading, issuer_id=saga.request.issuer_id, batch_id=batch_id)


def issued(event: CertificateSigned, saga_id: str) -> StartOcspPublication | None:
    if event.issuer_id is None:
        return None
    if event.profile is Profile.OCSP_RESPONDER:
        return StartOcspPublication(saga_id=saga_id, issuer_id=event.issuer_id, responder_id=event.certificate_id)
    return _for_one(event.issuer_id, event.certificate_id, saga_id) if event.ocsp else None


def status_changed(
    event: CertificateRevoked | CertificateHeld | CertificateReleased, saga_id: str
) -> StartOcspPublication | None:
    return _for_one(event.issuer_id, event.certificate_id, saga_id) if event.ocsp and event.issuer_id else None


def next_batch(event: OcspPublished, saga_id: str) -> StartOcspPublication | None:
    """Continues with the next batch at once; after the last one, starts over when the responses are due again."""
    if not event.everyone:
        return None
    return StartOcspPublication(
        saga_id=saga_id, issuer_id=event.issuer_id, responder_id=event.responder_id, after=event.more_after or 0
    )


def next_batch_at(event: OcspPublished) -> datetime | None:
    return event.next_at if event.more_after is None else None


def _for_one(issuer_id: str, certificate_id: str, saga_id: str) -> StartOcspPublication:
    return StartOcspPublication(saga_id=saga_id, issuer_id=issuer_id, certificate_ids=(certificate_id,))


# fmt: off
OCSP_PUBLICATION = Definition(
    saga_type="ocsp-publication",
    request=StartOcspPublication,
    completed=completed,
    timeout=2 * UNATTENDED_TIMEOUT,
    triggers=(
        Trigger(CertificateSigned,   issued),
        Trigger(CertificateRevoked,  status_changed),
        Trigger(CertificateHeld,     status_changed),
        Trigger(CertificateReleased, status_changed),
        Trigger(OcspPublished,       next_batch, at=next_batch_at),
    ),
    steps=(
        Step(prepare_answers, OcspPrepared,   **UNATTENDED, already_done_ok=True),
        Step(sign_answers,    KeyBatchSigned, **UNATTENDED, unless=is_empty),
        Step(publish_answers, OcspPublished,  **UNATTENDED, unless=is_empty, already_done_ok=True),
    ),
)
# fmt: on
