"""What is to be signed: a TBSCertificate (RFC 5280, 4.1), built from what the core has decided and nothing else."""

import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from services.certificate.names.x509_names import distinguished_name, name_constraints_extension, san_extension
from services.certificate.policy.issuers import IssuerUrls
from services.certificate.profiles import PROFILES, KeyType, KeyUsage
from services.certificate.public_keys import (
    SigningKey,
    SubjectKey,
    fit,
    given_key,
    key_identifier,
    key_type,
    signature_algorithm,
    signing,
    to_pem,
)
from services.certificate.signatures import DIGESTS
from services.certificate.x509.effects import BuildTbs, RequestUnfit, TbsBuilt, Wanted
from shared.contracts.certificate.commands import CheckIssuance, CreateCertificate, CrossCertify, RenewCertificate
from shared.contracts.certificate.value_types import Profile, SanKind
from shared.contracts.key.value_types import SignatureAlgorithm

_SERIAL_BITS = 127  # 16 octets, positive; RFC 5280 allows 20, the CA/Browser Forum asks for 64 random bits
_StandIn = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]
"""Each with whether it is critical."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """*copied* are the extensions that are another certificate's, as they stand there."""

    name: x509.Name
    key: SubjectKey
    key_identifier: bytes
    alternatives: tuple[x509.SubjectAlternativeName, bool] | None
    copied: Extensions = ()


@dataclass(frozen=True, slots=True)
class _Issuer:
    name: x509.Name
    key: SigningKey
    key_pem: str
    key_identifier: bytes
    algorithm: SignatureAlgorithm
    certificate: x509.Certificate | None


@dataclass(frozen=True, slots=True)
class Draft:
    """What was built, and as the certificate that it will be, but for its signature: a stand-in's is in it."""

    built: TbsBuilt
    certificate: x509.Certificate
    issuer: x509.Certificate | None


def build(plan: BuildTbs) -> Draft | RequestUnfit:
    try:
        subject = _subject(plan.wanted, ml_dsa=plan.ml_dsa)
        issuer = _self(subject) if plan.issuer_certificate_pem is None else _issuer(plan.issuer_certificate_pem)
        if plan.issuer_certificate_pem is not None and subject.key == issuer.key:
            raise ValueError("the public key is the issuer's own; only a root is signed by its own key")  # noqa: TRY301 - like all else that is wrong
    except ValueError as error:
        return RequestUnfit(str(error))
    serial = secrets.randbits(_SERIAL_BITS) + 1
    identifier = x509.SubjectKeyIdentifier(subject.key_identifier)
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(issuer.name)
        .subject_name(subject.name)
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
        .public_key(subject.key)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), critical=False)
    )
    for extension, critical in (*_of_profile(plan.wanted, subject), *_pointers(plan.pointers)):
        builder = builder.add_extension(extension, critical)
    if subject.alternatives is not None:
        builder = builder.add_extension(*subject.alternatives)
    unsigned = builder.sign(_stand_in(issuer.algorithm), DIGESTS.get(issuer.algorithm))
    built = TbsBuilt(plan, unsigned.tbs_certificate_bytes, f"{serial:x}", issuer.algorithm, issuer.key_pem)
    return Draft(built, unsigned, issuer.certificate)


def _subject(wanted: Wanted, *, ml_dsa: bool) -> _Subject:
    match wanted.request:
        case CreateCertificate(subject=subject, public_key_pem=public_key_pem, csr_pem=csr_pem):
            key = fit(given_key(public_key_pem, csr_pem), wanted.profile, ml_dsa=ml_dsa)
            names = san_extension(wanted.names or ())
            alternatives = None if names is None else (names, False)
            return _Subject(distinguished_name(subject), key, key_identifier(key), alternatives)
        case RenewCertificate(public_key_pem=public_key_pem, csr_pem=csr_pem):
            like = x509.load_pem_x509_certificate((wanted.like_pem or "").encode())
            if public_key_pem is None and csr_pem is None:
                key = fit(like.public_key(), wanted.profile, ml_dsa=ml_dsa)
                identifier = _identifier(like)
            else:
                key = fit(given_key(public_key_pem, csr_pem), wanted.profile, ml_dsa=ml_dsa)
                identifier = key_identifier(key)
            return _Subject(like.subject, key, identifier, _alternatives(like), _limits(like))
        case CrossCertify():
            like = x509.load_pem_x509_certificate((wanted.like_pem or "").encode())
            key = fit(like.public_key(), wanted.profile, ml_dsa=ml_dsa)
            return _Subject(like.subject, key, _identifier(like), None)
        case CheckIssuance():
            raise ValueError("a check builds nothing")
        case _:
            assert_never(wanted.request)


def _identifier(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _alternatives(like: x509.Certificate) -> tuple[x509.SubjectAlternativeName, bool] | None:
    try:
        found = like.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return found.value, found.critical


def _limits(like: x509.Certificate) -> Extensions:
    """How far an authority that is renewed goes: as far as before, to the letter."""
    kinds: tuple[type[x509.ExtensionType], ...] = (x509.BasicConstraints, x509.NameConstraints)
    found = [each for each in like.extensions if isinstance(each.value, kinds)]
    return tuple((each.value, True) for each in found)


def _of_profile(wanted: Wanted, subject: _Subject) -> Extensions:
    account = any(name.kind is SanKind.UPN for name in wanted.names or ())
    usages = _usages(wanted.profile, key_type(subject.key), account=account)
    if subject.copied:
        return (*subject.copied, *usages)
    is_authority = PROFILES[wanted.profile].is_authority
    basic = x509.BasicConstraints(ca=is_authority, path_length=wanted.path_length)
    if wanted.name_constraints is None:
        return (basic, True), *usages
    return (basic, True), (name_constraints_extension(wanted.name_constraints), True), *usages


@lru_cache
def _usages(profile: Profile, key: KeyType, *, account: bool) -> Extensions:
    """What the profile says of a key of this type; *account*: whether the account is named that it logs on to."""
    rules = PROFILES[profile]
    usages, extended = (
        rules.key_usage[key],
        rules.extended_key_usage + (rules.upn_extended_key_usage if account else ()),
    )
    usage = x509.KeyUsage(**{each.value: each in usages for each in KeyUsage})
    found: Extensions = ((usage, True),)
    if extended:
        oids = x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in extended])
        found = (*found, (oids, rules.extended_key_usage_critical))
    if rules.ocsp_no_check:
        found = (*found, (x509.OCSPNoCheck(), False))
    return found


@lru_cache(maxsize=1024)
def _pointers(pointers: IssuerUrls) -> Extensions:
    found: Extensions = ()
    if pointers.crl is not None:
        full_name = [x509.UniformResourceIdentifier(pointers.crl)]
        found = ((x509.CRLDistributionPoints([x509.DistributionPoint(full_name, None, None, None)]), False),)
    access = (
        (AuthorityInformationAccessOID.OCSP, pointers.ocsp),
        (AuthorityInformationAccessOID.CA_ISSUERS, pointers.issuer),
    )
    told = [x509.AccessDescription(oid, x509.UniformResourceIdentifier(url)) for oid, url in access if url is not None]
    return (*found, (x509.AuthorityInformationAccess(told), False)) if told else found


@lru_cache(maxsize=1024)
def _issuer(certificate_pem: str) -> _Issuer:
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    key = signing(certificate.public_key())
    return _Issuer(
        certificate.subject, key, to_pem(key), _identifier(certificate), signature_algorithm(key), certificate
    )


def _self(subject: _Subject) -> _Issuer:
    key = signing(subject.key)
    return _Issuer(subject.name, key, to_pem(key), subject.key_identifier, signature_algorithm(key), None)


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
        case SignatureAlgorithm.ML_DSA_65:
            return mldsa.MLDSA65PrivateKey.generate()
        case _:
            assert_never(algorithm)
