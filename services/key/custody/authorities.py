"""Which certificates each key is the authority of: learned where they are signed or bound, noted in KEYS_SECRETS."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Literal

from cryptography import x509
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from services.key.custody.name_constraints import Constraints, read_constraints
from services.key.custody.tbs import NotToBeSignedError, ToBeCertified
from services.key.secrets.sealing import UnreadableError
from shared.contracts.base import Base64, Fingerprint
from shared.errors import Conflict
from shared.nats.kv import KeyValue

_MOST = 64
_LONGEST = 512 * 1024  # octets; a message of NATS holds a megabyte
_MOST_CONFLICTS = 10
_CACHED_KEYS = 1024

Source = Literal["signed", "bound", "self"]


class Authority(BaseModel):
    """What one certificate makes of the key in it. *subject* is DER; *constraints* are its own and its issuers'."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    subject: Base64
    key_identifier: Base64 | None
    path_length: int | None
    constraints: tuple[Constraints, ...] = ()
    not_before: AwareDatetime
    not_after: AwareDatetime
    fingerprint_sha256: Fingerprint
    self_issued: bool
    source: Source

    def covers(self, other: Authority) -> bool:
        """Whether *other* adds nothing: the same but for a validity that lies within this one's."""
        inside = self.not_before <= other.not_before and other.not_after <= self.not_after
        return inside and self == other.model_copy(update={"not_before": self.not_before, "not_after": self.not_after})


class _Notes(BaseModel):
    model_config = Authority.model_config

    v: Literal[1] = 1
    authorities: tuple[Authority, ...]


def authority_in(tbs: ToBeCertified, source: Source, issuer: Authority | None = None) -> Authority:
    """The facts of a certificate of an authority. Raises NotToBeSignedError where its constraints cannot be applied."""
    basic, identifier = tbs.extension(x509.BasicConstraints), tbs.extension(x509.SubjectKeyIdentifier)
    own = read_constraints(tbs)
    inherited = () if issuer is None else issuer.constraints
    return Authority(
        subject=tbs.subject,
        key_identifier=None if identifier is None else identifier.value.digest,
        path_length=None if basic is None else basic.value.path_length,
        constraints=inherited if own is None else (*inherited, own),
        not_before=tbs.not_before,
        not_after=tbs.not_after,
        fingerprint_sha256=sha256(tbs.spki()).hexdigest(),
        # Under the same name another key may have signed it: a root's successor. That is no root.
        self_issued=source != "signed" and tbs.issuer == tbs.subject,
        source=source,
    )


class Authorities:
    """The notes of every key, by the fingerprint of its public key; what was read last is remembered."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._known: OrderedDict[str, tuple[Authority, ...]] = OrderedDict()

    def remembered(self, fingerprint: str) -> tuple[Authority, ...]:
        """What this process knows, perhaps not all there is: see `look_again`."""
        return self._known.get(fingerprint, ())

    async def look_again(self, fingerprint: str) -> tuple[Authority, ...]:
        """What is noted now: another process may have done it."""
        return (await self._read(fingerprint))[0]

    async def note(self, authority: Authority) -> None:
        """Write it down; written already, it stands. Raises Conflict when others keep writing there."""
        fingerprint = authority.fingerprint_sha256
        for _ in range(_MOST_CONFLICTS):
            noted, revision = await self._read(fingerprint)
            if any(known.covers(authority) for known in noted):
                return
            kept = (*(known for known in noted if not authority.covers(known)), authority)
            # Of too many, those that end first go: a key that is renewed for decades keeps its last ones.
            kept = tuple(sorted(kept, key=lambda known: known.not_after)[-_MOST:])
            content = _Notes(authorities=kept).model_dump_json().encode()
            if len(content) > _LONGEST:
                raise NotToBeSignedError("its key is the authority of more certificates than can be noted")
            try:
                await self._bucket.put(_place(fingerprint), content, revision)
            except Conflict:
                continue
            self._cache(fingerprint, kept)
            return
        raise Conflict(f"the notes about key {fingerprint} change every time that they are written to")

    async def _read(self, fingerprint: str) -> tuple[tuple[Authority, ...], int]:
        document = await self._bucket.get(_place(fingerprint))
        if document is None:
            return (), 0
        try:
            noted = _Notes.model_validate_json(document.value).authorities
        except ValidationError:
            raise UnreadableError("the notes about its certificates in KEYS_SECRETS are unreadable; restore") from None
        return self._cache(fingerprint, noted), document.revision

    def _cache(self, fingerprint: str, noted: tuple[Authority, ...]) -> tuple[Authority, ...]:
        self._known[fingerprint] = noted
        self._known.move_to_end(fingerprint)
        if len(self._known) > _CACHED_KEYS:
            self._known.popitem(last=False)
        return noted


def _place(fingerprint: str) -> str:
    return f"authority.{fingerprint}"
