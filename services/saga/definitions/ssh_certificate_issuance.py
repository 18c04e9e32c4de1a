"""Issues an SSH certificate for a public key, signed by a CA key in the custody of the key service."""

from __future__ import annotations

from services.saga.core.definition import Definition, Step, Undo
from services.saga.core.state import Saga
from shared.contracts.certificate.ssh import (
    CreateSshCertificate,
    RevokeSshCertificate,
    SignSshCertificate,
    SshCertificateCreated,
    SshCertificateRevoked,
    SshCertificateSigned,
)
from shared.contracts.key.commands import ExportPublicKey, SignWithKey
from shared.contracts.key.events import KeySigned, PublicKeyExported
from shared.contracts.key.value_types import PublicKeyFormat, Purpose
from shared.contracts.saga.certificates import SshCertificateIssuanceCompleted, StartSshCertificateIssuance

Issuance = Saga[StartSshCertificateIssuance]


def export_public_key(saga: Issuance) -> ExportPublicKey:
    return ExportPublicKey(key_id=saga.request.ca_key_id, format=PublicKeyFormat.PEM)


def create_ssh_certificate(saga: Issuance) -> CreateSshCertificate:
    request = saga.request
    return CreateSshCertificate(
        ssh_certificate_id=_certificate_id(saga),
        kind=request.kind,
        public_key=request.public_key,
        key_identity=request.key_identity,
        principals=request.principals,
        validity_minutes=request.validity_minutes,
        signing_key_id=request.ca_key_id,
        ca_public_key_pem=saga.outcome(PublicKeyExported).public_key,
        force_command=request.force_command,
        source_addresses=request.source_addresses,
        extensions=request.extensions,
    )


def sign_ssh_certificate(saga: Issuance) -> SignWithKey:
    created = saga.outcome(SshCertificateCreated)
    return SignWithKey(
        key_id=created.signing_key_id,
        message=created.tbs,
        signature_algorithm=created.signature_algorithm,
        purpose=Purpose.SSH_CERTIFICATE_SIGNING,
    )


def attach_signature(saga: Issuance) -> SignSshCertificate:
    return SignSshCertificate(ssh_certificate_id=_certificate_id(saga), signature=saga.outcome(KeySigned).signature)


def revoke_ssh_certificate(saga: Issuance) -> RevokeSshCertificate:
    reason = "the issuance was undone"
    return RevokeSshCertificate(ssh_certificate_id=_certificate_id(saga), reason=reason, void_if_absent=True)


def completed(saga: Issuance) -> SshCertificateIssuanceCompleted:
    signed = saga.outcome(SshCertificateSigned)
    return SshCertificateIssuanceCompleted(
        **saga.heading, ssh_certificate_id=signed.ssh_certificate_id, certificate=signed.certificate
    )


def _certificate_id(saga: Issuance) -> str:
    return saga.id_of("ssh-certificate")


_revoked = (Undo(revoke_ssh_certificate, SshCertificateRevoked),)

# fmt: off
SSH_CERTIFICATE_ISSUANCE = Definition(
    saga_type="ssh-certificate-issuance",
    request=StartSshCertificateIssuance,
    completed=completed,
    steps=(
        Step(export_public_key,      PublicKeyExported),
        Step(create_ssh_certificate, SshCertificateCreated, undo=_revoked),
        Step(sign_ssh_certificate,   KeySigned),
        Step(attach_signature,       SshCertificateSigned),
    ),
)
# fmt: on
