"""Creates a root and an intermediate CA: two keys, two certificates signed by the root key, CRLs, and the trust bundle.

With `approvals`, people approve of each hash that the root key signs.
"""

from __future__ import annotations

from collections.abc import Callable

from services.saga.core.definition import Await, Definition, Step, Undo
from services.saga.core.state import Saga
from services.saga.definitions.parts import certificate_undone, key_undone, publish, sign
from shared.contracts.certificate.commands import CreateCertificate, CreateCrl, PublishCrl, SignCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateSigned, CrlCreated, CrlPublished
from shared.contracts.certificate.trust_bundle import PublishTrustBundle, TrustBundlePublished
from shared.contracts.certificate.value_types import DistinguishedName, Profile
from shared.contracts.key.commands import GenerateKey, SignWithKey
from shared.contracts.key.events import KeyGenerated, KeySigned
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.contracts.saga.certificates import CertificationAuthority, PkiBootstrapCompleted, StartPkiBootstrap

Bootstrap = Saga[StartPkiBootstrap]


def generate_root_key(saga: Bootstrap) -> GenerateKey:
    return _generate(saga, "root", saga.request.root, saga.request.approvals)


def create_root_certificate(saga: Bootstrap) -> CreateCertificate:
    key = saga.outcome(KeyGenerated, of=generate_root_key)
    return _create(saga, "root", saga.request.root, key, Profile.ROOT, issuer_id=None, signing_key_id=key.key_id)


def sign_root_certificate(saga: Bootstrap) -> SignWithKey:
    return sign(saga, saga.outcome(CertificateCreated, of=create_root_certificate))


def attach_root_signature(saga: Bootstrap) -> SignCertificate:
    return _attach(saga, "root", saga.outcome(KeySigned, of=sign_root_certificate))


def generate_intermediate_key(saga: Bootstrap) -> GenerateKey:
    return _generate(saga, "intermediate", saga.request.intermediate)


def create_intermediate_certificate(saga: Bootstrap) -> CreateCertificate:
    return _create(
        saga,
        "intermediate",
        saga.request.intermediate,
        saga.outcome(KeyGenerated, of=generate_intermediate_key),
        Profile.INTERMEDIATE,
        issuer_id=_certificate_id(saga, "root"),
        signing_key_id=_key_id(saga, "root"),
    )


def sign_intermediate_certificate(saga: Bootstrap) -> SignWithKey:
    return sign(saga, saga.outcome(CertificateCreated, of=create_intermediate_certificate))


def attach_intermediate_signature(saga: Bootstrap) -> SignCertificate:
    return _attach(saga, "intermediate", saga.outcome(KeySigned, of=sign_intermediate_certificate))


def create_root_crl(saga: Bootstrap) -> CreateCrl:
    return CreateCrl(certificate_id=_certificate_id(saga, "root"))


def sign_root_crl(saga: Bootstrap) -> SignWithKey:
    return sign(saga, saga.outcome(CrlCreated, of=create_root_crl))


def publish_root_crl(saga: Bootstrap) -> PublishCrl:
    return publish(saga.outcome(CrlCreated, of=create_root_crl), saga.outcome(KeySigned, of=sign_root_crl))


def create_intermediate_crl(saga: Bootstrap) -> CreateCrl:
    return CreateCrl(certificate_id=_certificate_id(saga, "intermediate"))


def sign_intermediate_crl(saga: Bootstrap) -> SignWithKey:
    return sign(saga, saga.outcome(CrlCreated, of=create_intermediate_crl))


def publish_intermediate_crl(saga: Bootstrap) -> PublishCrl:
    created = saga.outcome(CrlCreated, of=create_intermediate_crl)
    return publish(created, saga.outcome(KeySigned, of=sign_intermediate_crl))


def publish_trust_bundle(saga: Bootstrap) -> PublishTrustBundle:
    root_id, bundle_id = _certificate_id(saga, "root"), saga.id_of("trust-bundle")
    return PublishTrustBundle(bundle_id=bundle_id, organization=saga.request.organization, certificate_ids=(root_id,))


def _key_id(saga: Bootstrap, tier: str) -> str:
    return saga.id_of(f"{tier}-key")


def _certificate_id(saga: Bootstrap, tier: str) -> str:
    return saga.id_of(f"{tier}-certificate")


def _generate(saga: Bootstrap, tier: str, authority: CertificationAuthority, approvals: int = 0) -> GenerateKey:
    return GenerateKey(
        key_id=_key_id(saga, tier),
        algorithm=Algorithm(authority.algorithm),
        purpose=Purpose.CERTIFICATE_SIGNING,
        owner=saga.request.organization,
        label=authority.common_name,
        approvals=approvals,
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


def _attach(saga: Bootstrap, tier: str, signed: KeySigned) -> SignCertificate:
    return SignCertificate(certificate_id=_certificate_id(saga, tier), signature=signed.signature)


def completed(saga: Bootstrap) -> PkiBootstrapCompleted:
    root = saga.outcome(CertificateSigned, of=attach_root_signature)
    intermediate = saga.outcome(CertificateSigned, of=attach_intermediate_signature)
    bundle = saga.find(TrustBundlePublished)
    return PkiBootstrapCompleted(
        **saga.heading,
        root_certificate_id=root.certificate_id,
        intermediate_certificate_id=intermediate.certificate_id,
        root_certificate_pem=root.certificate_pem,
        intermediate_certificate_pem=intermediate.certificate_pem,
        trust_bundle_id=bundle.bundle_id if bundle else None,
    )


def _approval(what: str, of: Callable[[Bootstrap], str]) -> Await[StartPkiBootstrap]:
    return Await(
        name=f"approve-{what.replace(' ', '-')}",
        signal="approve",
        needed=lambda saga: saga.request.approvals,
        about=lambda saga: f"the {what} of {saga.request.organization}, to be signed by its root key",
        message_sha256=of,
    )


def _key_undone(tier: str) -> tuple[Undo[StartPkiBootstrap], ...]:
    return key_undone(lambda saga: _key_id(saga, tier), "the bootstrap was undone")


def _certificate_undone(tier: str) -> tuple[Undo[StartPkiBootstrap], ...]:
    return certificate_undone(lambda saga: _certificate_id(saga, tier))


_approve_root = _approval(
    "root certificate", lambda saga: saga.outcome(CertificateCreated, of=create_root_certificate).tbs_sha256
)
_approve_intermediate = _approval(
    "intermediate certificate",
    lambda saga: saga.outcome(CertificateCreated, of=create_intermediate_certificate).tbs_sha256,
)
_approve_crl = _approval("root crl", lambda saga: saga.outcome(CrlCreated, of=create_root_crl).tbs_sha256)

# fmt: off
PKI_BOOTSTRAP_1 = Definition(
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
PKI_BOOTSTRAP = Definition(
    saga_type="pki-bootstrap",
    request=StartPkiBootstrap,
    completed=completed,
    version=2,
    steps=(
        Step(generate_root_key,               KeyGenerated,       undo=_key_undone("root")),
        Step(create_root_certificate,         CertificateCreated, undo=_certificate_undone("root")),
        _approve_root,
        Step(sign_root_certificate,           KeySigned),
        Step(attach_root_signature,           CertificateSigned),
        Step(generate_intermediate_key,       KeyGenerated,       undo=_key_undone("intermediate")),
        Step(create_intermediate_certificate, CertificateCreated, undo=_certificate_undone("intermediate")),
        _approve_intermediate,
        Step(sign_intermediate_certificate,   KeySigned),
        Step(attach_intermediate_signature,   CertificateSigned),
        Step(create_root_crl,                 CrlCreated),
        _approve_crl,
        Step(sign_root_crl,                   KeySigned),
        Step(publish_root_crl,                CrlPublished),
        Step(create_intermediate_crl,         CrlCreated),
        Step(sign_intermediate_crl,           KeySigned),
        Step(publish_intermediate_crl,        CrlPublished),
        Step(publish_trust_bundle,            TrustBundlePublished),
    ),
)
# fmt: on
