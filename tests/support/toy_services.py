"""Toy key and certificate services: outcomes that satisfy the contracts, without cryptography.

They keep the rules that a saga relies on: ids are used once, void ids never; approvals are counted; a repeated command
id has the same outcome.
"""

# ruff: noqa: N802, ARG002 - a method is named like the command that it answers, and all take the same
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from services.certificate.nats_jwt.domain import NATS_JWT
from services.certificate.nats_jwt.effects import SignatureChecked
from shared.contracts.base import Command, Event
from shared.contracts.certificate import commands as certificates
from shared.contracts.certificate import events as issued
from shared.contracts.certificate import nats_jwt, ocsp, ssh
from shared.contracts.certificate import trust_bundle as bundles
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key import commands as keys
from shared.contracts.key import events as kept
from shared.contracts.key.value_types import Algorithm, Provenance, PublicKeyFormat, Purpose, SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga import certificates as sagas
from shared.contracts.saga import protocol
from shared.contracts.saga.maintenance import CrlPublicationCompleted, StartCrlPublication
from shared.contracts.saga.protocol import StartSaga
from shared.contracts.saga.provisioning import CertificateProvisioningCompleted, StartCertificateProvisioning
from shared.decider import AlreadyDone, Context, Perform, Rejection

PEM, SHA = "-----BEGIN TOY-----", "0" * 64
ISSUER_ID = "01a1fbdc-0000-7000-8000-000000000002"
BORN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
_ISSUED = {"fingerprint_sha256": SHA, "certificate_pem": PEM}
SSH_LINE = "ssh-ed25519-cert-v01@openssh.com AAAAC3NzaC1lZDI1NTE5"
_ENDS = (kept.KeyRevoked, kept.KeyDestroyed, issued.CertificateRevoked, ssh.SshCertificateRevoked)
_ECDSA = SignatureAlgorithm.ECDSA_SHA256


def digest(message: bytes) -> str:
    return sha256(message).hexdigest()


@dataclass
class Toys:
    """*log*: events of each aggregate. *life*: validity of signed certificates, which policy would set."""

    log: dict[tuple[str, str], list[Event]] = field(default_factory=lambda: defaultdict(list))
    life: dict[str, Any] = field(default_factory=dict)
    crl_is_current: bool = False
    children: str = "completed"

    def answer(self, command: Command) -> Event | Rejection | AlreadyDone:
        log = self.log[command.aggregate_type, command.identity]
        answer: Event | Rejection | AlreadyDone = getattr(self, f"_{type(command).__name__}")(command, log)
        if isinstance(answer, Event) and not isinstance(answer, issued.IssuanceChecked):  # it creates nothing
            log.append(answer)
        return answer

    def find(self, kind: type[Event], aggregate: str, identity: str) -> Any:
        return next((event for event in self.log[aggregate, identity] if isinstance(event, kind)), None)

    # -- keys --------------------------------------------------------------------------------------------------------

    def _GenerateKey(self, c: keys.GenerateKey, log: list[Event]) -> Any:
        return _taken() if log else key_generated(c)

    def _SignWithKey(self, c: keys.SignWithKey, log: list[Event]) -> Any:
        if not _alive(log):
            return Rejection(RejectionCode.CONFLICT, "this key cannot sign")
        approved = {a.actor for a in c.approvals if a.message_sha256 == digest(c.message)}
        if len(approved) < getattr(log[0], "approvals", 0):
            return Rejection(RejectionCode.NOT_ALLOWED, "approvals are missing")
        return kept.KeySigned(
            key_id=c.key_id,
            signature=bytes(64) if c.signature_algorithm is SignatureAlgorithm.ED25519 else b"signature",
            signature_algorithm=c.signature_algorithm,
            message_sha256=digest(c.message),
            purpose=c.purpose,
            approved_by=tuple(sorted(approved)),
        )

    def _SignBatch(self, c: keys.SignBatch, log: list[Event]) -> Any:
        return kept.KeyBatchSigned(
            key_id=c.key_id,
            signatures=tuple(b"signature" for _ in c.messages),
            signature_algorithm=c.signature_algorithm,
            messages_sha256=tuple(digest(message) for message in c.messages),
            purpose=c.purpose,
        )

    def _ExportKey(self, c: keys.ExportKey, log: list[Event]) -> Any:
        algorithm, to = log[0].algorithm, c.recipient_public_key
        return kept.KeyExported(key_id=c.key_id, algorithm=algorithm, sealed_key=b"sealed", recipient_public_key=to)

    def _ExportPublicKey(self, c: keys.ExportPublicKey, log: list[Event]) -> Any:
        public_key = NKEYS[Purpose.NATS_ACCOUNT] if c.format is PublicKeyFormat.NKEY else PEM
        return kept.PublicKeyExported(key_id=c.key_id, format=c.format, public_key=public_key)

    def _EscrowKey(self, c: keys.EscrowKey, log: list[Event]) -> Any:
        return kept.KeyEscrowed(key_id=c.key_id) if _alive(log) else _taken()

    def _ExpireKey(self, c: keys.ExpireKey, log: list[Event]) -> Any:
        return kept.KeyExpired(key_id=c.key_id) if _alive(log) else AlreadyDone()

    def _RotateKey(self, c: keys.RotateKey, log: list[Event]) -> Any:
        successor = self.log["key", c.successor_id]
        if not _alive(log) or not _alive(successor):
            return _taken()
        until = BORN + timedelta(days=c.overlap_days)
        return kept.KeyRotated(key_id=c.key_id, successor_id=c.successor_id, overlap_until=until, reason=c.reason)

    def _CancelRotation(self, c: keys.CancelRotation, log: list[Event]) -> Any:
        if log and isinstance(log[-1], kept.KeyRotated):
            return kept.KeyRotationCancelled(key_id=c.key_id, reason=c.reason)
        return AlreadyDone()

    def _CompleteRotation(self, c: keys.CompleteRotation, log: list[Event]) -> Any:
        if log and isinstance(log[-1], kept.KeyRotated):
            return kept.KeyRotationCompleted(key_id=c.key_id, successor_id=log[-1].successor_id)
        return AlreadyDone()

    def _ArchiveKey(self, c: keys.ArchiveKey, log: list[Event]) -> Any:
        return AlreadyDone() if log and isinstance(log[-1], kept.KeyArchived) else kept.KeyArchived(key_id=c.key_id)

    def _RevokeKey(self, c: keys.RevokeKey, log: list[Event]) -> Any:
        if log and not _alive(log):
            return AlreadyDone()
        return kept.KeyRevoked(key_id=c.key_id, reason=c.reason, existed=bool(log))

    def _DestroyKey(self, c: keys.DestroyKey, log: list[Event]) -> Any:
        return AlreadyDone() if log and isinstance(log[-1], kept.KeyDestroyed) else kept.KeyDestroyed(key_id=c.key_id)

    # -- other sagas -------------------------------------------------------------------------------------------------

    def _child(self, c: StartSaga, log: list[Event], saga_type: str, completed: type[Event], **fields: Any) -> Any:
        """Returns the end of a child saga at once: completed, or failed with a step left over."""
        about = {"saga_id": c.saga_id, "saga_type": saga_type, "sequence": len(log)}
        if self.withdrawn(log):
            return _taken()
        if self.children == "failed":
            left_over = (protocol.LeftOver(step="generate-slot-key", reason="no outcome"),)
            return protocol.SagaFailed(**about, reason="timeout", undone=(), left_over=left_over)
        return completed.model_validate({**about, **fields}, strict=False)

    def _StartCertificateProvisioning(self, c: StartCertificateProvisioning, log: list[Event]) -> Any:
        fields = {"key_id": ISSUER_ID, "certificate_id": ISSUER_ID, "slot": c.slot or "9a", **_ISSUED}
        kind = CertificateProvisioningCompleted
        return self._child(c, log, "certificate-provisioning", kind, **fields)

    def _StartCertificateRenewal(self, c: sagas.StartCertificateRenewal, log: list[Event]) -> Any:
        fields = {"predecessor_id": c.certificate_id, "certificate_id": c.saga_id, **_ISSUED}
        return self._child(c, log, "certificate-renewal", sagas.CertificateRenewalCompleted, **fields)

    def _StartCrlPublication(self, c: StartCrlPublication, log: list[Event]) -> Any:
        return self._child(c, log, "crl-publication", CrlPublicationCompleted, issuer_id=c.issuer_id, number=7)

    def _WithdrawSaga(self, c: protocol.WithdrawSaga, log: list[Event]) -> Any:
        if self.withdrawn(log):
            return AlreadyDone()
        about = {"saga_id": c.saga_id, "saga_type": "certificate-provisioning", "sequence": len(log)}
        return protocol.SagaUndone(**about, reason=c.reason, undone=())

    @staticmethod
    def withdrawn(log: list[Event]) -> bool:
        return any(isinstance(event, protocol.SagaUndone) for event in log)

    # -- certificates ------------------------------------------------------------------------------------------------

    def _CheckIssuance(self, c: certificates.CheckIssuance, log: list[Event]) -> Any:
        if c.validity_days > 3650:
            return Rejection(RejectionCode.INVALID, "it would outlive its issuer")
        copied = ("certificate_id", "profile", "issuer_id", "algorithm", "validity_days")
        return issued.IssuanceChecked(**{name: getattr(c, name) for name in copied})

    def _CreateCertificate(self, c: certificates.CreateCertificate, log: list[Event]) -> Any:
        signing_key_id = c.signing_key_id or self._key_of(c.issuer_id)
        fields = {"profile": c.profile, "issuer_id": c.issuer_id, "key_id": c.key_id, "signing_key_id": signing_key_id}
        return _taken() if log else issued.CertificateCreated(**self._created(c.certificate_id), **fields)

    def _RenewCertificate(self, c: certificates.RenewCertificate, log: list[Event]) -> Any:
        fields = {"profile": Profile.TLS_SERVER, "issuer_id": ISSUER_ID, "key_id": None, "signing_key_id": ISSUER_ID}
        renewed = issued.CertificateRenewed(
            **self._created(c.certificate_id), **fields, predecessor_id=c.predecessor_id
        )
        return _taken() if log else renewed

    def _SignCertificate(self, c: certificates.SignCertificate, log: list[Event]) -> Any:
        if not _alive(log):
            return _taken()
        same = ("certificate_id", "profile", "serial", "issuer_id", "key_id", "not_before", "not_after")
        fields = {name: getattr(log[0], name) for name in same}
        return issued.CertificateSigned(**{**fields, **self.life}, certificate_pem=PEM, fingerprint_sha256=SHA)

    def _RevokeCertificate(self, c: certificates.RevokeCertificate, log: list[Event]) -> Any:
        if log and not _alive(log):
            return AlreadyDone()
        return issued.CertificateRevoked(certificate_id=c.certificate_id, reason=c.reason, existed=bool(log))

    def _SupersedeCertificate(self, c: certificates.SupersedeCertificate, log: list[Event]) -> Any:
        return issued.CertificateSuperseded(certificate_id=c.certificate_id, successor_id=c.successor_id)

    def _AnnounceExpiry(self, c: certificates.AnnounceExpiry, log: list[Event]) -> Any:
        fields = {"profile": Profile.TLS_SERVER, "not_after": END, "renewal": True}
        return issued.CertificateExpiring(certificate_id=c.certificate_id, **fields) if _alive(log) else AlreadyDone()

    def _ExpireCertificate(self, c: certificates.ExpireCertificate, log: list[Event]) -> Any:
        return (
            issued.CertificateExpired(certificate_id=c.certificate_id, not_after=END) if _alive(log) else AlreadyDone()
        )

    def _CreateCrl(self, c: certificates.CreateCrl, log: list[Event]) -> Any:
        if self.crl_is_current:
            return AlreadyDone()
        tbs = f"crl of {c.certificate_id}".encode()
        return issued.CrlCreated(
            certificate_id=c.certificate_id,
            number=7,
            tbs=tbs,
            tbs_sha256=digest(tbs),
            signing_key_id=self._key_of(c.certificate_id),
            signature_algorithm=_ECDSA,
            this_update=BORN,
            next_update=END,
            entries=0,
            through=0,
        )

    def _PublishCrl(self, c: certificates.PublishCrl, log: list[Event]) -> Any:
        return issued.CrlPublished(
            certificate_id=c.certificate_id,
            number=7,
            crl_pem=PEM,
            fingerprint_sha256=SHA,
            this_update=BORN,
            next_update=END,
            entries=0,
            next_at=END - timedelta(days=1),
        )

    def _PrepareOcsp(self, c: ocsp.PrepareOcsp, log: list[Event]) -> Any:
        answer = ocsp.OcspAnswer(certificate_id=ISSUER_ID, serial="01", tbs=b"answer", issuer_key_hash="0" * 40)
        fields = {"answers": (answer,), "signature_algorithm": _ECDSA, "everyone": not c.certificate_ids}
        through = {"through": 0} if "through" in ocsp.OcspPrepared.model_fields else {}
        return ocsp.OcspPrepared(**self._batch(c), **fields, **through, signing_key_id=ISSUER_ID, more_after=None)

    def _PublishOcsp(self, c: ocsp.PublishOcsp, log: list[Event]) -> Any:
        prepared = log[0]
        same = ("batch_id", "issuer_id", "responder_id", "this_update", "next_update", "everyone", "more_after")
        fields = {name: getattr(prepared, name) for name in same}
        return ocsp.OcspPublished(**fields, answers=(), next_at=END)

    def _PublishTrustBundle(self, c: bundles.PublishTrustBundle, log: list[Event]) -> Any:
        fields = {"fingerprints_sha256": (SHA,), "certificates_pem": (PEM,), "version": len(log) + 1}
        return bundles.TrustBundlePublished(**c.model_dump(), **fields)

    def _CreateSshCertificate(self, c: ssh.CreateSshCertificate, log: list[Event]) -> Any:
        same = ("ssh_certificate_id", "kind", "signing_key_id", "ca_public_key_pem", "key_identity", "principals")
        fields = {name: getattr(c, name) for name in same}
        details = {"tbs": b"tbs", "tbs_sha256": digest(b"tbs"), "serial": "1", "signature_algorithm": _ECDSA}
        return _taken() if log else ssh.SshCertificateCreated(**fields, **details, valid_after=BORN, valid_before=END)

    def _SignSshCertificate(self, c: ssh.SignSshCertificate, log: list[Event]) -> Any:
        if not _alive(log):
            return _taken()
        same = ("ssh_certificate_id", "kind", "serial", "key_identity", "principals", "valid_after", "valid_before")
        return ssh.SshCertificateSigned(**{name: getattr(log[0], name) for name in same}, certificate=SSH_LINE)

    def _RevokeSshCertificate(self, c: ssh.RevokeSshCertificate, log: list[Event]) -> Any:
        if log and not _alive(log):
            return AlreadyDone()
        fields = {"reason": c.reason, "existed": bool(log)}
        return ssh.SshCertificateRevoked(ssh_certificate_id=c.ssh_certificate_id, **fields)

    # -- NATS ---------------------------------------------------------------------------------------------------------

    def _CreateNatsJwt(self, c: nats_jwt.CreateNatsJwt, log: list[Event]) -> Any:
        return self._nats(c, log)

    def _ReviseNatsJwt(self, c: nats_jwt.ReviseNatsJwt, log: list[Event]) -> Any:
        return self._nats(c, log)

    def _SignNatsJwt(self, c: nats_jwt.SignNatsJwt, log: list[Event]) -> Any:
        return self._nats(c, log)

    def _RevokeNatsJwt(self, c: nats_jwt.RevokeNatsJwt, log: list[Event]) -> Any:
        return self._nats(c, log)

    def _nats(self, command: Any, log: list[Event]) -> Any:
        """Runs the real decider with valid signatures and an existing account as issuer."""
        state = NATS_JWT.initial
        context = Context(command_id=UUID(ISSUER_ID), aggregate_id=command.nats_jwt_id, at=BORN)
        existing = [ACCOUNT_JWT, ACCOUNT_SIGNED] if command.nats_jwt_id == ISSUER_ID else []
        for event in [*existing, *log]:
            state = NATS_JWT.evolve(state, event)
        output = NATS_JWT.decide(state, command, context)
        if isinstance(output, Perform):
            output = NATS_JWT.decide(state, SignatureChecked(output.effect, is_valid=True), context)
        return output

    def _created(self, certificate_id: str) -> dict[str, Any]:
        tbs = f"certificate {certificate_id}".encode()
        return {
            "certificate_id": certificate_id,
            "tbs": tbs,
            "tbs_sha256": digest(tbs),
            "signature_algorithm": _ECDSA,
            "serial": "01",
            "issuer_public_key_pem": PEM,
            "not_before": BORN,
            "not_after": END,
        }

    def _batch(self, c: ocsp.PrepareOcsp) -> dict[str, Any]:
        issuer = {"issuer_id": c.issuer_id, "responder_id": c.responder_id or ISSUER_ID}
        return {"batch_id": c.batch_id, **issuer, "this_update": BORN, "next_update": END}

    def _key_of(self, certificate_id: str | None) -> str:
        created = self.find(issued.CertificateCreated, "certificate", certificate_id or "")
        return (created and created.key_id) or ISSUER_ID


def key_generated(c: keys.GenerateKey) -> kept.KeyGenerated:
    return kept.KeyGenerated(
        key_id=c.key_id,
        algorithm=c.algorithm,
        public_key_pem=PEM,
        fingerprint_sha256=SHA,
        purpose=c.purpose or Purpose.DIGITAL_SIGNATURE,
        provenance=Provenance.SOFTWARE,
        exportable=c.exportable,
        expires_at=c.expires_at,
        approvals=c.approvals,
        nkey=NKEYS.get(c.purpose) if c.purpose else None,
    )


NKEYS = {
    Purpose.NATS_OPERATOR: "O" + "A" * 55,
    Purpose.NATS_ACCOUNT: "A" + "A" * 55,
    Purpose.NATS_USER: "U" + "A" * 55,
}
ACCOUNT_JWT = nats_jwt.NatsJwtCreated(
    nats_jwt_id=ISSUER_ID,
    entity=nats_jwt.NatsEntity.ACCOUNT,
    name="APP",
    subject=NKEYS[Purpose.NATS_ACCOUNT],
    issuer=NKEYS[Purpose.NATS_OPERATOR],
    signing_key_id=ISSUER_ID,
    signature_algorithm=SignatureAlgorithm.ED25519,
    tbs=b"e30.e30",
    tbs_sha256=SHA,
    limits=nats_jwt.NatsAccountLimits(),
    permissions=nats_jwt.NatsPermissions(),
    system_account=None,
    validity_days=None,
    version=1,
)
ACCOUNT_SIGNED = nats_jwt.NatsJwtSigned(
    nats_jwt_id=ISSUER_ID,
    entity=nats_jwt.NatsEntity.ACCOUNT,
    subject=NKEYS[Purpose.NATS_ACCOUNT],
    issuer=NKEYS[Purpose.NATS_OPERATOR],
    jwt="e30.e30.c2ln",
    version=1,
)


ISSUER_KEY = key_generated(
    keys.GenerateKey(key_id=ISSUER_ID, algorithm=Algorithm.EC_P256, purpose=Purpose.CERTIFICATE_SIGNING)
)


def _alive(log: list[Event]) -> bool:
    return bool(log) and not any(isinstance(event, _ENDS) for event in log)


def _taken() -> Rejection:
    return Rejection(RejectionCode.CONFLICT, "its id is taken, or void")
