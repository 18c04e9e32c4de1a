"""Names that a certificate must be good for: hosts, IP addresses, mailboxes, and how they are matched (RFC 9525)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import assert_never

from cryptography import x509

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_LONGEST = 253


@dataclass(frozen=True, slots=True)
class Host:
    value: str


@dataclass(frozen=True, slots=True)
class Address:
    value: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Mailbox:
    value: str


PeerName = Host | Address | Mailbox


def peer_name(text: str) -> PeerName:
    """Which of them *text* is. Raises ValueError where it is none."""
    if is_mailbox(text):
        return Mailbox(text)
    try:
        return Address(ip_address(text))
    except ValueError:
        if not is_host(text.removesuffix(".")):
            raise ValueError(f"{text} is no host name, IP address or mailbox") from None
        return Host(text.removesuffix("."))


def is_host(name: str) -> bool:
    """RFC 5280, 4.2.1.6: the preferred name syntax. What ends in a number is an address (RFC 1123, 2.1)."""
    labels = name.split(".")
    return len(name) <= _LONGEST and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def is_host_or_wildcard(name: str) -> bool:
    """RFC 9525, 6.3: a wildcard is the whole of the leftmost label, and something stands behind it."""
    return is_host(name.removeprefix("*."))


def is_mailbox(text: str) -> bool:
    """RFC 5280, 4.2.1.6: local-part@domain in ASCII, without a phrase, a comment or angle brackets."""
    local, at, domain = text.rpartition("@")
    printable = text.isascii() and text.isprintable() and not re.search(r'[\s<>()",:;\\\[\]]', local)
    return bool(at and local and printable) and "@" not in local and is_host(domain)


def matches(name: PeerName, certificate_names: tuple[x509.GeneralName, ...]) -> bool:
    """Only alternative names are looked at: a common name names no peer (RFC 9525, 6.3; RFC 9598 for mailboxes)."""
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


def same_mailbox(one: str, other: str) -> bool:
    """RFC 5280, 7.5: the local part as it is, the domain without regard to case."""
    (local, _, domain), (other_local, _, other_domain) = one.rpartition("@"), other.rpartition("@")
    return local == other_local and domain.lower() == other_domain.lower()


def _host_matches(presented: str, wanted: str) -> bool:
    presented, wanted = presented.lower(), wanted.lower()
    if presented.startswith("*."):
        _, _, parent = wanted.partition(".")
        return parent == presented.removeprefix("*.")
    return presented == wanted


Relative = frozenset[tuple[str, str]]
Distinguished = tuple[Relative, ...]


def distinguished(name: x509.Name) -> Distinguished:
    return tuple(frozenset((each.oid.dotted_string, _prepared(each.value)) for each in rdn) for rdn in name.rdns)


def lies_within(name: Distinguished, subtree: Distinguished) -> bool:
    """RFC 5280, 7.1: the subtree's relative names are the first ones of the name."""
    return name[: len(subtree)] == subtree


def _prepared(value: str | bytes) -> str:
    """Much of RFC 4518: mapped, normalised, insignificant blanks taken out."""
    if isinstance(value, bytes):
        return value.hex()
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
