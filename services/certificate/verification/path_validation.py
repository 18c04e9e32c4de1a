"""Validation of a whole path from its anchor to its leaf (RFC 5280, 6.1; RFC 5937 for the anchor). Pure.

Path building has already checked each certificate (`certificate_checks`) and each signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509

from services.certificate.verification.budget import Budget
from services.certificate.verification.certificate_checks import check_issuer_purpose
from services.certificate.verification.certificate_policies import check_policies
from services.certificate.verification.crl_checks import RevocationCheck, RevocationStatus, no_revocation_check
from services.certificate.verification.name_constraints import find_violation
from services.certificate.verification.name_matching import PeerName
from services.certificate.verification.parsed_certificate import ParsedCertificate
from shared.contracts.certificate.value_types import VerifiedUsage


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Inputs of path validation (RFC 5280, 6.1.1): the instant, the usage, and names that must all match."""

    at: datetime
    usage: VerifiedUsage = VerifiedUsage.ANY
    names: tuple[PeerName, ...] = ()
    revocation: RevocationCheck = no_revocation_check


def check_path(path: Sequence[ParsedCertificate], options: VerifyOptions, budget: Budget) -> str | None:
    """Returns what is wrong with *path*, whose last certificate is the anchor, or None."""
    return (
        _check_length(path)
        or _check_purposes(path, options.usage)
        or _check_names(path, budget)
        or check_policies(path)
        or _check_revocation(path, options, budget)
    )


def _check_length(path: Sequence[ParsedCertificate]) -> str | None:
    """Applies pathLenConstraint; self-issued certificates do not count (RFC 5280, 6.1.4 (l) and (m))."""
    remaining: int | None = None
    for ca in reversed(path[1:]):
        if ca is not path[-1] and not ca.is_self_issued and remaining is not None:
            if remaining == 0:
                return f"{ca.title}: one of its issuers allows no further CA (RFC 5280, 4.2.1.9)"
            remaining -= 1
        basic = ca.find(x509.BasicConstraints)
        own = None if basic is None else basic.path_length
        if own is not None:
            remaining = own if remaining is None else min(remaining, own)
    return None


def _check_purposes(path: Sequence[ParsedCertificate], usage: VerifiedUsage) -> str | None:
    for ca in path[1:]:
        if (reason := check_issuer_purpose(ca, usage)) is not None:
            return f"{ca.title}: {reason}"
    return None


def _check_names(path: Sequence[ParsedCertificate], budget: Budget) -> str | None:
    """Applies each CA's name constraints to all certificates below it but self-issued CAs (RFC 5280, 6.1.3 (b), (c)).

    Applying each in turn equals the intersection of permitted and the union of excluded subtrees.
    """
    for depth, ca in enumerate(path[1:], start=1):
        constraints = ca.find(x509.NameConstraints)
        if constraints is None:
            continue
        for below, certificate in enumerate(path[:depth]):
            if certificate.is_self_issued and below > 0:
                continue
            if (reason := find_violation(constraints, certificate, budget)) is not None:
                return f"{certificate.title}: by the name constraints of {ca.title}, {reason}"
    return None


def _check_revocation(path: Sequence[ParsedCertificate], options: VerifyOptions, budget: Budget) -> str | None:
    """Checks the revocation status of all but the anchor (RFC 5280, 6.1.3 (a) (3))."""
    for certificate, issuer in pairwise(path):
        match options.revocation(certificate, issuer, options.at, budget):
            case RevocationStatus.GOOD:
                continue
            case RevocationStatus.REVOKED:
                return f"{certificate.title}: it was revoked at that instant"
            case RevocationStatus.ON_HOLD:
                return f"{certificate.title}: it was on hold at that instant"
            case RevocationStatus.UNDETERMINED:
                return f"{certificate.title}: no usable CRL tells whether it was revoked"
    return None
