"""Performer of the trust bundle decider's effect. It only reads."""

from collections.abc import Awaitable, Callable

from services.certificate.trust_bundle.effects import FetchRoots, RootsFetched
from services.certificate.x509.states import Certificate


class TrustBundlePerformer:
    """Loads root certificates with *current*, the reader of the latest state of a certificate."""

    def __init__(self, current: Callable[[str], Awaitable[Certificate]]) -> None:
        self._current = current

    async def perform(self, effect: FetchRoots) -> RootsFetched:
        return RootsFetched(effect, tuple([await self._current(each) for each in effect.certificate_ids]))
