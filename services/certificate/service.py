"""The certificate service, put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from faststream import FastStream
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.certificate import ssh_building
from services.certificate.domain import certificate_decider
from services.certificate.effects import Effect, Outcome
from services.certificate.pkilint_process import Pkilint
from services.certificate.policy import Policy
from services.certificate.projector import Projector
from services.certificate.ssh_domain import SSH_CERTIFICATE
from services.certificate.ssh_effects import SshEffect, SshOutcome
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
    policy: Policy = field(default_factory=Policy)


def certificate_service(settings: Settings) -> FastStream:
    host = Host(settings.nats_url, "certificate")

    async def prepare(js: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        store: EventStore[Certificate, CertificateEvent] = stores["certificate"]

        async def current(certificate_id: str) -> Certificate:
            """Read from the leader: an issuer revoked a moment ago, by another replica too, must issue nothing more."""
            standing = await store.load(certificate_id)
            return (await store.refresh(certificate_id, standing)).state

        pkilint = Pkilint()
        pkilint.warm_up()
        host.end(pkilint.end)
        issuance, verification = Issuance(current, pkilint), Verification(Authorities(js))

        async def perform(effect: Effect) -> Outcome:
            match effect:
                case Verify():
                    return await verification.perform(effect)
                case _:
                    return await issuance.perform(effect)

        return perform

    app = serve(
        host,
        "certificate",
        Aggregate("certificate", certificate_decider(settings.policy), prepare),
        Aggregate("ssh-certificate", SSH_CERTIFICATE, _prepare_ssh),
    )

    async def project(client: Client) -> None:
        projector = Projector.over(client)
        await host.read(client, "views", projector.handle, projector.surrender)

    host.begin(project)
    return app


async def _prepare_ssh(_: JetStreamContext, __: Stores) -> Callable[[SshEffect], Awaitable[SshOutcome]]:
    return ssh_building.perform
