"""What each kind of certificate says of its key, how long it may live, and what it may issue: data, nothing else.

The PIV profiles follow FIPS 201-3 and SP 800-73-5: one for each of the slots 9A, 9C, 9D and 9E.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.keying import Algorithm
from shared.contracts.naming import Profile


class KeyType(StrEnum):
    RSA = "rsa"
    EC = "ec"
    ED25519 = "ed25519"
    X25519 = "x25519"


KEY_TYPES: Mapping[Algorithm, KeyType] = {
    Algorithm.RSA_2048: KeyType.RSA,
    Algorithm.RSA_3072: KeyType.RSA,
    Algorithm.RSA_4096: KeyType.RSA,
    Algorithm.EC_P256: KeyType.EC,
    Algorithm.EC_P384: KeyType.EC,
    Algorithm.ED25519: KeyType.ED25519,
    Algorithm.X25519: KeyType.X25519,
}


class KeyUsage(StrEnum):
    """RFC 5280, 4.2.1.3; keyEncipherment to crlSign in its spelling, made snake_case."""

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
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
    EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
    DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"  # RFC 9336
    SMARTCARD_LOGON = "1.3.6.1.4.1.311.20.2.2"  # [MS-WCCE]
    PIV_CARD_AUTH = "2.16.840.1.101.3.6.8"  # FIPS 201-3


Usages = frozenset[KeyUsage]


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """*key_usage* says what a key of each type is for: of a type that is missing there, no certificate is made.

    *path_length* is how many certification authorities may follow (RFC 5280, 4.2.1.9); None: no authority at all.
    """

    longest_days: int
    key_usage: Mapping[KeyType, Usages]
    path_length: int | None = None
    extended_key_usage: tuple[ExtendedKeyUsage, ...] = ()
    extended_key_usage_critical: bool = False

    @property
    def is_authority(self) -> bool:
        return self.path_length is not None

    def may_issue(self, other: "CertificateProfile") -> bool:
        if self.path_length is None:
            return False
        return other.path_length is None or other.path_length < self.path_length


def _signing(*usages: KeyUsage) -> Mapping[KeyType, Usages]:
    return dict.fromkeys((KeyType.RSA, KeyType.EC, KeyType.ED25519), frozenset(usages))


_THREE_YEARS_AND_A_QUARTER = 1185

ROOT = CertificateProfile(
    longest_days=9131,
    key_usage=_signing(KeyUsage.KEY_CERT_SIGN, KeyUsage.CRL_SIGN),
    path_length=1,
)
INTERMEDIATE = CertificateProfile(
    longest_days=5479,
    key_usage=_signing(KeyUsage.KEY_CERT_SIGN, KeyUsage.CRL_SIGN),
    path_length=0,
)
PIV_AUTHENTICATION = CertificateProfile(
    longest_days=_THREE_YEARS_AND_A_QUARTER,
    key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
    extended_key_usage=(ExtendedKeyUsage.CLIENT_AUTH, ExtendedKeyUsage.SMARTCARD_LOGON),
)
PIV_DIGITAL_SIGNATURE = CertificateProfile(
    longest_days=_THREE_YEARS_AND_A_QUARTER,
    key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE, KeyUsage.CONTENT_COMMITMENT),
    extended_key_usage=(ExtendedKeyUsage.EMAIL_PROTECTION, ExtendedKeyUsage.DOCUMENT_SIGNING),
)
PIV_KEY_MANAGEMENT = CertificateProfile(
    longest_days=_THREE_YEARS_AND_A_QUARTER,
    key_usage={
        KeyType.RSA: frozenset({KeyUsage.KEY_ENCIPHERMENT}),
        KeyType.EC: frozenset({KeyUsage.KEY_AGREEMENT}),
        KeyType.X25519: frozenset({KeyUsage.KEY_AGREEMENT}),  # RFC 8410, section 5: Ed25519 can do neither
    },
    extended_key_usage=(ExtendedKeyUsage.EMAIL_PROTECTION,),
)
PIV_CARD_AUTHENTICATION = CertificateProfile(
    longest_days=_THREE_YEARS_AND_A_QUARTER,
    key_usage=_signing(KeyUsage.DIGITAL_SIGNATURE),
    extended_key_usage=(ExtendedKeyUsage.PIV_CARD_AUTH,),
    extended_key_usage_critical=True,
)

PROFILES: Mapping[Profile, CertificateProfile] = {
    Profile.ROOT: ROOT,
    Profile.INTERMEDIATE: INTERMEDIATE,
    Profile.PIV_AUTHENTICATION: PIV_AUTHENTICATION,
    Profile.PIV_DIGITAL_SIGNATURE: PIV_DIGITAL_SIGNATURE,
    Profile.PIV_KEY_MANAGEMENT: PIV_KEY_MANAGEMENT,
    Profile.PIV_CARD_AUTHENTICATION: PIV_CARD_AUTHENTICATION,
}


def misfit(profile: Profile, key: KeyType) -> str | None:
    """Why a key of this type gets no certificate of *profile*; None: it does."""
    usages = PROFILES[profile].key_usage
    return None if key in usages else f"an {key} key does not fit profile {profile}; it takes {', '.join(usages)}"
