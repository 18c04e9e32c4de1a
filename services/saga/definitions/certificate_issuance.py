"""Issues a certificate for a CSR, for a public key, or for a new key in the custody of the key service."""

from __future__ import annotations

from services.saga.core.definition import Await, Definition, Step
from services.saga.core.state import Saga
from services.saga.definitions.parts import certificate_undone, key_undone, publish, sign
from shared.contracts.certificate.commands import CreateCertificate, CreateCrl, PublishCrl, SignCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateSigned, CrlCreated, CrlPublished
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.commands import GenerateKey, SignWithKey
from shared.contracts.key.events import KeyGenerated, KeySigned
from shared.contracts.key.value_types import Purpose
from shared.contracts.saga.certificates import CertificateIssuanceCompleted, StartCertificateIssuance

Issuance = Saga[StartCertificateIssuance]

_PURPOSE = {
    Profile.ROOT: Purpose.CERTIFICATE_SIGNING,
    Profile.INTERMEDIATE: Purpose.CERTIFICATE_SIGNING,
    Profile.OCSP_RESPONDER: Purpose.OCSP_SIGNING,
    Profile.PIV_AUTHENTICATION: Purpose.AUTHENTICATION,
    Profile.PIV_KEY_MANAGEMENT: Purpose.KEY_MANAGEMENT,
    Profile.PIV_CARD_AUTHENTICATION: Purpose.CARD_AUTHENTICATION,
}
"""Key purpose by certificate profile; digital-signature for all others."""


def makes_key(saga: Issuance) -> bool:
    return saga.request.algorithm is not None


def makes_authority(saga: Issuance) -> bool:
    return makes_key(saga) and saga.request.profile is Profile.INTERMEDIATE


def generate_key(saga: Issuance) -> GenerateKey:
    assert saga.request.algorithm is not None
    return GenerateKey(
        key_id=_key_id(saga),
        algorithm=saga.request.algorithm,
        purpose=_PURPOSE.get(saga.request.profile, Purpose.DIGITAL_SIGNATURE),
        exportable=saga.request.exportable,
        owner=saga.request.subject.common_name,
    )


def create_certificate(saga: Issuance) -> CreateCertificate:
    request, generated = saga.request, saga.find(KeyGenerated)
    return CreateCertificate(
        certificate_id=_certificate_id(saga),
        profile=request.profile,
        subject=request.subject,
        sans=request.sans,
        public_key_pem=generated.public_key_pem if generated else request.public_key_pem,
        csr_pem=request.csr_pem,
        issuer_id=request.issuer_id,
        key_id=generated.key_id if generated else None,
        validity_days=request.validity_days,
        path_length=request.path_length,
        name_constraints=request.name_constraints,
    )


def sign_certificate(saga: Issuance) -> SignWithKey:
    return sign(saga, saga.outcome(CertificateCreated))


def attach_signature(saga: Issuance) -> SignCertificate:
    signed = saga.outcome(KeySigned, of=sign_certificate)
    return SignCertificate(certificate_id=_certificate_id(saga), signature=signed.signature)


def create_crl(saga: Issuance) -> CreateCrl:
    return CreateCrl(certificate_id=_certificate_id(saga))


def sign_crl(saga: Issuance) -> SignWithKey:
    return sign(saga, saga.outcome(CrlCreated))


def publish_crl(saga: Issuance) -> PublishCrl:
    return publish(saga.outcome(CrlCreated), saga.outcome(KeySigned, of=sign_crl))


def completed(saga: Issuance) -> CertificateIssuanceCompleted:
    certificate = saga.outcome(CertificateSigned)
    return CertificateIssuanceCompleted(
        **saga.heading,
        certificate_id=certificate.certificate_id,
        key_id=_key_id(saga) if makes_key(saga) else None,
        fingerprint_sha256=certificate.fingerprint_sha256,
        certificate_pem=certificate.certificate_pem,
    )


def _key_id(saga: Issuance) -> str:
    return saga.id_of("key")


def _certificate_id(saga: Issuance) -> str:
    return saga.id_of("certificate")


def _about(saga: Issuance) -> str:
    request = saga.request
    return f"{request.profile} certificate for {request.subject.common_name}, {request.validity_days} days"


_key_destroyed = key_undone(_key_id, "the issuance was undone")
_certificate_revoked = certificate_undone(_certificate_id)
_approval = Await(
    name="approve-certificate",
    signal="approve",
    needed=lambda saga: saga.request.approvals,
    about=_about,
    message_sha256=lambda saga: saga.outcome(CertificateCreated).tbs_sha256,
)

# fmt: off
CERTIFICATE_ISSUANCE = Definition(
    saga_type="certificate-issuance",
    request=StartCertificateIssuance,
    completed=completed,
    steps=(
        Step(generate_key,       KeyGenerated,       when=makes_key, undo=_key_destroyed),
        Step(create_certificate, CertificateCreated, undo=_certificate_revoked),
        _approval,
        Step(sign_certificate,   KeySigned),
        Step(attach_signature,   CertificateSigned),
        Step(create_crl,         CrlCreated,         when=makes_authority),
        Step(sign_crl,           KeySigned,          when=makes_authority),
        Step(publish_crl,        CrlPublished,       when=makes_authority),
    ),
)
# fmt: on
