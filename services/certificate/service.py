"""The certificate service, put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from faststream import FastStream
from nats.js import JetStreamContext

from services.certificate.domain import CERTIFICATE
from services.certificate.effects import Effect, Outcome
from services.certificate.states import Certificate
from services.certificate.verification.answering import Verification
from services.certificate.verification.authorities import Authorities
from services.certificate.verifying_effects import Verify
from services.certificate.x509 import Issuance
from shared.contracts.certificate_events import CertificateEvent
from shared.event_store import EventStore
from shared.host import Host
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class Settings:
    nats_url: str


def certificate_service(settings: Settings) -> FastStream:
    return serve(Host(settings.nats_url, "certificate"), "certificate", Aggregate("certificate", CERTIFICATE, _prepare))


async def _prepare(js: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
    store: EventStore[Certificate, CertificateEvent] = stores["certificate"]

    async def current(certificate_id: str) -> Certificate:
        """Read from the leader: an issuer revoked a moment ago, by another replica too, must issue nothing more."""
        standing = await store.load(certificate_id)
        return (await store.refresh(certificate_id, standing)).state

    issuance, verification = Issuance(current), Verification(Authorities(js))

    async def perform(effect: Effect) -> Outcome:
        return await (verification.perform(effect) if isinstance(effect, Verify) else issuance.perform(effect))

    return perform
