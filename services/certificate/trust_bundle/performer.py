"""Performer of the trust bundle decider's effect. It only reads."""

from services.certificate.trust_bundle.effects import FetchRoots, RootsFetched
from services.certificate.x509.states import CurrentCertificate


class TrustBundlePerformer:
    """Loads root certificates with *current*, the reader of the latest state of a certificate."""

    def __init__(self, current: CurrentCertificate) -> None:
        self._current = current

    async def perform(self, effect: FetchRoots) -> RootsFetched:
        return RootsFetched(effect, tuple([await self._current(each) for each in effect.certificate_ids]))
