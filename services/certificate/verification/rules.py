"""What a path is judged by: the rules, what it is to be good for, and how much work may be done for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from shared.contracts.certificate.vocabulary import VerifiedUsage

PURPOSES: dict[VerifiedUsage, ObjectIdentifier | None] = {
    VerifiedUsage.ANY: None,
    VerifiedUsage.TLS_SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    VerifiedUsage.TLS_CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    VerifiedUsage.EMAIL: ExtendedKeyUsageOID.EMAIL_PROTECTION,
    VerifiedUsage.CODE_SIGNING: ExtendedKeyUsageOID.CODE_SIGNING,
    VerifiedUsage.OCSP_RESPONDER: ExtendedKeyUsageOID.OCSP_SIGNING,
}


class Place(StrEnum):
    """Where a certificate stands in a path."""

    LEAF = "leaf"
    INTERMEDIATE = "intermediate"
    ANCHOR = "anchor"


def is_top_level(suffix: str) -> bool:
    """As much of the Public Suffix List as is known without it: its rule for what it does not list is `*`."""
    return "." not in suffix


@dataclass(frozen=True, slots=True)
class Rules:
    """RFC 5280 and, where *web* is set, what the CA/Browser Forum's Baseline Requirements (BR) say beside it.

    *is_public_suffix* tells under which names no wildcard may stand (BR 3.2.2.6). Our own PKI is no part of the web's:
    its names end in what no list knows, and a common name there may be any.
    """

    web: bool = False
    is_public_suffix: Callable[[str], bool] = is_top_level


RFC_5280 = Rules()
WEB = Rules(web=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done before a path is given up.

    *intermediates*: how many a path may have, self-issued ones not counted; *length*: with them, and with both ends.
    *names*: how often a name is compared with a subtree of name constraints (RFC 5280, section 8, has no number).
    """

    intermediates: int = 10
    length: int = 24
    signatures: int = 250
    steps: int = 5000
    names: int = 250_000


LIMITS = Limits()


class Exhausted(Exception):
    """More work than the limits allow: what asks for it is no honest path."""


class Work:
    """What is done, counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.signatures = self.steps = self.names = 0

    def check_signature(self) -> None:
        self.signatures += 1
        if self.signatures > self._limits.signatures:
            raise Exhausted(f"more than {self._limits.signatures} signatures would have to be checked")

    def step(self) -> None:
        self.steps += 1
        if self.steps > self._limits.steps:
            raise Exhausted(f"more than {self._limits.steps} issuers would have to be tried")

    def compare_names(self, count: int) -> None:
        self.names += count
        if self.names > self._limits.names:
            raise Exhausted(f"more than {self._limits.names} names would have to be compared with name constraints")
