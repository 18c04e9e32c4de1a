"""Register of the CA certificates of each key, in KEYS_SECRETS. Signing or binding a CA certificate adds it."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Literal

from cryptography import x509
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from services.key.custody.name_constraints import NameConstraints, name_constraints_of
from services.key.custody.tbs import NotSignableError, TbsCertificate
from shared.contracts.base import Base64, Fingerprint
from shared.errors import Conflict
from shared.nats.kv import KeyValue

_MAX_CERTIFICATES = 64
_MAX_DOCUMENT_BYTES = 512 * 1024  # a NATS message may have one MiB
_MAX_CONFLICTS = 10
_CACHED_KEYS = 1024

Source = Literal["signed", "bound", "self"]


class CaCertificate(BaseModel):
    """A CA certificate of a key. *subject* is DER; *constraints* are its own and those of its issuers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    subject: Base64
    key_identifier: Base64 | None
    path_length: int | None
    constraints: tuple[NameConstraints, ...] = ()
    not_before: AwareDatetime
    not_after: AwareDatetime
    fingerprint_sha256: Fingerprint
    self_issued: bool
    source: Source

    def covers(self, other: CaCertificate) -> bool:
        """Tells whether *other* is the same except for a validity within that of this certificate."""
        inside = self.not_before <= other.not_before and other.not_after <= self.not_after
        return inside and self == other.model_copy(update={"not_before": self.not_before, "not_after": self.not_after})


class UnreadableRegisterError(Exception):
    """The stored CA certificates of a key cannot be parsed."""


class _Document(BaseModel):
    """The stored document of one key; its field names are persistent."""

    model_config = CaCertificate.model_config

    v: Literal[1] = 1
    authorities: tuple[CaCertificate, ...]


def ca_certificate_of(tbs: TbsCertificate, source: Source, issuer: CaCertificate | None = None) -> CaCertificate:
    """Extracts a CA certificate. Raises NotSignableError if its name constraints cannot be applied."""
    basic, identifier = tbs.extension(x509.BasicConstraints), tbs.extension(x509.SubjectKeyIdentifier)
    own = name_constraints_of(tbs)
    inherited = () if issuer is None else issuer.constraints
    return CaCertificate(
        subject=tbs.subject,
        key_identifier=None if identifier is None else identifier.value.digest,
        path_length=None if basic is None else basic.value.path_length,
        constraints=inherited if own is None else (*inherited, own),
        not_before=tbs.not_before,
        not_after=tbs.not_after,
        fingerprint_sha256=sha256(tbs.spki()).hexdigest(),
        # A root's successor has the same name but is signed by another key, so it is not a root.
        self_issued=source != "signed" and tbs.issuer == tbs.subject,
        source=source,
    )


class CaRegister:
    """The CA certificates of every key by the fingerprint of its public key, with a cache of the latest reads."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._cached: OrderedDict[str, tuple[CaCertificate, ...]] = OrderedDict()

    def cached(self, fingerprint: str) -> tuple[CaCertificate, ...]:
        """Returns the cached certificates, which may be stale: see `fetch`."""
        return self._cached.get(fingerprint, ())

    async def fetch(self, fingerprint: str) -> tuple[CaCertificate, ...]:
        """Reads the stored certificates: another process may have added some."""
        return (await self._read(fingerprint))[0]

    async def add(self, certificate: CaCertificate) -> None:
        """Stores a certificate unless it is covered already. Raises Conflict after too many concurrent writes."""
        fingerprint = certificate.fingerprint_sha256
        for _ in range(_MAX_CONFLICTS):
            ca_certificates, revision = await self._read(fingerprint)
            if any(each.covers(certificate) for each in ca_certificates):
                return
            kept = (*(each for each in ca_certificates if not certificate.covers(each)), certificate)
            # Of too many, drop those that expire first.
            kept = tuple(sorted(kept, key=lambda each: each.not_after)[-_MAX_CERTIFICATES:])
            content = _Document(authorities=kept).model_dump_json().encode()
            if len(content) > _MAX_DOCUMENT_BYTES:
                raise NotSignableError("its key has more CA certificates than can be stored")
            try:
                await self._bucket.put(_kv_key(fingerprint), content, revision)
            except Conflict:
                continue
            self._cache(fingerprint, kept)
            return
        raise Conflict(f"the CA certificates of key {fingerprint} were changed concurrently at every attempt")

    async def _read(self, fingerprint: str) -> tuple[tuple[CaCertificate, ...], int]:
        document = await self._bucket.get(_kv_key(fingerprint))
        if document is None:
            return (), 0
        try:
            ca_certificates = _Document.model_validate_json(document.value).authorities
        except ValidationError:
            raise UnreadableRegisterError(
                "the entry for its CA certificates in KEYS_SECRETS is unreadable; restore the bucket"
            ) from None
        return self._cache(fingerprint, ca_certificates), document.revision

    def _cache(self, fingerprint: str, ca_certificates: tuple[CaCertificate, ...]) -> tuple[CaCertificate, ...]:
        self._cached[fingerprint] = ca_certificates
        self._cached.move_to_end(fingerprint)
        if len(self._cached) > _CACHED_KEYS:
            self._cached.popitem(last=False)
        return ca_certificates


def _kv_key(fingerprint: str) -> str:
    return f"authority.{fingerprint}"
