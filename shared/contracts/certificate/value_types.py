"""Value types of certificate messages: profiles, names, name constraints, revocation reasons."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from shared.contracts.base import Name
from shared.contracts.key.value_types import Value


class Profile(StrEnum):
    ROOT = "root"
    INTERMEDIATE = "intermediate"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"
    PIV_AUTHENTICATION = "piv-authentication"
    PIV_DIGITAL_SIGNATURE = "piv-digital-signature"
    PIV_KEY_MANAGEMENT = "piv-key-management"
    PIV_CARD_AUTHENTICATION = "piv-card-authentication"
    CODE_SIGNING = "code-signing"
    EMAIL = "email"
    OCSP_RESPONDER = "ocsp-responder"


class RevocationReason(StrEnum):
    """Reasons of RFC 5280, 5.3.1, in its spelling; kebab-case and snake_case are accepted as input.

    certificateHold is `certificate.hold` and removeFromCRL is `certificate.release`: neither is permanent.
    """

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


class CertificateFormat(StrEnum):
    PEM = "pem"
    DER = "der"  # base64; the certificate alone
    PKCS7 = "pkcs7"  # certs-only SignedData, DER in base64: RFC 5652, RFC 8933


class VerifiedUsage(StrEnum):
    """Purposes for which a certificate can be validated."""

    ANY = "any"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"
    EMAIL = "email"
    CODE_SIGNING = "code-signing"
    OCSP_RESPONDER = "ocsp-responder"


_REASONS = {reason.value.lower(): reason for reason in RevocationReason}


def _any_spelling_of_a_reason(value: object) -> object:
    return _REASONS.get(re.sub("[-_]", "", value).lower(), value) if isinstance(value, str) else value


def _bare_piv_purpose(value: object) -> object:
    piv = f"piv-{value}"
    return piv if piv in set(Profile) else value


AnyProfile = Annotated[Profile, BeforeValidator(_bare_piv_purpose)]
Reason = Annotated[RevocationReason, BeforeValidator(_any_spelling_of_a_reason)]
Serial = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,40}$"), Field(description="hexadecimal")]
Email = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$", max_length=254)]


class DistinguishedName(Value):
    """A subject name. An e-mail address goes into the SAN, not into the name (RFC 5280, 4.1.2.6)."""

    common_name: Name
    organization: Name | None = None
    organizational_unit: Name | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None
    email: Email | None = None
    state: Name | None = None
    locality: Name | None = None


class SanKind(StrEnum):
    EMAIL = "email"
    DNS = "dns"
    URI = "uri"
    IP = "ip"
    UPN = "upn"  # [MS-WCCE]'s otherName 1.3.6.1.4.1.311.20.2.3: the account that a smart card logs on to


class SubjectAlternativeName(Value):
    kind: SanKind
    value: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[!-~]+$")]


_Subtrees = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[!-~]+$")], ...],
    Field(max_length=64),
]


class NameConstraints(Value):
    """Name constraints of a CA certificate (RFC 5280, 4.2.1.10).

    dns: example.org (the domain and its subdomains); email: example.org, .example.org,
    or one mailbox; ip: a network in CIDR.
    """

    permitted_dns: _Subtrees = ()
    excluded_dns: _Subtrees = ()
    permitted_email: _Subtrees = ()
    excluded_email: _Subtrees = ()
    permitted_ip: _Subtrees = ()
    excluded_ip: _Subtrees = ()
