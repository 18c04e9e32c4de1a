"""The certificate service, put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from faststream import FastStream
from nats.js import JetStreamContext

from services.certificate.crl_building import CrlBuilding
from services.certificate.crl_effects import AttachCrlSignature, BuildCrl, GatherRevocations
from services.certificate.domain import CERTIFICATE
from services.certificate.effects import Effect, Outcome
from services.certificate.ocsp_building import OcspBuilding
from services.certificate.ocsp_domain import OCSP
from services.certificate.ocsp_states import OcspEffect, OcspOutcome
from services.certificate.revocation_policy import CrlPolicy, OcspPolicy
from services.certificate.revocations import Revocations
from services.certificate.states import Certificate
from services.certificate.trust_bundles import TRUST_BUNDLE, FetchRoots, RootsFetched
from services.certificate.x509 import Issuance
from shared.contracts.certificate_events import CertificateEvent
from shared.event_store import EventStore
from shared.host import Host
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class Settings:
    nats_url: str
    crl: CrlPolicy = field(default_factory=CrlPolicy)
    ocsp: OcspPolicy = field(default_factory=OcspPolicy)


def certificate_service(settings: Settings) -> FastStream:
    return serve(Host(settings.nats_url, "certificate"), "certificate", *_Aggregates(settings).all())


def _current(stores: Stores) -> Callable[[str], Awaitable[Certificate]]:
    store: EventStore[Certificate, CertificateEvent] = stores["certificate"]

    async def current(certificate_id: str) -> Certificate:
        """Read from the leader: an issuer revoked a moment ago, by another replica too, must issue nothing more."""
        standing = await store.load(certificate_id)
        return (await store.refresh(certificate_id, standing)).state

    return current


class _Aggregates:
    """What the service answers for; CRLs and status answers share one register of revocations."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._revocations: Revocations | None = None

    def all(self) -> tuple[Aggregate[Any, Any, Any, Any, Any], ...]:
        return (
            Aggregate("certificate", CERTIFICATE, self._certificate),
            Aggregate("ocsp", OCSP, self._ocsp),
            Aggregate("trust-bundle", TRUST_BUNDLE, self._trust_bundle),
        )

    def _revocations_of(self, js: JetStreamContext) -> Revocations:
        self._revocations = self._revocations or Revocations(js)
        return self._revocations

    async def _certificate(self, js: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        current = _current(stores)
        issuance = Issuance(current)
        crls = CrlBuilding(self._revocations_of(js), current, lambda _: self._settings.crl)

        async def perform(effect: Effect) -> Outcome:
            match effect:
                case GatherRevocations() | BuildCrl() | AttachCrlSignature():
                    return await crls.perform(effect)
                case _:
                    return await issuance.perform(effect)

        return perform

    async def _ocsp(self, js: JetStreamContext, stores: Stores) -> Callable[[OcspEffect], Awaitable[OcspOutcome]]:
        return OcspBuilding(js, self._revocations_of(js), _current(stores), self._settings.ocsp).perform

    async def _trust_bundle(
        self, _: JetStreamContext, stores: Stores
    ) -> Callable[[FetchRoots], Awaitable[RootsFetched]]:
        current = _current(stores)

        async def perform(asked: FetchRoots) -> RootsFetched:
            return RootsFetched(asked, tuple([await current(each) for each in asked.certificate_ids]))

        return perform
