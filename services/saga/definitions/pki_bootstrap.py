"""A root and an intermediate CA from nothing: two keys, and two certificates that the root's key signs."""

from __future__ import annotations

from services.saga.definition import Definition, Step, Undo
from services.saga.state import Saga
from shared.contracts.certificate import CreateCertificate, RevokeCertificate, SignCertificate
from shared.contracts.certificate_events import CertificateCreated, CertificateRevoked, CertificateSigned
from shared.contracts.key import DestroyKey, GenerateKey, RevokeKey, SignWithKey
from shared.contracts.key_events import KeyDestroyed, KeyGenerated, KeyRevoked, KeySigned
from shared.contracts.keying import Algorithm, Purpose
from shared.contracts.naming import DistinguishedName, Profile, RevocationReason
from shared.contracts.sagas import CertificationAuthority, PkiBootstrapCompleted, StartPkiBootstrap

Bootstrap = Saga[StartPkiBootstrap]


def generate_root_key(saga: Bootstrap) -> GenerateKey:
    return _generate(saga, "root", saga.request.root)


def create_root_certificate(saga: Bootstrap) -> CreateCertificate:
    key = saga.answer(KeyGenerated, to=generate_root_key)
    return _create(saga, "root", saga.request.root, key, Profile.ROOT, issuer_id=None, signing_key_id=key.key_id)


def sign_root_certificate(saga: Bootstrap) -> SignWithKey:
    return _sign(saga.answer(CertificateCreated, to=create_root_certificate))


def attach_root_signature(saga: Bootstrap) -> SignCertificate:
    return _attach(saga, "root", saga.answer(KeySigned, to=sign_root_certificate))


def generate_intermediate_key(saga: Bootstrap) -> GenerateKey:
    return _generate(saga, "intermediate", saga.request.intermediate)


def create_intermediate_certificate(saga: Bootstrap) -> CreateCertificate:
    return _create(
        saga,
        "intermediate",
        saga.request.intermediate,
        saga.answer(KeyGenerated, to=generate_intermediate_key),
        Profile.INTERMEDIATE,
        issuer_id=_certificate_id(saga, "root"),
        signing_key_id=_key_id(saga, "root"),
    )


def sign_intermediate_certificate(saga: Bootstrap) -> SignWithKey:
    return _sign(saga.answer(CertificateCreated, to=create_intermediate_certificate))


def attach_intermediate_signature(saga: Bootstrap) -> SignCertificate:
    return _attach(saga, "intermediate", saga.answer(KeySigned, to=sign_intermediate_certificate))


def _key_id(saga: Bootstrap, tier: str) -> str:
    return saga.id_of(f"{tier}-key")


def _certificate_id(saga: Bootstrap, tier: str) -> str:
    return saga.id_of(f"{tier}-certificate")


def _generate(saga: Bootstrap, tier: str, authority: CertificationAuthority) -> GenerateKey:
    return GenerateKey(
        key_id=_key_id(saga, tier),
        algorithm=Algorithm(authority.algorithm),
        purpose=Purpose.CERTIFICATE_SIGNING,
        owner=saga.request.organization,
        label=authority.common_name,
    )


def _create(
    saga: Bootstrap,
    tier: str,
    authority: CertificationAuthority,
    key: KeyGenerated,
    profile: Profile,
    *,
    issuer_id: str | None,
    signing_key_id: str,
) -> CreateCertificate:
    return CreateCertificate(
        certificate_id=_certificate_id(saga, tier),
        profile=profile,
        subject=DistinguishedName(common_name=authority.common_name, organization=saga.request.organization),
        public_key_pem=key.public_key_pem,
        key_id=key.key_id,
        issuer_id=issuer_id,
        signing_key_id=signing_key_id,
        validity_days=authority.validity_days,
    )


def _sign(created: CertificateCreated) -> SignWithKey:
    return SignWithKey(
        key_id=created.signing_key_id,
        message=created.tbs,
        signature_algorithm=created.signature_algorithm,
        purpose=Purpose.CERTIFICATE_SIGNING,
    )


def _attach(saga: Bootstrap, tier: str, signed: KeySigned) -> SignCertificate:
    return SignCertificate(certificate_id=_certificate_id(saga, tier), signature=signed.signature)


def _revoke_certificate(saga: Bootstrap, tier: str) -> RevokeCertificate:
    reason = RevocationReason.CESSATION_OF_OPERATION
    return RevokeCertificate(certificate_id=_certificate_id(saga, tier), reason=reason, void_if_absent=True)


def _revoke_key(saga: Bootstrap, tier: str) -> RevokeKey:
    return RevokeKey(key_id=_key_id(saga, tier), reason="the bootstrap was undone", void_if_absent=True)


def completed(saga: Bootstrap) -> PkiBootstrapCompleted:
    root = saga.answer(CertificateSigned, to=attach_root_signature)
    intermediate = saga.answer(CertificateSigned, to=attach_intermediate_signature)
    return PkiBootstrapCompleted(
        **saga.heading,
        root_certificate_id=root.certificate_id,
        intermediate_certificate_id=intermediate.certificate_id,
        root_certificate_pem=root.certificate_pem,
        intermediate_certificate_pem=intermediate.certificate_pem,
    )


def _key_undone(tier: str) -> tuple[Undo[StartPkiBootstrap], ...]:
    return (
        Undo(lambda saga: _revoke_key(saga, tier), KeyRevoked),
        Undo(lambda saga: DestroyKey(key_id=_key_id(saga, tier)), KeyDestroyed),
    )


def _certificate_undone(tier: str) -> tuple[Undo[StartPkiBootstrap], ...]:
    return (Undo(lambda saga: _revoke_certificate(saga, tier), CertificateRevoked),)


# fmt: off
PKI_BOOTSTRAP = Definition(
    saga_type="pki-bootstrap",
    request=StartPkiBootstrap,
    completed=completed,
    steps=(
        Step(generate_root_key,               KeyGenerated,       undo=_key_undone("root")),
        Step(create_root_certificate,         CertificateCreated, undo=_certificate_undone("root")),
        Step(sign_root_certificate,           KeySigned),
        Step(attach_root_signature,           CertificateSigned),
        Step(generate_intermediate_key,       KeyGenerated,       undo=_key_undone("intermediate")),
        Step(create_intermediate_certificate, CertificateCreated, undo=_certificate_undone("intermediate")),
        Step(sign_intermediate_certificate,   KeySigned),
        Step(attach_intermediate_signature,   CertificateSigned),
    ),
)
# fmt: on
