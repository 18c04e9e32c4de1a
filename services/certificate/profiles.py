"""Certificate profiles as data: key usages, validity, kinds of names, path length. Pure.

A change of a profile raises its *version*, which each certificate's events record.
The PIV profiles follow FIPS 201-3 and SP 800-73-5: one for each of the slots 9A, 9C, 9D and 9E.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shared.contracts.certificate.value_types import Profile, SanKind
from shared.contracts.key.value_types import Algorithm


class KeyType(StrEnum):
    RSA = "rsa"
    EC = "ec"
    ED25519 = "ed25519"
    X25519 = "x25519"
    ML_DSA = "ml-dsa"


KEY_TYPES: Mapping[Algorithm, KeyType] = {
    Algorithm.RSA_2048: KeyType.RSA,
    Algorithm.RSA_3072: KeyType.RSA,
    Algorithm.RSA_4096: KeyType.RSA,
    Algorithm.EC_P256: KeyType.EC,
    Algorithm.EC_P384: KeyType.EC,
    Algorithm.ED25519: KeyType.ED25519,
    Algorithm.X25519: KeyType.X25519,
    Algorithm.ML_DSA_65: KeyType.ML_DSA,
}
RSA_BITS: Mapping[Algorithm, int] = {Algorithm.RSA_2048: 2048, Algorithm.RSA_3072: 3072, Algorithm.RSA_4096: 4096}


class KeyUsage(StrEnum):
    """The bits of keyUsage (RFC 5280, 4.2.1.3) in snake_case."""

    DIGITAL_SIGNATURE = "digital_signature"
    CONTENT_COMMITMENT = "content_commitment"
    KEY_ENCIPHERMENT = "key_encipherment"
    DATA_ENCIPHERMENT = "data_encipherment"
    KEY_AGREEMENT = "key_agreement"
    KEY_CERT_SIGN = "key_cert_sign"
    CRL_SIGN = "crl_sign"
    ENCIPHER_ONLY = "encipher_only"
    DECIPHER_ONLY = "decipher_only"


class ExtendedKeyUsage(StrEnum):
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
    CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
    EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
    OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
    DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"  # RFC 9336
    SMARTCARD_LOGON = "1.3.6.1.4.1.311.20.2.2"  # [MS-WCCE]
    PIV_CARD_AUTH = "2.16.840.1.101.3.6.8"  # FIPS 201-3


Usages = frozenset[KeyUsage]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProfile:
    """The profile of one kind of certificate.

    *key_usage* has the usages of each key type; a key of any other type gets no certificate.
    *path_length* is the default pathLenConstraint of a CA (RFC 5280, 4.2.1.9); None means no CA. A certificate needs
    a name of at least one of *required_san_kinds*. One with a UPN also gets *upn_extended_key_usage*.
    *ocsp_no_check* adds id-pkix-ocsp-nocheck (RFC 6960, 4.2.2.2.1).
    """

    max_validity_days: int
    key_usage: Mapping[KeyType, Usages]
    names: frozenset[SanKind]
    required_san_kinds: frozenset[SanKind] = frozenset()
    path_length: int | None = None
    extended_key_usage: tuple[ExtendedKeyUsage, ...] = ()
    extended_key_usage_critical: bool = False
    upn_extended_key_usage: tuple[ExtendedKeyUsage, ...] = ()
    min_rsa_bits: int = 2048
    wildcards: bool = False
    common_name_in_sans: bool = False
    ocsp_no_check: bool = False
    version: int = 1

    @property
    def is_ca(self) -> bool:
        return self.path_length is not None


def _signing(*usages: KeyUsage) -> Mapping[KeyType, Usages]:
    """Returns the same usages for every signing key type; RFC 8410 and RFC 9881, section 5, allow no more."""
    return dict.fromkeys((KeyType.RSA, KeyType.EC, KeyType.ED25519, KeyType.ML_DSA), frozenset(usages))


_PIV_MAX_DAYS = 1185
_ANY_NAME = frozenset(SanKind)
_NAMES_OF_PEOPLE = frozenset({SanKind.EMAIL, SanKind.URI, SanKind.UPN})
_NAMES_OF_THINGS = frozenset({SanKind.EMAIL, SanKind.URI, SanKind.DNS})
_NAMES_OF_SERVERS = frozenset({SanKind.DNS, SanKind.IP})

PROFILES: Mapping[Profile, CertificateProfile] = {
    Profile.ROOT: CertificateProfile(
        max_validity_days=9131,
        key_usage=_signing(KeyUsage.KEY_CERT_SIGN, KeyUsage.CRL_SIGN),
        names=_NAMES_OF_THINGS,
        path_length=1,
        version=2,
    ),
    Profile.INTERMEDIATE: CertificateProfile(
        max_validity_days=5479,
        key_usage=_signing(KeyUsage.KEY_CERT_SIGN, KeyUsage.CRL_SIGN),
        names=_NAMES_OF_THINGS,
        path_length=0,
        version=2,
    ),
    Profile.TLS_SERVER: CertificateProfile(
        max_validity_days=397,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),  # RFC 9325, 4.1: no key transport by RSA
        names=_NAMES_OF_SERVERS,
        required_san_kinds=_NAMES_OF_SERVERS,
        extended_key_usage=(ExtendedKeyUsage.SERVER_AUTH,),
        wildcards=True,
        common_name_in_sans=True,
    ),
    Profile.TLS_CLIENT: CertificateProfile(
        max_validity_days=825,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
        names=_ANY_NAME,
        extended_key_usage=(ExtendedKeyUsage.CLIENT_AUTH,),
    ),
    Profile.PIV_AUTHENTICATION: CertificateProfile(
        max_validity_days=_PIV_MAX_DAYS,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
        names=_ANY_NAME,
        extended_key_usage=(ExtendedKeyUsage.CLIENT_AUTH,),
        upn_extended_key_usage=(ExtendedKeyUsage.SMARTCARD_LOGON,),
        version=2,
    ),
    Profile.PIV_DIGITAL_SIGNATURE: CertificateProfile(
        max_validity_days=_PIV_MAX_DAYS,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE, KeyUsage.CONTENT_COMMITMENT),
        names=_NAMES_OF_PEOPLE,
        extended_key_usage=(ExtendedKeyUsage.EMAIL_PROTECTION, ExtendedKeyUsage.DOCUMENT_SIGNING),
        version=2,
    ),
    Profile.PIV_KEY_MANAGEMENT: CertificateProfile(
        max_validity_days=_PIV_MAX_DAYS,
        key_usage={
            KeyType.RSA: frozenset({KeyUsage.KEY_ENCIPHERMENT}),
            KeyType.EC: frozenset({KeyUsage.KEY_AGREEMENT}),
            KeyType.X25519: frozenset({KeyUsage.KEY_AGREEMENT}),  # RFC 8410, section 5: Ed25519 can do neither
        },
        names=_NAMES_OF_PEOPLE,
        extended_key_usage=(ExtendedKeyUsage.EMAIL_PROTECTION,),
        version=2,
    ),
    Profile.PIV_CARD_AUTHENTICATION: CertificateProfile(
        max_validity_days=_PIV_MAX_DAYS,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
        names=_NAMES_OF_PEOPLE,
        extended_key_usage=(ExtendedKeyUsage.PIV_CARD_AUTH,),
        extended_key_usage_critical=True,
        version=2,
    ),
    Profile.CODE_SIGNING: CertificateProfile(
        max_validity_days=460,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
        names=_NAMES_OF_THINGS,
        extended_key_usage=(ExtendedKeyUsage.CODE_SIGNING,),
        min_rsa_bits=3072,  # CA/Browser Forum, Code Signing Baseline Requirements, 6.1.5.2
    ),
    Profile.EMAIL: CertificateProfile(
        max_validity_days=825,
        key_usage={  # RFC 8550, 4.4.2: one key for both has both usages
            **_signing(KeyUsage.DIGITAL_SIGNATURE),
            KeyType.RSA: frozenset({KeyUsage.DIGITAL_SIGNATURE, KeyUsage.KEY_ENCIPHERMENT}),
            KeyType.EC: frozenset({KeyUsage.DIGITAL_SIGNATURE, KeyUsage.KEY_AGREEMENT}),
            KeyType.X25519: frozenset({KeyUsage.KEY_AGREEMENT}),
        },
        names=frozenset({SanKind.EMAIL, SanKind.UPN}),
        required_san_kinds=frozenset({SanKind.EMAIL}),
        extended_key_usage=(ExtendedKeyUsage.EMAIL_PROTECTION,),
    ),
    Profile.OCSP_RESPONDER: CertificateProfile(
        max_validity_days=90,
        key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
        names=frozenset({SanKind.DNS, SanKind.URI}),
        extended_key_usage=(ExtendedKeyUsage.OCSP_SIGNING,),
        ocsp_no_check=True,
    ),
}


@dataclass(frozen=True, slots=True)
class CrlProfile:
    """The schedule of CRLs: at least one every *period*, each valid for *period* plus *overlap*.

    Publication may fail for *overlap* before relying parties are left without a valid CRL.
    """

    period: timedelta = timedelta(hours=24)
    overlap: timedelta = timedelta(hours=24)
    version: int = 1


CRL = CrlProfile()


def check_key(profile: Profile, key: KeyType, rsa_bits: int | None = None) -> str | None:
    """Returns why *profile* does not allow a key of this type and size, or None."""
    rules = PROFILES[profile]
    if key not in rules.key_usage:
        return f"an {key} key does not fit profile {profile}; it takes {', '.join(rules.key_usage)}"
    if rsa_bits is not None and rsa_bits < rules.min_rsa_bits:
        return f"an RSA key of profile {profile} must have {rules.min_rsa_bits} bits or more, not {rsa_bits}"
    return None
