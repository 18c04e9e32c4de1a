"""What a certificate can be, and when one may be created, signed and revoked. Pure: no clock, no randomness, no IO."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Literal, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.profiles import PROFILES
from shared.contracts.certificate import (
    CertificateCommand,
    CertificateCreated,
    CertificateEvent,
    CertificateRevoked,
    CertificateSigned,
    CreateCertificate,
    Profile,
    RevokeCertificate,
    SignCertificate,
)
from shared.contracts.command import RefusalCode
from shared.contracts.key import SignatureAlgorithm
from shared.decider import Context, Decider, Perform, Refused, Stands

BACKDATED = timedelta(minutes=5)
"""How far a certificate's life begins in the past: whoever reads it may have a clock that is slow."""
_DAY = timedelta(days=1)


# What a certificate can be. `kind` tells the states apart in a snapshot, which is JSON.
@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Created:
    tbs: str
    profile: Profile
    signature_algorithm: SignatureAlgorithm
    issuer_id: str | None
    issuer_public_key_pem: str
    serial: str
    key_id: str | None
    signing_key_id: str
    not_before: datetime
    not_after: datetime
    kind: Literal["created"] = "created"


@dataclass(frozen=True, slots=True)
class Issued:
    """*key_id* is the key it is about, and so the one it issues with; *signing_key_id* the one it was signed with."""

    profile: Profile
    certificate_pem: str
    serial: str
    issuer_id: str | None
    key_id: str | None
    signing_key_id: str
    not_before: datetime
    not_after: datetime
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True)
class Revoked:
    serial: str | None
    existed: bool
    kind: Literal["revoked"] = "revoked"


Certificate = Unborn | Created | Issued | Revoked


# What the core may ask of the world, each followed by what it can hear back.
@dataclass(frozen=True, slots=True)
class FetchIssuer:
    request: CreateCertificate
    issuer_id: str


@dataclass(frozen=True, slots=True)
class IssuerFetched:
    request: CreateCertificate
    issuer: Certificate


@dataclass(frozen=True, slots=True)
class BuildTbs:
    """*issuer_certificate_pem* is None for what its own key signs."""

    request: CreateCertificate
    issuer_certificate_pem: str | None
    signing_key_id: str
    key_id: str | None
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class TbsBuilt:
    plan: BuildTbs
    tbs: bytes
    serial: str
    signature_algorithm: SignatureAlgorithm
    issuer_public_key_pem: str


@dataclass(frozen=True, slots=True)
class RequestUnfit:
    reason: str


@dataclass(frozen=True, slots=True)
class AttachSignature:
    certificate_id: str
    created: Created
    signature: bytes


@dataclass(frozen=True, slots=True)
class Assembled:
    plan: AttachSignature
    certificate_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class SignatureWrong:
    certificate_id: str


Effect = FetchIssuer | BuildTbs | AttachSignature
Outcome = IssuerFetched | TbsBuilt | RequestUnfit | Assembled | SignatureWrong
Decision = CertificateEvent | Refused | Stands | Perform[Effect]


def decide(certificate: Certificate, message: CertificateCommand | Outcome, context: Context) -> Decision:
    match message:
        case CreateCertificate():
            return _create(certificate, message, context)
        case IssuerFetched(request=request, issuer=issuer):
            return _issue(request, issuer, context)
        case TbsBuilt():
            return _created(message)
        case RequestUnfit(reason=reason):
            return Refused(RefusalCode.INVALID, reason)
        case SignCertificate():
            return _sign(certificate, message)
        case Assembled():
            return _signed(message)
        case SignatureWrong(certificate_id=certificate_id):
            problem = f"the signature does not verify with the issuer's public key over the tbs of {certificate_id}"
            return Refused(RefusalCode.INVALID, problem)
        case RevokeCertificate():
            return _revoke(certificate, message)
        case _:
            assert_never(message)


def evolve(certificate: Certificate, event: CertificateEvent) -> Certificate:
    match event:
        case CertificateCreated():
            return Created(
                base64.b64encode(event.tbs).decode(),
                event.profile,
                event.signature_algorithm,
                event.issuer_id,
                event.issuer_public_key_pem,
                event.serial,
                event.key_id,
                event.signing_key_id,
                event.not_before,
                event.not_after,
            )
        case CertificateSigned():
            if not isinstance(certificate, Created):
                return certificate  # `decide` leads to no such history
            return Issued(
                event.profile,
                event.certificate_pem,
                event.serial,
                event.issuer_id,
                certificate.key_id,
                certificate.signing_key_id,
                event.not_before,
                event.not_after,
            )
        case CertificateRevoked():
            return Revoked(event.serial, event.existed)
        case _:
            assert_never(event)


def _create(certificate: Certificate, request: CreateCertificate, context: Context) -> Decision:
    match certificate:
        case Unborn():
            return _begin(request, context)
        case Created() | Issued():
            if _stands_already(certificate, request):
                return Stands()
            problem = f"{request.certificate_id} is another certificate already; ask under an id of its own"
            return Refused(RefusalCode.CONFLICT, problem)
        case Revoked():
            problem = f"{request.certificate_id} is revoked; an id is never used again, ask under a new one"
            return Refused(RefusalCode.CONFLICT, problem)
        case _:
            assert_never(certificate)


def _stands_already(certificate: Created | Issued, request: CreateCertificate) -> bool:
    return (
        (certificate.profile, certificate.issuer_id) == (request.profile, request.issuer_id)
        and request.signing_key_id in (None, certificate.signing_key_id)
        and request.key_id in (None, certificate.key_id)
    )
