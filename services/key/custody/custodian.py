"""The custodian reads what a key is to sign before it signs, and refuses what a key of its purpose is not for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.key.custody import certificates, crls
from services.key.custody.authorities import Authorities, Authority, authority_in
from services.key.custody.nats_tokens import require_token
from services.key.custody.ocsp_responses import require_response_data
from services.key.custody.ssh_certificates import require_ssh_certificate
from services.key.custody.tbs import (
    UNREADABLE,
    NotToBeSignedError,
    ToBeCertified,
    ToBeListed,
    read,
    resembles_tbs,
    take_apart,
)
from shared.contracts.key.value_types import Purpose, SignatureAlgorithm
from shared.nats.kv import KeyValue

_CACHED_KEYS = 256
_LONG = 65_536  # octets: a CRL of a thousand entries takes some ten milliseconds to read


@dataclass(frozen=True, slots=True)
class _Key:
    """A key that signs certificates: its public half, and the fingerprint under which its authorities are noted."""

    public: CertificatePublicKeyTypes
    fingerprint: str


class Custodian:
    """Examines what keys are asked to sign, and notes the authorities that come to be by it."""

    def __init__(self, bucket: KeyValue) -> None:
        self._authorities = Authorities(bucket)
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    async def examine(
        self,
        key_id: str,
        purpose: Purpose,
        public_key: CertificatePublicKeyTypes,
        algorithm: SignatureAlgorithm,
        message: bytes,
    ) -> None:
        """Return if the key may sign *message* with *algorithm*; else raise NotToBeSignedError, which says why not."""
        match purpose:
            case Purpose.CERTIFICATE_SIGNING:
                await self._examine_tbs(self._key(key_id, public_key), algorithm, message)
            case Purpose.OCSP_SIGNING:
                require_response_data(message, algorithm, public_key)
            case Purpose.SSH_CERTIFICATE_SIGNING:
                require_ssh_certificate(message, public_key)
            case Purpose.NATS_OPERATOR | Purpose.NATS_ACCOUNT | Purpose.NATS_USER | Purpose.NATS_SERVER:
                require_token(message, purpose, public_key)
            case Purpose.AUTHENTICATION | Purpose.DIGITAL_SIGNATURE | Purpose.CARD_AUTHENTICATION:
                if resembles_tbs(message):
                    raise NotToBeSignedError(
                        "it reads as a TBSCertificate or TBSCertList, which only a certificate-signing key signs"
                    )
            case Purpose.KEY_MANAGEMENT:
                raise NotToBeSignedError("a key for key-management signs nothing")
            case _:
                assert_never(purpose)

    async def bind(self, key_id: str, public_key: CertificatePublicKeyTypes, certificate_pem: str) -> str:
        """Note the authority that a certificate from elsewhere makes of a key here; returns its fingerprint.

        Raises NotToBeSignedError where it makes none of it. Whether its issuer signed it, only the issuer's key could
        tell; a root is its own issuer.
        """
        key = self._key(key_id, public_key)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            tbs = take_apart(certificate, certificate.tbs_certificate_bytes)
        except UNREADABLE as error:
            raise NotToBeSignedError(str(error)) from None
        if tbs.public_key != key.public:
            raise NotToBeSignedError("the public key in it is not this key's")
        if not certificates.is_authority(tbs):
            raise NotToBeSignedError("it is no authority's: basic constraints must have cA true")
        certificates.require_sound(tbs)
        if tbs.issuer == tbs.subject:
            _require_signed_by_itself(certificate)
        await self._authorities.note(authority_in(tbs, "bound"))
        return certificate.fingerprint(SHA256()).hex()

    async def _examine_tbs(self, key: _Key, algorithm: SignatureAlgorithm, message: bytes) -> None:
        if len(message) > _LONG:
            tbs = await asyncio.to_thread(_sound, message, algorithm)
        else:
            tbs = _sound(message, algorithm)
        match tbs:
            case ToBeListed():
                try:
                    crls.require_issued_by_one_of(tbs, self._authorities.remembered(key.fingerprint))
                except NotToBeSignedError:
                    crls.require_issued_by_one_of(tbs, await self._authorities.look_again(key.fingerprint))
            case ToBeCertified():
                await self._examine_certificate(key, tbs)
            case _:
                assert_never(tbs)

    async def _examine_certificate(self, key: _Key, tbs: ToBeCertified) -> None:
        """The authority that it makes of somebody is noted before it is signed: no crash can come between."""
        if tbs.public_key == key.public:
            # What this process remembers could lack what forbids it.
            certificates.require_root(tbs, await self._authorities.look_again(key.fingerprint))
            await self._authorities.note(authority_in(tbs, "self"))
            return
        issuer = await self._issuer(key, tbs)
        if certificates.is_authority(tbs):
            await self._authorities.note(authority_in(tbs, "signed", issuer))

    async def _issuer(self, key: _Key, tbs: ToBeCertified) -> Authority:
        try:
            return certificates.authority_for(tbs, self._authorities.remembered(key.fingerprint))
        except NotToBeSignedError:
            return certificates.authority_for(tbs, await self._authorities.look_again(key.fingerprint))

    def _key(self, key_id: str, public_key: CertificatePublicKeyTypes) -> _Key:
        if (known := self._keys.get(key_id)) is not None:
            return known
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._keys[key_id] = key = _Key(public_key, sha256(der).hexdigest())
        if len(self._keys) > _CACHED_KEYS:
            self._keys.popitem(last=False)
        return key


def _sound(message: bytes, algorithm: SignatureAlgorithm) -> ToBeCertified | ToBeListed:
    tbs = read(message, algorithm)
    if isinstance(tbs, ToBeListed):
        crls.require_sound(tbs)
    else:
        certificates.require_sound(tbs)
    return tbs


def _require_signed_by_itself(certificate: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, *UNREADABLE):
        raise NotToBeSignedError("it is self-issued, and its signature is not of its own key") from None
