"""Wiring of the certificate service: five aggregates with their performers, and the projector of views."""

from collections.abc import Awaitable, Callable
from functools import cache, partial

from nats.js import JetStreamContext

from services.certificate.crl.effects import AttachCrlSignature, BuildCrl, GatherRevocations
from services.certificate.crl.performer import CrlPerformer, IssuerKey
from services.certificate.linting.pkilint import Pkilint
from services.certificate.nats_jwt import performer as nats_jwt_performer
from services.certificate.nats_jwt.domain import NATS_JWT
from services.certificate.nats_jwt.effects import CheckSignature, SignatureChecked
from services.certificate.ocsp.domain import OCSP
from services.certificate.ocsp.effects import OcspEffect, OcspOutcome
from services.certificate.ocsp.performer import OcspPerformer
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.policy.rules import Policy
from services.certificate.revocation.log import RevocationLog
from services.certificate.settings import CertificateSettings
from services.certificate.ssh import performer as ssh_performer
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
from services.certificate.x509.performer import CertificatePerformer
from services.certificate.x509.states import Certificate, CurrentCertificate, Issued, Revoked
from shared.contracts.certificate.events import CertificateEvent
from shared.nats.client import Client
from shared.process.host import Host, Service
from shared.process.runtime import Aggregate, Stores, serve
from shared.store.event_store import EventStore
from shared.telemetry import instruments

RevocationLogs = Callable[[JetStreamContext], RevocationLog]


def certificate_service(settings: CertificateSettings) -> Service:
    host, pkilint = Host(settings.nats.url, "certificate", settings.nats.access), Pkilint()
    revocation_logs: RevocationLogs = cache(RevocationLog)  # CRLs and OCSP responses share one log reader
    app = serve(
        host,
        "certificate",
        Aggregate(
            "certificate",
            certificate_decider(settings.policy),
            partial(_certificate_performer, settings.policy, pkilint, revocation_logs),
        ),
        Aggregate("ocsp", OCSP, partial(_ocsp_performer, settings.ocsp, revocation_logs)),
        Aggregate("trust-bundle", TRUST_BUNDLE, _trust_bundle_performer),
        Aggregate("nats-jwt", NATS_JWT, _nats_jwt_performer),
        Aggregate("ssh-certificate", ssh_certificate_decider(settings.ssh_rules), _ssh_performer),
    )

    async def project_views(client: Client) -> None:
        projector = Projector.over(client)
        host.consume("views", projector.handle, projector.on_poison, projector.is_relevant)
        if instruments.is_on():
            host.background(report_forever(client.jetstream()))

    host.on_started(project_views)
    host.on_stopped(pkilint.close)
    return app


async def _certificate_performer(
    policy: Policy, pkilint: Pkilint, revocation_logs: RevocationLogs, js: JetStreamContext, stores: Stores
) -> Callable[[Effect], Awaitable[Outcome]]:
    """Combines the performers of certificates, of CRLs and of path validation."""
    pkilint.warm_up()
    current = _current_certificate(stores)

    async def issuer_key(issuer_id: str) -> IssuerKey | None:
        match await current(issuer_id):
            case Issued(key_id=key_id, certificate_pem=pem) | Revoked(key_id=key_id, certificate_pem=str(pem)):
                return IssuerKey(key_id, pem)
            case _:
                return None

    certificates = CertificatePerformer(current, pkilint, partial(certificate_id_of, js))
    crls = CrlPerformer(revocation_logs(js), issuer_key, lambda issuer_id: policy.for_issuer(issuer_id).crl)
    paths = PathChecker(StatusLog(js))

    async def perform(effect: Effect) -> Outcome:
        match effect:
            case GatherRevocations() | BuildCrl() | AttachCrlSignature():
                return await crls.perform(effect)
            case CheckPath():
                return await paths.perform(effect)
            case _:
                return await certificates.perform(effect)

    return perform


async def _ocsp_performer(
    policy: OcspPolicy, revocation_logs: RevocationLogs, js: JetStreamContext, stores: Stores
) -> Callable[[OcspEffect], Awaitable[OcspOutcome]]:
    performer = OcspPerformer(js, revocations=revocation_logs(js), current=_current_certificate(stores), policy=policy)
    return performer.perform


async def _trust_bundle_performer(
    _: JetStreamContext, stores: Stores
) -> Callable[[FetchRoots], Awaitable[RootsFetched]]:
    return TrustBundlePerformer(_current_certificate(stores)).perform


async def _nats_jwt_performer(
    _: JetStreamContext, __: Stores
) -> Callable[[CheckSignature], Awaitable[SignatureChecked]]:
    return nats_jwt_performer.perform


async def _ssh_performer(_: JetStreamContext, __: Stores) -> Callable[[SshEffect], Awaitable[SshOutcome]]:
    return ssh_performer.perform


def _current_certificate(stores: Stores) -> CurrentCertificate:
    store: EventStore[Certificate, CertificateEvent] = stores["certificate"]

    async def current(certificate_id: str) -> Certificate:
        """Reads from the stream leader, because another replica may have revoked the certificate a moment ago."""
        cached = await store.load(certificate_id)
        return (await store.refresh(certificate_id, cached)).state

    return current
