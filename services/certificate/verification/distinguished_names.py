"""Distinguished names as they are compared (RFC 5280, 7.1): without regard to case, to width and to repeated blanks."""

from __future__ import annotations

import unicodedata

from cryptography import x509

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
