"""Comparison of names: peers with SANs (RFC 9525), and distinguished names (RFC 5280, 7.1). Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import assert_never

from cryptography import x509

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_MAX_HOST_LENGTH = 253


@dataclass(frozen=True, slots=True)
class Host:
    """A host name to match."""

    value: str


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address to match."""

    value: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An e-mail address to match."""

    value: str


PeerName = Host | Address | Mailbox


def parse_peer_name(text: str) -> PeerName:
    """Parses a mailbox, an IP address or a host name. Raises ValueError for any other text."""
    if is_mailbox(text):
        return Mailbox(text)
    try:
        return Address(ip_address(text))
    except ValueError:
        if not is_host(text.removesuffix(".")):
            raise ValueError(f"{text} is no host name, IP address or mailbox") from None
        return Host(text.removesuffix("."))


def is_host(name: str) -> bool:
    """Tells whether *name* has the preferred name syntax (RFC 5280, 4.2.1.6) and no number at its end (RFC 1123)."""
    labels = name.split(".")
    return len(name) <= _MAX_HOST_LENGTH and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def is_host_or_wildcard(name: str) -> bool:
    """Tells whether *name* is a host, or a wildcard as the whole leftmost label (RFC 9525, 6.3)."""
    return is_host(name.removeprefix("*."))


def is_mailbox(text: str) -> bool:
    """Tells whether *text* is local-part@domain in ASCII, without phrase or comment (RFC 5280, 4.2.1.6)."""
    local, at, domain = text.rpartition("@")
    printable = text.isascii() and text.isprintable() and not re.search(r'[\s<>()",:;\\\[\]]', local)
    return bool(at and local and printable) and "@" not in local and is_host(domain)


def matches_peer(name: PeerName, certificate_names: tuple[x509.GeneralName, ...]) -> bool:
    """Tells whether a SAN matches the peer. Common names do not count (RFC 9525, 6.3; RFC 9598 for mailboxes)."""
    match name:
        case Host(value):
            return any(_host_matches(each.value, value) for each in certificate_names if isinstance(each, x509.DNSName))
        case Address(value):
            return any(each.value == value for each in certificate_names if isinstance(each, x509.IPAddress))
        case Mailbox(value):
            mailboxes = [each.value for each in certificate_names if isinstance(each, x509.RFC822Name)]
            return any(same_mailbox(each, value) for each in mailboxes)
        case _:
            assert_never(name)


def same_mailbox(first: str, second: str) -> bool:
    """Compares the local part exactly and the domain without case (RFC 5280, 7.5)."""
    (local, _, domain), (other_local, _, other_domain) = first.rpartition("@"), second.rpartition("@")
    return local == other_local and domain.lower() == other_domain.lower()


def _host_matches(presented: str, expected: str) -> bool:
    presented, expected = presented.lower(), expected.lower()
    if presented.startswith("*."):
        _, _, parent = expected.partition(".")
        return parent == presented.removeprefix("*.")
    return presented == expected


ComparableRdn = frozenset[tuple[str, str]]
ComparableName = tuple[ComparableRdn, ...]


def comparable_name(name: x509.Name) -> ComparableName:
    """Converts a name for comparison without regard to case, width and repeated spaces (RFC 5280, 7.1)."""
    return tuple(frozenset((each.oid.dotted_string, _prepare(each.value)) for each in rdn) for rdn in name.rdns)


def is_within_subtree(name: ComparableName, subtree: ComparableName) -> bool:
    """Tells whether the RDNs of *subtree* are the first ones of *name* (RFC 5280, 7.1)."""
    return name[: len(subtree)] == subtree


def _prepare(value: str | bytes) -> str:
    """Prepares a value for comparison by the main steps of RFC 4518: NFKC, case folding, single spaces."""
    if isinstance(value, bytes):
        return value.hex()
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
