"""Custodian: checks each message before a key signs it, by the purpose of the key."""

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

from services.key.custody import certificate_rules, crl_rules
from services.key.custody.ca_register import CaCertificate, CaRegister, ca_certificate_of
from services.key.custody.nats_jwts import require_nats_jwt
from services.key.custody.ocsp_responses import require_response_data
from services.key.custody.ssh_certificates import require_ssh_certificate
from services.key.custody.tbs import (
    PARSE_ERRORS,
    NotSignableError,
    TbsCertificate,
    TbsCertList,
    read,
    resembles_tbs,
    split_certificate,
)
from shared.contracts.key.value_types import Purpose, SignatureAlgorithm
from shared.nats.kv import KeyValue

_CACHED_KEYS = 256
_THREAD_ABOVE_BYTES = 65_536  # parsing a CRL of 1,000 entries takes about 10 ms


@dataclass(frozen=True, slots=True)
class _Key:
    """A certificate-signing key and the fingerprint of its public key, by which its CA certificates are stored."""

    public: CertificatePublicKeyTypes
    fingerprint: str


class Custodian:
    """Checks messages before a key signs them, and registers the CA certificates among them."""

    def __init__(self, bucket: KeyValue) -> None:
        self._register = CaRegister(bucket)
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    async def examine(
        self,
        key_id: str,
        purpose: Purpose,
        public_key: CertificatePublicKeyTypes,
        algorithm: SignatureAlgorithm,
        message: bytes,
    ) -> None:
        """Raises NotSignableError, with the reason, if the key must not sign *message* with *algorithm*."""
        match purpose:
            case Purpose.CERTIFICATE_SIGNING:
                await self._examine_tbs(self._key(key_id, public_key), algorithm, message)
            case Purpose.OCSP_SIGNING:
                require_response_data(message, algorithm, public_key)
            case Purpose.SSH_CERTIFICATE_SIGNING:
                require_ssh_certificate(message, public_key)
            case Purpose.NATS_OPERATOR | Purpose.NATS_ACCOUNT | Purpose.NATS_USER | Purpose.NATS_SERVER:
                require_nats_jwt(message, purpose, public_key)
            case Purpose.AUTHENTICATION | Purpose.DIGITAL_SIGNATURE | Purpose.CARD_AUTHENTICATION:
                if resembles_tbs(message):
                    raise NotSignableError(
                        "it reads as a TBSCertificate or TBSCertList, which only a certificate-signing key signs"
                    )
            case Purpose.KEY_MANAGEMENT:
                raise NotSignableError("a key for key-management signs nothing")
            case _:
                assert_never(purpose)

    async def bind(self, key_id: str, public_key: CertificatePublicKeyTypes, certificate_pem: str) -> str:
        """Registers a CA certificate of a key that another CA issued; returns the certificate's fingerprint.

        Raises NotSignableError for any other certificate. The issuer's signature is not verified, except that
        of a root: the other CA's key may be unknown here.
        """
        key = self._key(key_id, public_key)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            tbs = split_certificate(certificate, certificate.tbs_certificate_bytes)
        except PARSE_ERRORS as error:
            raise NotSignableError(str(error)) from None
        if tbs.public_key != key.public:
            raise NotSignableError("the public key in it is not this key's")
        if not certificate_rules.is_ca(tbs):
            raise NotSignableError("it is not a CA certificate: basic constraints must have cA true")
        certificate_rules.require_sound(tbs)
        if tbs.issuer == tbs.subject:
            _require_signed_by_itself(certificate)
        await self._register.add(ca_certificate_of(tbs, "bound"))
        return certificate.fingerprint(SHA256()).hex()

    async def _examine_tbs(self, key: _Key, algorithm: SignatureAlgorithm, message: bytes) -> None:
        if len(message) > _THREAD_ABOVE_BYTES:
            tbs = await asyncio.to_thread(_parse_and_check, message, algorithm)
        else:
            tbs = _parse_and_check(message, algorithm)
        match tbs:
            case TbsCertList():
                try:
                    crl_rules.require_issuer(tbs, self._register.cached(key.fingerprint))
                except NotSignableError:
                    crl_rules.require_issuer(tbs, await self._register.fetch(key.fingerprint))
            case TbsCertificate():
                await self._examine_certificate(key, tbs)
            case _:
                assert_never(tbs)

    async def _examine_certificate(self, key: _Key, tbs: TbsCertificate) -> None:
        """Registers a CA certificate before it is signed, so that a crash cannot lose it."""
        if tbs.public_key == key.public:
            # The cache could lack the certificate that forbids it.
            certificate_rules.require_root(tbs, await self._register.fetch(key.fingerprint))
            await self._register.add(ca_certificate_of(tbs, "self"))
            return
        issuer = await self._issuer(key, tbs)
        if certificate_rules.is_ca(tbs):
            await self._register.add(ca_certificate_of(tbs, "signed", issuer))

    async def _issuer(self, key: _Key, tbs: TbsCertificate) -> CaCertificate:
        try:
            return certificate_rules.find_issuer(tbs, self._register.cached(key.fingerprint))
        except NotSignableError:
            return certificate_rules.find_issuer(tbs, await self._register.fetch(key.fingerprint))

    def _key(self, key_id: str, public_key: CertificatePublicKeyTypes) -> _Key:
        if (cached := self._keys.get(key_id)) is not None:
            return cached
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._keys[key_id] = key = _Key(public_key, sha256(der).hexdigest())
        if len(self._keys) > _CACHED_KEYS:
            self._keys.popitem(last=False)
        return key


def _parse_and_check(message: bytes, algorithm: SignatureAlgorithm) -> TbsCertificate | TbsCertList:
    tbs = read(message, algorithm)
    if isinstance(tbs, TbsCertList):
        crl_rules.require_sound(tbs)
    else:
        certificate_rules.require_sound(tbs)
    return tbs


def _require_signed_by_itself(certificate: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, *PARSE_ERRORS):
        raise NotSignableError("it is self-issued, and its own key did not sign it") from None
