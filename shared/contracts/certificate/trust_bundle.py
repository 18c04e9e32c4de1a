"""Commands and events of trust bundles: versioned sets of roots for the relying parties of an organisation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shared.contracts.base import DERIVED, Command, Event, Fingerprint, Id, Message, Name, Pem


class TrustBundleMessage(Message):
    aggregate_type: ClassVar[str] = "trust-bundle"
    identified_by: ClassVar[str] = "bundle_id"
    service: ClassVar[str] = "certificate"


class PublishTrustBundle(TrustBundleMessage, Command):
    """Publish the complete next version of the bundle. A root that is missing in it is no longer trusted."""

    bundle_id: Id = DERIVED
    organization: Name
    certificate_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=16)] = Field(
        description="root certificates of this suite"
    )


class TrustBundlePublished(TrustBundleMessage, Event):
    bundle_id: Id
    organization: Name
    version: int = Field(ge=1)
    certificate_ids: tuple[Id, ...]
    fingerprints_sha256: tuple[Fingerprint, ...]
    certificates_pem: tuple[Pem, ...]


TrustBundleCommand = PublishTrustBundle
TrustBundleEvent = TrustBundlePublished
