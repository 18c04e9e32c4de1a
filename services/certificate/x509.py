"""The certificates themselves: performs what the core asks for. It meets no private key but those nobody relies on.

Every effect only reads and computes: performed twice, the world is the same. It all runs on the event loop, where two
threads would issue less than one (facts.md).
"""

import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from services.certificate.effects import (
    Assembled,
    AttachSignature,
    BuildTbs,
    FetchIssuer,
    IssuanceEffect,
    IssuanceOutcome,
    IssuerFetched,
    RequestUnfit,
    SignatureWrong,
    TbsBuilt,
)
from services.certificate.names import alternative_names, distinguished_name
from services.certificate.profiles import PROFILES, KeyType, KeyUsage, misfit
from services.certificate.public_keys import (
    SigningKey,
    key_identifier,
    key_type,
    requested_key,
    signature_algorithm,
    to_pem,
)
from services.certificate.states import Certificate
from shared import der
from shared.contracts.keying import SignatureAlgorithm
from shared.contracts.naming import Profile
from shared.errors import Poison

_SERIAL_BITS = 127  # 16 octets, positive; RFC 5280 allows 20, the CA/Browser Forum asks for 64 random bits
_StandIn = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_DIGESTS: dict[SignatureAlgorithm, hashes.SHA256 | hashes.SHA384] = {
    SignatureAlgorithm.RSA_PKCS1_SHA256: hashes.SHA256(),
    SignatureAlgorithm.RSA_PKCS1_SHA384: hashes.SHA384(),
    SignatureAlgorithm.ECDSA_SHA256: hashes.SHA256(),
    SignatureAlgorithm.ECDSA_SHA384: hashes.SHA384(),
}


class Issuance:
    """Performs the effects of the certificate decider; *current* tells where another certificate stands now."""

    def __init__(self, current: Callable[[str], Awaitable[Certificate]]) -> None:
        self._current = current

    async def perform(self, effect: IssuanceEffect) -> IssuanceOutcome:
        match effect:
            case FetchIssuer(request=request, issuer_id=issuer_id):
                return IssuerFetched(request, await self._current(issuer_id))
            case BuildTbs():
                return _build(effect)
            case AttachSignature():
                return _attach(effect)
            case _:
                assert_never(effect)


@dataclass(frozen=True, slots=True)
class _Issuer:
    name: x509.Name
    key: SigningKey
    key_pem: str
    key_identifier: bytes
    algorithm: SignatureAlgorithm


def _build(plan: BuildTbs) -> TbsBuilt | RequestUnfit:
    request = plan.request
    try:
        subject, alternatives = distinguished_name(request.subject), alternative_names(request)
        key = requested_key(request)
        extensions = _extensions(request.profile, key_type(key))
        issuer = _self(subject, key) if plan.issuer_certificate_pem is None else _issuer(plan.issuer_certificate_pem)
        if plan.issuer_certificate_pem is not None and key == issuer.key:
            raise ValueError("the public key is the issuer's own; only a root is signed by its own key")  # noqa: TRY301 - like all else that is wrong
    except ValueError as error:
        return RequestUnfit(str(error))
    serial = secrets.randbits(_SERIAL_BITS) + 1
    identifier = x509.SubjectKeyIdentifier(key_identifier(key))
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(issuer.name)
        .subject_name(subject)
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
        .public_key(key)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    unsigned = builder.sign(_stand_in(issuer.algorithm), _DIGESTS.get(issuer.algorithm))
    return TbsBuilt(plan, unsigned.tbs_certificate_bytes, f"{serial:x}", issuer.algorithm, issuer.key_pem)


@lru_cache
def _extensions(profile: Profile, key: KeyType) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """What the profile says of a key of this type, each extension with whether it is critical."""
    if (problem := misfit(profile, key)) is not None:
        raise ValueError(problem)
    rules = PROFILES[profile]
    usages = rules.key_usage[key]
    basic = x509.BasicConstraints(ca=rules.is_authority, path_length=rules.path_length)
    usage = x509.KeyUsage(**{each.value: each in usages for each in KeyUsage})
    if not rules.extended_key_usage:
        return (basic, True), (usage, True)
    extended = x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in rules.extended_key_usage])
    return (basic, True), (usage, True), (extended, rules.extended_key_usage_critical)


@lru_cache(maxsize=1024)
def _issuer(certificate_pem: str) -> _Issuer:
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    key = _signing(certificate.public_key())
    return _Issuer(certificate.subject, key, to_pem(key), identifier, signature_algorithm(key))


def _self(subject: x509.Name, public_key: object) -> _Issuer:
    key = _signing(public_key)
    return _Issuer(subject, key, to_pem(key), key_identifier(key), signature_algorithm(key))


def _signing(key: object) -> SigningKey:
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key
    raise ValueError("an issuer's key must be one that signs")


@lru_cache
def _stand_in(algorithm: SignatureAlgorithm) -> _StandIn:
    """A key that signs in the place of the issuer's, for the builder gives no TBSCertificate without a signature.

    The signature is thrown away. Of the issuer's key only the algorithm matters: it is what the TBSCertificate names.
    """
    match algorithm:
        case SignatureAlgorithm.RSA_PKCS1_SHA256 | SignatureAlgorithm.RSA_PKCS1_SHA384:
            return rsa.generate_private_key(65537, 2048)
        case SignatureAlgorithm.ECDSA_SHA256:
            return ec.generate_private_key(ec.SECP256R1())
        case SignatureAlgorithm.ECDSA_SHA384:
            return ec.generate_private_key(ec.SECP384R1())
        case SignatureAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            assert_never(algorithm)


def _attach(plan: AttachSignature) -> Assembled | SignatureWrong:
    tbs = base64.b64decode(plan.created.tbs)
    try:
        _verify(_public_key(plan.created.issuer_public_key_pem), plan.created.signature_algorithm, plan.signature, tbs)
    except InvalidSignature:
        return SignatureWrong(plan.certificate_id)
    encoded = der.sequence(tbs, _algorithm_identifier(tbs), der.bit_string(plan.signature))
    certificate = x509.load_der_x509_certificate(encoded)
    if certificate.tbs_certificate_bytes != tbs or f"{certificate.serial_number:x}" != plan.created.serial:
        raise Poison(f"what was assembled of {plan.certificate_id} is not what was signed")
    return Assembled(plan, certificate.public_bytes(Encoding.PEM).decode(), sha256(encoded).hexdigest())


@lru_cache(maxsize=1024)
def _public_key(pem: str) -> SigningKey:
    return _signing(load_pem_public_key(pem.encode()))


def _verify(key: SigningKey, algorithm: SignatureAlgorithm, signature: bytes, message: bytes) -> None:
    match key:
        case rsa.RSAPublicKey():
            key.verify(signature, message, padding.PKCS1v15(), _DIGESTS[algorithm])
        case ec.EllipticCurvePublicKey():
            key.verify(signature, message, ec.ECDSA(_DIGESTS[algorithm]))
        case ed25519.Ed25519PublicKey():
            key.verify(signature, message)
        case _:
            assert_never(key)


def _algorithm_identifier(tbs: bytes) -> bytes:
    """The AlgorithmIdentifier as it stands in *tbs*: it must be the same there and outside (RFC 5280, 4.1.1.2)."""
    at = _content(tbs, 0)[0]
    for _ in ("version", "serialNumber"):
        at = _content(tbs, at)[1]
    return tbs[at : _content(tbs, at)[1]]


def _content(encoded: bytes, at: int) -> tuple[int, int]:
    """Where the content of the DER element at *at* begins and ends (X.690, 8.1.3; tags here are of one octet)."""
    length, begin = encoded[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, begin = int.from_bytes(encoded[begin : begin + octets]), begin + octets
    return begin, begin + length
