"""When a trust bundle is published anew, and which roots may be in it. Pure: no clock, no IO."""

import base64
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal, assert_never

from pydantic import Field, TypeAdapter

from services.certificate.x509.states import Certificate, Issued
from shared.contracts.certificate.trust_bundle import PublishTrustBundle, TrustBundlePublished
from shared.contracts.certificate.vocabulary import Profile
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Published:
    organization: str
    version: int
    certificate_ids: tuple[str, ...]
    kind: Literal["published"] = "published"


TrustBundle = Unborn | Published


@dataclass(frozen=True, slots=True)
class FetchRoots:
    request: PublishTrustBundle
    certificate_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RootsFetched:
    """Where each of them stands, in the order in which they were named."""

    asked: FetchRoots
    certificates: tuple[Certificate, ...]


def decide(
    bundle: TrustBundle, message: PublishTrustBundle | RootsFetched, context: Context
) -> TrustBundlePublished | Rejection | AlreadyDone | Perform[FetchRoots]:
    match message:
        case PublishTrustBundle():
            return _begin(bundle, message)
        case RootsFetched():
            return _publish(bundle, message, context)
        case _:
            assert_never(message)


def evolve(_: TrustBundle, event: TrustBundlePublished) -> TrustBundle:
    return Published(event.organization, event.version, event.certificate_ids)


def _begin(bundle: TrustBundle, request: PublishTrustBundle) -> Rejection | AlreadyDone | Perform[FetchRoots]:
    ids = tuple(dict.fromkeys(request.certificate_ids))
    if isinstance(bundle, Published):
        if bundle.organization != request.organization:
            problem = f"{request.bundle_id} is the bundle of another organization; publish under an id of its own"
            return Rejection(RejectionCode.CONFLICT, problem)
        if set(bundle.certificate_ids) == set(ids):
            return AlreadyDone({"version": bundle.version})
    return Perform(FetchRoots(request, ids))


def _publish(bundle: TrustBundle, fetched: RootsFetched, context: Context) -> TrustBundlePublished | Rejection:
    request, roots = fetched.asked.request, list[Issued]()
    for certificate_id, certificate in zip(fetched.asked.certificate_ids, fetched.certificates, strict=True):
        if not isinstance(certificate, Issued) or context.at > certificate.not_after:
            problem = f"{certificate_id} is no certificate that is issued and valid; leave it out of the bundle"
            return Rejection(RejectionCode.CONFLICT, problem)
        if certificate.profile is not Profile.ROOT:
            problem = f"{certificate_id} is a certificate of profile {certificate.profile}; a bundle holds roots"
            return Rejection(RejectionCode.NOT_ALLOWED, problem)
        roots.append(certificate)
    return TrustBundlePublished(
        bundle_id=request.bundle_id,
        organization=request.organization,
        version=bundle.version + 1 if isinstance(bundle, Published) else 1,
        certificate_ids=fetched.asked.certificate_ids,
        fingerprints_sha256=tuple(_fingerprint(each.certificate_pem) for each in roots),
        certificates_pem=tuple(each.certificate_pem for each in roots),
    )


def _fingerprint(certificate_pem: str) -> str:
    """Of the DER, which is what stands in base64 between the lines of dashes (RFC 7468)."""
    lines = certificate_pem.strip().splitlines()[1:-1]
    return sha256(base64.b64decode("".join(lines))).hexdigest()


TRUST_BUNDLE: Decider[TrustBundle, PublishTrustBundle, TrustBundlePublished, FetchRoots, RootsFetched] = Decider(
    Unborn(),
    decide,
    evolve,
    commands=(PublishTrustBundle,),
    events=(TrustBundlePublished,),
    states=TypeAdapter(Annotated[TrustBundle, Field(discriminator="kind")]),
)
