"""The certificate service, put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from faststream import FastStream
from nats.js import JetStreamContext

from services.certificate.domain import certificate_decider
from services.certificate.effects import Effect, Outcome
from services.certificate.issuers import Freshly
from services.certificate.policy import Policy
from services.certificate.states import Certificate
from services.certificate.x509 import Issuance
from shared.contracts.certificate_events import CertificateEvent
from shared.event_store import EventStore
from shared.host import Host
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class Settings:
    nats_url: str
    policy: Policy = field(default_factory=Policy)


def certificate_service(settings: Settings) -> FastStream:
    decider = certificate_decider(settings.policy)
    return serve(Host(settings.nats_url, "certificate"), "certificate", Aggregate("certificate", decider, _prepare))


async def _prepare(_: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
    store: EventStore[Certificate, CertificateEvent] = stores["certificate"]

    async def current(certificate_id: str) -> Certificate:
        """Read from the leader: an issuer revoked a moment ago, by another replica too, must issue nothing more."""
        standing = await store.load(certificate_id)
        return (await store.refresh(certificate_id, standing)).state

    return Issuance(Freshly(current)).perform
