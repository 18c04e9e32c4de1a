"""The certificate service, put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from nats.js import JetStreamContext

from services.certificate.crl.effects import AttachCrlSignature, BuildCrl, GatherRevocations
from services.certificate.crl.performer import CrlBuilding
from services.certificate.linting.pkilint import Pkilint
from services.certificate.nats_jwt import performer as nats_signatures
from services.certificate.nats_jwt.domain import NATS_JWT
from services.certificate.nats_jwt.effects import CheckSignature, SignatureChecked
from services.certificate.ocsp.domain import OCSP
from services.certificate.ocsp.effects import OcspEffect, OcspOutcome
from services.certificate.ocsp.performer import OcspPerformer
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.policy.rules import Policy, SshRule
from services.certificate.revocation.log import RevocationLog
from services.certificate.ssh import performer as ssh_building
from services.certificate.ssh.domain import ssh_certificate_decider
from services.certificate.ssh.effects import SshEffect, SshOutcome
from services.certificate.trust_bundle.domain import TRUST_BUNDLE
from services.certificate.trust_bundle.effects import FetchRoots, RootsFetched
from services.certificate.trust_bundle.performer import TrustBundlePerformer
from services.certificate.verification.effects import CheckPath
from services.certificate.verification.performer import PathChecker
from services.certificate.verification.status_log import StatusLog
from services.certificate.views.inventory import report_forever
from services.certificate.views.projector import Projector
from services.certificate.views.queries import certificate_id_of
from services.certificate.x509.domain import certificate_decider
from services.certificate.x509.effects import Effect, Outcome
from services.certificate.x509.performer import Issuance
from services.certificate.x509.states import Certificate
from shared.contracts.certificate.events import CertificateEvent
from shared.nats.client import Client
from shared.nats.connection import ANONYMOUS, Access
from shared.process.host import Host, Service
from shared.process.runtime import Aggregate, Stores, serve
from shared.store.event_store import EventStore
from shared.telemetry import instruments


@dataclass(frozen=True, slots=True)
class Settings:
    nats_url: str
    policy: Policy = field(default_factory=Policy)
    ssh_rules: tuple[SshRule, ...] = ()
    ocsp: OcspPolicy = field(default_factory=OcspPolicy)
    access: Access = ANONYMOUS


def certificate_service(settings: Settings) -> Service:
    host, edge = Host(settings.nats_url, "certificate", settings.access), _Edge(settings)
    app = serve(
        host,
        "certificate",
        Aggregate("certificate", certificate_decider(settings.policy), edge.of_certificates),
        Aggregate("ocsp", OCSP, edge.of_ocsp),
        Aggregate("trust-bundle", TRUST_BUNDLE, edge.of_trust_bundles),
        Aggregate("nats-jwt", NATS_JWT, edge.of_nats_jwts),
        Aggregate("ssh-certificate", ssh_certificate_decider(settings.ssh_rules), edge.of_ssh_certificates),
    )

    async def project(client: Client) -> None:
        projector = Projector.over(client)
        await host.consume(client, "views", projector.handle, projector.surrender, projector.concerns)
        if instruments.is_on():
            host.background(report_forever(client.jetstream()))

    host.on_started(project)
    host.on_stopped(edge.pkilint.end)
    return app


class _Edge:
    """What performs the effects of each aggregate; CRLs and status answers share one register of revocations."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._revocations: RevocationLog | None = None
        self.pkilint = Pkilint()

    async def of_certificates(self, js: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        self.pkilint.warm_up()
        current, policy = _current(stores), self._settings.policy
        issuance = Issuance(current, self.pkilint, partial(certificate_id_of, js))
        verification = PathChecker(StatusLog(js))
        crls = CrlBuilding(self._revocations_in(js), current, lambda issuer_id: policy.for_issuer(issuer_id).crl)

        async def perform(effect: Effect) -> Outcome:
            match effect:
                case CheckPath():
                    return await verification.perform(effect)
                case GatherRevocations() | BuildCrl() | AttachCrlSignature():
                    return await crls.perform(effect)
                case _:
                    return await issuance.perform(effect)

        return perform

    async def of_ocsp(self, js: JetStreamContext, stores: Stores) -> Callable[[OcspEffect], Awaitable[OcspOutcome]]:
        return OcspPerformer(js, self._revocations_in(js), _current(stores), self._settings.ocsp).perform

    async def of_trust_bundles(
        self, _: JetStreamContext, stores: Stores
    ) -> Callable[[FetchRoots], Awaitable[RootsFetched]]:
        return TrustBundlePerformer(_current(stores)).perform

    async def of_ssh_certificates(
        self, _: JetStreamContext, __: Stores
    ) -> Callable[[SshEffect], Awaitable[SshOutcome]]:
        return ssh_building.perform

    async def of_nats_jwts(
        self, _: JetStreamContext, __: Stores
    ) -> Callable[[CheckSignature], Awaitable[SignatureChecked]]:
        return nats_signatures.perform

    def _revocations_in(self, js: JetStreamContext) -> RevocationLog:
        self._revocations = self._revocations or RevocationLog(js)
        return self._revocations


def _current(stores: Stores) -> Callable[[str], Awaitable[Certificate]]:
    store: EventStore[Certificate, CertificateEvent] = stores["certificate"]

    async def current(certificate_id: str) -> Certificate:
        """Read from the leader: an issuer revoked a moment ago, by another replica too, must issue nothing more."""
        standing = await store.load(certificate_id)
        return (await store.refresh(certificate_id, standing)).state

    return current
