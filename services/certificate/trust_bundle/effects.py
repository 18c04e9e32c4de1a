"""The effect of the trust bundle decider and its outcome."""

from dataclasses import dataclass

from services.certificate.x509.states import Certificate
from shared.contracts.certificate.trust_bundle import PublishTrustBundle


@dataclass(frozen=True, slots=True)
class FetchRoots:
    """Load the certificates that the request names, without duplicates."""

    request: PublishTrustBundle
    certificate_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RootsFetched:
    """The current states of the certificates, in the order of `FetchRoots.certificate_ids`."""

    effect: FetchRoots
    certificates: tuple[Certificate, ...]
