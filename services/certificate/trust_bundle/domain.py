"""Decider of trust bundles: a new version for every change of the set of roots. Pure: no clock, no IO."""

import base64
from hashlib import sha256
from typing import Annotated, assert_never

from pydantic import Field, TypeAdapter

from services.certificate.trust_bundle.effects import FetchRoots, RootsFetched
from services.certificate.trust_bundle.states import Published, TrustBundle, Unborn
from services.certificate.x509.states import Issued
from shared.contracts.certificate.trust_bundle import PublishTrustBundle, TrustBundlePublished
from shared.contracts.certificate.value_types import Profile
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection


def decide(
    bundle: TrustBundle, message: PublishTrustBundle | RootsFetched, context: Context
) -> TrustBundlePublished | Rejection | AlreadyDone | Perform[FetchRoots]:
    match message:
        case PublishTrustBundle():
            return _fetch_roots(bundle, message)
        case RootsFetched():
            return _publish(bundle, message, context)
        case _:
            assert_never(message)


def evolve(_: TrustBundle, event: TrustBundlePublished) -> TrustBundle:
    return Published(organization=event.organization, version=event.version, certificate_ids=event.certificate_ids)


def _fetch_roots(bundle: TrustBundle, request: PublishTrustBundle) -> Rejection | AlreadyDone | Perform[FetchRoots]:
    ids = tuple(dict.fromkeys(request.certificate_ids))
    if isinstance(bundle, Published):
        if bundle.organization != request.organization:
            problem = f"{request.bundle_id} is the bundle of another organization; publish under a new bundle_id"
            return Rejection(RejectionCode.CONFLICT, problem)
        if set(bundle.certificate_ids) == set(ids):
            return AlreadyDone({"version": bundle.version})
    return Perform(FetchRoots(request, ids))


def _publish(bundle: TrustBundle, fetched: RootsFetched, context: Context) -> TrustBundlePublished | Rejection:
    request, roots = fetched.effect.request, list[Issued]()
    for certificate_id, certificate in zip(fetched.effect.certificate_ids, fetched.certificates, strict=True):
        if not isinstance(certificate, Issued) or context.at > certificate.not_after:
            problem = f"{certificate_id} is not an issued and valid certificate; leave it out of the bundle"
            return Rejection(RejectionCode.CONFLICT, problem)
        if certificate.profile is not Profile.ROOT:
            problem = f"{certificate_id} is a certificate of profile {certificate.profile}; a bundle holds roots"
            return Rejection(RejectionCode.NOT_ALLOWED, problem)
        roots.append(certificate)
    return TrustBundlePublished(
        bundle_id=request.bundle_id,
        organization=request.organization,
        version=bundle.version + 1 if isinstance(bundle, Published) else 1,
        certificate_ids=fetched.effect.certificate_ids,
        fingerprints_sha256=tuple(_fingerprint(each.certificate_pem) for each in roots),
        certificates_pem=tuple(each.certificate_pem for each in roots),
    )


def _fingerprint(certificate_pem: str) -> str:
    """Hashes the DER, which is the base64 content between the PEM boundaries (RFC 7468)."""
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
