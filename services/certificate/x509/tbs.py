"""Builder of the TBSCertificate (RFC 5280, 4.1) that `key.sign` signs; its content comes from `BuildTbs` alone."""

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
    key_identifier,
    key_type,
    load_requested_key,
    require_signing_key,
    require_subject_key,
    signature_algorithm,
    to_pem,
)
from services.certificate.signatures import DIGESTS
from services.certificate.x509.effects import BuildTbs, CertificateTemplate, RequestInvalid, TbsBuilt
from shared.contracts.certificate.commands import CheckIssuance, CreateCertificate, CrossCertify, RenewCertificate
from shared.contracts.certificate.value_types import Profile, SanKind
from shared.contracts.key.value_types import SignatureAlgorithm

_SERIAL_BITS = 127  # 16 octets, positive; RFC 5280 allows 20, the CA/Browser Forum requires 64 random bits
_ThrowAwayKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]
"""Pairs of an extension and its criticality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A subject. *copied* holds CA extensions that a renewal copies unchanged from the predecessor."""

    name: x509.Name
    key: SubjectKey
    key_identifier: bytes
    sans: tuple[x509.SubjectAlternativeName, bool] | None
    copied: Extensions = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issuer:
    name: x509.Name
    key: SigningKey
    key_pem: str
    key_identifier: bytes
    algorithm: SignatureAlgorithm
    certificate: x509.Certificate | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A built TBSCertificate and, for the linters, a certificate with it that a throw-away key signed."""

    built: TbsBuilt
    certificate: x509.Certificate
    issuer: x509.Certificate | None


def build(effect: BuildTbs) -> Draft | RequestInvalid:
    """Builds a TBSCertificate, or explains why the request cannot have one."""
    try:
        subject, issuer_pem = _build_subject(effect.template, ml_dsa=effect.ml_dsa), effect.issuer_certificate_pem
        issuer = _self_issuer(subject) if issuer_pem is None else _load_issuer(issuer_pem)
        if issuer_pem is not None and subject.key == issuer.key:
            raise ValueError("the public key is the issuer's own; only a root is signed by its own key")  # noqa: TRY301 - handled like the errors of the calls above
    except ValueError as error:
        return RequestInvalid(str(error))
    serial = secrets.randbits(_SERIAL_BITS) + 1
    identifier = x509.SubjectKeyIdentifier(subject.key_identifier)
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(issuer.name)
        .subject_name(subject.name)
        .not_valid_before(effect.not_before)
        .not_valid_after(effect.not_after)
        .public_key(subject.key)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), critical=False)
    )
    for extension, critical in (*_profile_extensions(effect.template, subject), *_url_extensions(effect.urls)):
        builder = builder.add_extension(extension, critical)
    if subject.sans is not None:
        builder = builder.add_extension(*subject.sans)
    draft = builder.sign(_throw_away_key(issuer.algorithm), DIGESTS.get(issuer.algorithm))
    built = TbsBuilt(
        effect=effect,
        tbs=draft.tbs_certificate_bytes,
        serial=f"{serial:x}",
        signature_algorithm=issuer.algorithm,
        issuer_public_key_pem=issuer.key_pem,
    )
    return Draft(built, draft, issuer.certificate)


def _build_subject(template: CertificateTemplate, *, ml_dsa: bool) -> _Subject:
    profile, source_pem = template.profile, (template.source_pem or "").encode()
    match template.request:
        case CreateCertificate(subject=subject, public_key_pem=public_key_pem, csr_pem=csr_pem):
            key = require_subject_key(load_requested_key(public_key_pem, csr_pem), profile, ml_dsa=ml_dsa)
            sans = san_extension(template.names or ())
            return _Subject(
                name=distinguished_name(subject),
                key=key,
                key_identifier=key_identifier(key),
                sans=None if sans is None else (sans, False),
            )
        case RenewCertificate(public_key_pem=public_key_pem, csr_pem=csr_pem):
            source = x509.load_pem_x509_certificate(source_pem)
            if public_key_pem is None and csr_pem is None:
                key = require_subject_key(source.public_key(), profile, ml_dsa=ml_dsa)
                identifier = _subject_key_identifier(source)
            else:
                key = require_subject_key(load_requested_key(public_key_pem, csr_pem), profile, ml_dsa=ml_dsa)
                identifier = key_identifier(key)
            return _Subject(
                name=source.subject,
                key=key,
                key_identifier=identifier,
                sans=_sans(source),
                copied=_ca_extensions(source),
            )
        case CrossCertify():
            source = x509.load_pem_x509_certificate(source_pem)
            key = require_subject_key(source.public_key(), profile, ml_dsa=ml_dsa)
            return _Subject(name=source.subject, key=key, key_identifier=_subject_key_identifier(source), sans=None)
        case CheckIssuance():
            raise ValueError("a check builds nothing")
        case _:
            assert_never(template.request)


def _subject_key_identifier(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _sans(source: x509.Certificate) -> tuple[x509.SubjectAlternativeName, bool] | None:
    try:
        found = source.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return found.value, found.critical


def _ca_extensions(source: x509.Certificate) -> Extensions:
    """Copies the limits of a CA, so that its renewal has exactly the same."""
    kinds: tuple[type[x509.ExtensionType], ...] = (x509.BasicConstraints, x509.NameConstraints)
    found = [each for each in source.extensions if isinstance(each.value, kinds)]
    return tuple((each.value, True) for each in found)


def _profile_extensions(template: CertificateTemplate, subject: _Subject) -> Extensions:
    has_upn = any(name.kind is SanKind.UPN for name in template.names or ())
    usages = _usage_extensions(template.profile, key_type(subject.key), has_upn=has_upn)
    if subject.copied:
        return (*subject.copied, *usages)
    is_ca = PROFILES[template.profile].is_ca
    basic = x509.BasicConstraints(ca=is_ca, path_length=template.path_length)
    if template.name_constraints is None:
        return (basic, True), *usages
    return (basic, True), (name_constraints_extension(template.name_constraints), True), *usages


@lru_cache
def _usage_extensions(profile: Profile, key: KeyType, *, has_upn: bool) -> Extensions:
    """Returns key usage, extended key usage and OCSP no-check of a profile, for a key of this type."""
    rules = PROFILES[profile]
    usages = rules.key_usage[key]
    extended = rules.extended_key_usage + (rules.upn_extended_key_usage if has_upn else ())
    usage = x509.KeyUsage(**{each.value: each in usages for each in KeyUsage})
    found: Extensions = ((usage, True),)
    if extended:
        oids = x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in extended])
        found = (*found, (oids, rules.extended_key_usage_critical))
    if rules.ocsp_no_check:
        found = (*found, (x509.OCSPNoCheck(), False))
    return found


@lru_cache(maxsize=1024)
def _url_extensions(urls: IssuerUrls) -> Extensions:
    """Returns CRL distribution points and authority information access (RFC 5280, 4.2.1.13 and 4.2.2.1)."""
    found: Extensions = ()
    if urls.crl is not None:
        full_name = [x509.UniformResourceIdentifier(urls.crl)]
        found = ((x509.CRLDistributionPoints([x509.DistributionPoint(full_name, None, None, None)]), False),)
    access = (
        (AuthorityInformationAccessOID.OCSP, urls.ocsp),
        (AuthorityInformationAccessOID.CA_ISSUERS, urls.issuer),
    )
    access_descriptions = [
        x509.AccessDescription(oid, x509.UniformResourceIdentifier(url)) for oid, url in access if url is not None
    ]
    return (*found, (x509.AuthorityInformationAccess(access_descriptions), False)) if access_descriptions else found


@lru_cache(maxsize=1024)
def _load_issuer(certificate_pem: str) -> _Issuer:
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    key = require_signing_key(certificate.public_key())
    return _Issuer(
        name=certificate.subject,
        key=key,
        key_pem=to_pem(key),
        key_identifier=_subject_key_identifier(certificate),
        algorithm=signature_algorithm(key),
        certificate=certificate,
    )


def _self_issuer(subject: _Subject) -> _Issuer:
    key = require_signing_key(subject.key)
    return _Issuer(
        name=subject.name,
        key=key,
        key_pem=to_pem(key),
        key_identifier=subject.key_identifier,
        algorithm=signature_algorithm(key),
        certificate=None,
    )


@lru_cache
def _throw_away_key(algorithm: SignatureAlgorithm) -> _ThrowAwayKey:
    """Generates a key in place of the issuer's: cryptography's builder returns no TBSCertificate without signing it.

    `build` drops the signature. Only the algorithm of the key matters, because the TBSCertificate names it.
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
