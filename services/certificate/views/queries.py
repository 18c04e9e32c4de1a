"""Queries on KEYS_VIEWS for candidate certificates; the caller reads their state from the event store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from pydantic import BaseModel, ValidationError

from shared.contracts.base import Id
from shared.nats.kv import KeyValue, read_until_end
from shared.nats.ordered_consumer import ordered_subscribe

BUCKET = "KEYS_VIEWS"


class _Issued(BaseModel):
    """The fields of the document `issued.<issuer_id>.<serial>` that these queries use."""

    certificate_id: Id
    not_after: datetime


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate of an issuer. *position* is the sequence of its document in the bucket, a cursor."""

    position: int
    certificate_id: str


async def responder_ids(js: JetStreamContext, issuer_id: str) -> list[str]:
    """Returns the certificate ids of the OCSP responders of that issuer with a key of ours, newest first."""
    documents = [document async for document in KeyValue(js, BUCKET).all(f"responder.{issuer_id}.*")]
    return [document.key.rsplit(".", 1)[1] for document in sorted(documents, key=lambda each: -each.revision)]


async def certificate_id_of(js: JetStreamContext, issuer_id: str, serial: str) -> str | None:
    """Returns the id of the certificate of that issuer and serial number; the view lags behind issuance."""
    document = await KeyValue(js, BUCKET).get(f"issued.{issuer_id}.{serial}")
    try:
        return None if document is None else _Issued.model_validate_json(document.value).certificate_id
    except ValidationError:
        return None


async def unexpired_certificates(
    js: JetStreamContext, issuer_id: str, after: int, at: datetime
) -> AsyncGenerator[IssuedCertificate]:
    """Yields the certificates after position *after* that had not expired at *at*."""
    pattern = f"$KV.{BUCKET}.issued.{issuer_id}.*"
    subscription = await ordered_subscribe(
        js,
        f"KV_{BUCKET}",
        pattern,
        ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1),
    )
    async with aclosing(read_until_end(subscription)) as messages:
        async for message in messages:
            document = _read(message)
            if document is not None and document.not_after >= at:
                yield IssuedCertificate(message.metadata.sequence.stream, document.certificate_id)


def _read(message: Msg) -> _Issued | None:
    try:
        return _Issued.model_validate_json(message.data)
    except ValidationError:  # also the marker of a deleted key
        return None
