"""Publishes an issuer's next CRL: built, signed by the issuer's key, published. No step can be undone.

Revocations, holds and releases trigger it, those of one second together: a CRL of ten thousand entries is half a
megabyte in the log. The `next_at` of a CRL triggers the next one. A saga whose CRL would add nothing ends at once.
"""

from __future__ import annotations

from datetime import datetime

from services.saga.core.definition import Await, Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, UNATTENDED_TIMEOUT, publish, sign
from shared.contracts.certificate.commands import CreateCrl, PublishCrl
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CrlCreated,
    CrlPublished,
)
from shared.contracts.key.commands import SignWithKey
from shared.contracts.key.events import KeySigned
from shared.contracts.saga.maintenance import CrlPublicationCompleted, StartCrlPublication

Publication = Saga[StartCrlPublication]


def adds_nothing(saga: Publication) -> bool:
    return saga.find(CrlCreated) is None


def create_crl(saga: Publication) -> CreateCrl:
    return CreateCrl(certificate_id=saga.request.issuer_id)


def sign_crl(saga: Publication) -> SignWithKey:
    return sign(saga, saga.outcome(CrlCreated))


def publish_crl(saga: Publication) -> PublishCrl:
    return publish(saga.outcome(CrlCreated), saga.outcome(KeySigned))


def completed(saga: Publication) -> CrlPublicationCompleted:
    published = saga.find(CrlPublished)
    number = published.number if published else None
    return CrlPublicationCompleted(**saga.heading, issuer_id=saga.request.issuer_id, number=number)


def revoked(event: CertificateRevoked, saga_id: str) -> StartCrlPublication | None:
    if event.issuer_id is None or not event.signed:
        return None
    return StartCrlPublication(saga_id=saga_id, issuer_id=event.issuer_id)


def held_or_released(event: CertificateHeld | CertificateReleased, saga_id: str) -> StartCrlPublication | None:
    return StartCrlPublication(saga_id=saga_id, issuer_id=event.issuer_id) if event.issuer_id else None


def issuer(event: CertificateRevoked | CertificateHeld | CertificateReleased) -> str | None:
    return event.issuer_id


def due_again(event: CrlPublished, saga_id: str) -> StartCrlPublication:
    return StartCrlPublication(saga_id=saga_id, issuer_id=event.certificate_id)


def due_again_at(event: CrlPublished) -> datetime:
    return event.next_at


_approval = Await(
    name="approve-crl",
    signal="approve",
    needed=lambda saga: saga.request.approvals,
    about=lambda saga: f"CRL {saga.outcome(CrlCreated).number} of {saga.request.issuer_id}",
    message_sha256=lambda saga: saga.outcome(CrlCreated).tbs_sha256,
    unless=adds_nothing,
)

# fmt: off
CRL_PUBLICATION = Definition(
    saga_type="crl-publication",
    request=StartCrlPublication,
    completed=completed,
    timeout=2 * UNATTENDED_TIMEOUT,
    triggers=(
        Trigger(CertificateRevoked,  revoked, group_by=issuer),
        Trigger(CertificateHeld,     held_or_released, group_by=issuer),
        Trigger(CertificateReleased, held_or_released, group_by=issuer),
        Trigger(CrlPublished,        due_again, at=due_again_at),
    ),
    steps=(
        Step(create_crl,  CrlCreated,   **UNATTENDED, already_done_ok=True),
        _approval,
        Step(sign_crl,    KeySigned,    **UNATTENDED, unless=adds_nothing),
        Step(publish_crl, CrlPublished, **UNATTENDED, unless=adds_nothing, already_done_ok=True),
    ),
)
# fmt: on
