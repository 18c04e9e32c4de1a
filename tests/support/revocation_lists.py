"""The deciders of CRLs and OCSP responses with their performers, and an in-memory log instead of NATS."""

from dataclasses import replace

from services.certificate.crl.performer import CrlPerformer, IssuerKey
from services.certificate.der import crl_entry
from services.certificate.ocsp.domain import OCSP
from services.certificate.ocsp.performer import OcspPerformer
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.profiles import CRL
from services.certificate.revocation.register import RevocationRegister
from services.certificate.x509.domain import CERTIFICATE
from services.certificate.x509.states import Issued, Revoked, Unborn
from shared.contracts.base import Event
from shared.contracts.certificate.commands import CreateCrl, PublishCrl
from shared.contracts.certificate.events import CrlCreated, CrlPublished
from shared.contracts.certificate.ocsp import PrepareOcsp, PublishOcsp
from shared.decider import Context, run
from shared.messages.ids import new_id
from tests.support.revocation_pki import sign_with
from tests.support.scenario import NOON


class Log:
    """Events of KEYS_EVENTS as `RevocationLog` reads them, without a server; each has its time of storage."""

    def __init__(self):
        self.events = []
        self.register = RevocationRegister(crl_entry)

    def take(self, event, at=NOON):
        self.events.append((at, event))

    async def catch_up(self):
        for sequence, (at, event) in enumerate(self.events, 1):
            self.register.apply(sequence, at, event)
        return self.register.last_sequence


class CrlPublisher:
    """Decides, performs and evolves like the service."""

    def __init__(self, *holders, log=None, policy=None):
        self.log = log or Log()
        self.states = {each.certificate_id: each.state for each in holders}
        self.events = []
        self._performer = CrlPerformer(self.log, self._issuer_key, lambda _: policy or CRL)

    async def current(self, certificate_id):
        return self.states.get(certificate_id, Unborn())

    async def _issuer_key(self, issuer_id):
        state = await self.current(issuer_id)
        return IssuerKey(state.key_id, state.certificate_pem) if isinstance(state, Issued | Revoked) else None

    async def ask(self, command, at=NOON):
        state = await self.current(command.identity)
        context = Context(command_id=new_id(), aggregate_id=command.identity, at=at)
        answer = await run(CERTIFICATE, self._performer.perform, state, command, context)
        if isinstance(answer, Event):
            self.states[command.identity] = CERTIFICATE.evolve(state, answer)
            self.events.append(answer)
        return answer

    async def create(self, issuer, at=NOON):
        return await self.ask(CreateCrl(certificate_id=issuer.certificate_id), at)

    async def publish(self, issuer, created, at=NOON, **fields):
        signature = sign_with(issuer.key, created.tbs)
        return await self.ask(PublishCrl(certificate_id=issuer.certificate_id, signature=signature, **fields), at)

    async def crl(self, issuer, at=NOON):
        created = await self.create(issuer, at)
        assert isinstance(created, CrlCreated), created
        published = await self.publish(issuer, created, at)
        assert isinstance(published, CrlPublished), published
        return published

    def forget_crls_after(self, number, issuer):
        """Drops newer CRLs from the state, like a restored backup."""
        state = replace(issuer.state, crl=None)
        for event in self.events:
            if event.number <= number:
                state = CERTIFICATE.evolve(state, event)
        self.states[issuer.certificate_id] = state


class OcspBatches:
    """The OCSP decider with its performer; batches name their certificates, because a page of all needs a view."""

    def __init__(self, *holders, log=None, policy=None):
        self.log = log or Log()
        self.states = {each.certificate_id: each.state for each in holders}
        self.batches = {}
        self._performer = OcspPerformer(None, self.log, self.current, policy or OcspPolicy())

    async def current(self, certificate_id):
        return self.states.get(certificate_id, Unborn())

    async def ask(self, command, at=NOON):
        state = self.batches.get(command.identity, OCSP.initial)
        answer = await run(
            OCSP,
            self._performer.perform,
            state,
            command,
            Context(command_id=new_id(), aggregate_id=command.identity, at=at),
        )
        if isinstance(answer, Event):
            self.batches[command.identity] = OCSP.evolve(state, answer)
        return answer

    async def prepare(self, issuer, responder, *about, at=NOON):
        prepare = PrepareOcsp(
            batch_id=str(new_id()),
            issuer_id=issuer.certificate_id,
            responder_id=responder.certificate_id,
            certificate_ids=tuple(each.certificate_id for each in about),
        )
        return await self.ask(prepare, at)

    async def publish(self, prepared, responder, at=NOON):
        signatures = tuple(sign_with(responder.key, each.tbs) for each in prepared.answers)
        return await self.ask(PublishOcsp(batch_id=prepared.batch_id, signatures=signatures), at)
