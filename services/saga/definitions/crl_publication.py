"""An issuer's next CRL: built, signed by its key, published. Forward only, and patient: nothing here can be undone.

Begun at revocations, holds and releases, those of one second together (a CRL of ten thousand entries stands in the log
with half a megabyte), and when the next one is due. Where the last one says all there is to say, it ends at once.
"""

from __future__ import annotations

from datetime import datetime

from services.saga.core.definition import Await, Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import PATIENT, PATIENTLY, publish, sign
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


def nothing_new(saga: Publication) -> bool:
    return saga.find(CrlCreated) is None


def create_crl(saga: Publication) -> CreateCrl:
    return CreateCrl(certificate_id=saga.request.issuer_id)


def sign_crl(saga: Publication) -> SignWithKey:
    return sign(saga, saga.answer(CrlCreated))


def publish_crl(saga: Publication) -> PublishCrl:
    return publish(saga.answer(CrlCreated), saga.answer(KeySigned))


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
    about=lambda saga: f"CRL {saga.answer(CrlCreated).number} of {saga.request.issuer_id}",
    of=lambda saga: saga.answer(CrlCreated).tbs_sha256,
    unless=nothing_new,
)

# fmt: off
CRL_PUBLICATION = Definition(
    saga_type="crl-publication",
    request=StartCrlPublication,
    completed=completed,
    within=2 * PATIENTLY,
    triggers=(
        Trigger(CertificateRevoked,  revoked, together=issuer),
        Trigger(CertificateHeld,     held_or_released, together=issuer),
        Trigger(CertificateReleased, held_or_released, together=issuer),
        Trigger(CrlPublished,        due_again, due_again_at),
    ),
    steps=(
        Step(create_crl,  CrlCreated,   within=PATIENTLY, retry=PATIENT, may_stand=True),
        _approval,
        Step(sign_crl,    KeySigned,    within=PATIENTLY, retry=PATIENT, unless=nothing_new),
        Step(publish_crl, CrlPublished, within=PATIENTLY, retry=PATIENT, unless=nothing_new, may_stand=True),
    ),
)
# fmt: on
