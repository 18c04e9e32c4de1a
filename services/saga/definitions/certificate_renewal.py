"""Renews a certificate, for the same key or for that of a CSR; imports it into a YubiKey slot if one is named.

An event that a certificate is near its end triggers it, if the issuer's policy says so.
"""

from __future__ import annotations

from services.saga.core.definition import Await, Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, UNATTENDED_TIMEOUT, certificate_undone, sign
from shared.contracts.certificate.commands import RenewCertificate, SignCertificate, SupersedeCertificate
from shared.contracts.certificate.events import (
    CertificateExpiring,
    CertificateRenewed,
    CertificateSigned,
    CertificateSuperseded,
)
from shared.contracts.key.commands import SignWithKey
from shared.contracts.key.events import KeySigned
from shared.contracts.saga.certificates import CertificateRenewalCompleted, StartCertificateRenewal
from shared.contracts.yubikey.slots import ImportSlotCertificate, SlotCertificateImported, SlotVerified, VerifySlot

Renewal = Saga[StartCertificateRenewal]


def has_device(saga: Renewal) -> bool:
    return saga.request.yubikey_serial is not None


def renew_certificate(saga: Renewal) -> RenewCertificate:
    return RenewCertificate(
        certificate_id=_certificate_id(saga),
        predecessor_id=saga.request.certificate_id,
        csr_pem=saga.request.csr_pem,
        public_key_pem=saga.request.public_key_pem,
        key_id=saga.request.key_id,
        validity_days=saga.request.validity_days,
    )


def sign_certificate(saga: Renewal) -> SignWithKey:
    return sign(saga, saga.outcome(CertificateRenewed))


def attach_signature(saga: Renewal) -> SignCertificate:
    return SignCertificate(certificate_id=_certificate_id(saga), signature=saga.outcome(KeySigned).signature)


def import_certificate(saga: Renewal) -> ImportSlotCertificate:
    request = saga.request
    assert request.yubikey_serial is not None
    assert request.slot is not None
    certificate_pem = saga.outcome(CertificateSigned).certificate_pem
    return ImportSlotCertificate(serial=request.yubikey_serial, slot=request.slot, certificate_pem=certificate_pem)


def verify_slot(saga: Renewal) -> VerifySlot:
    request = saga.request
    assert request.yubikey_serial is not None
    assert request.slot is not None
    fingerprint = saga.outcome(CertificateSigned).fingerprint_sha256
    return VerifySlot(serial=request.yubikey_serial, slot=request.slot, fingerprint_sha256=fingerprint)


def supersede_certificate(saga: Renewal) -> SupersedeCertificate:
    return SupersedeCertificate(certificate_id=saga.request.certificate_id, successor_id=_certificate_id(saga))


def overwritten(saga: Renewal) -> str | None:
    """Returns what an undone renewal leaves on a device: no event says which certificate was there before."""
    if saga.find(SlotCertificateImported) is None:
        return None
    return f"slot {saga.request.slot} holds the certificate that is revoked now; import the old one again"


def completed(saga: Renewal) -> CertificateRenewalCompleted:
    certificate = saga.outcome(CertificateSigned)
    return CertificateRenewalCompleted(
        **saga.heading,
        predecessor_id=saga.request.certificate_id,
        certificate_id=certificate.certificate_id,
        fingerprint_sha256=certificate.fingerprint_sha256,
        certificate_pem=certificate.certificate_pem,
    )


def near_its_end(event: CertificateExpiring, saga_id: str) -> StartCertificateRenewal | None:
    return StartCertificateRenewal(saga_id=saga_id, certificate_id=event.certificate_id) if event.renewal else None


def _certificate_id(saga: Renewal) -> str:
    return saga.id_of("certificate")


_revoked = certificate_undone(_certificate_id)

_approval: Await[StartCertificateRenewal] = Await(
    name="approve-certificate",
    signal="approve",
    needed=lambda saga: saga.request.approvals,
    about=lambda saga: f"the successor of certificate {saga.request.certificate_id}",
    message_sha256=lambda saga: saga.outcome(CertificateRenewed).tbs_sha256,
)

# fmt: off
CERTIFICATE_RENEWAL = Definition(
    saga_type="certificate-renewal",
    request=StartCertificateRenewal,
    completed=completed,
    timeout=2 * UNATTENDED_TIMEOUT,
    triggers=(Trigger(CertificateExpiring, near_its_end),),
    steps=(
        Step(renew_certificate,     CertificateRenewed,      **UNATTENDED, undo=_revoked, lost=overwritten),
        _approval,
        Step(sign_certificate,      KeySigned,               **UNATTENDED),
        Step(attach_signature,      CertificateSigned,       **UNATTENDED),
        Step(import_certificate,    SlotCertificateImported, when=has_device),
        Step(verify_slot,           SlotVerified,            when=has_device),
        Step(supersede_certificate, CertificateSuperseded,   **UNATTENDED),
    ),
)
# fmt: on
