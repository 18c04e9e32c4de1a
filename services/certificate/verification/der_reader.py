"""DER reader for parts of a certificate that `cryptography` does not expose or does not check. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_INTEGER, _BIT_STRING, _OCTET_STRING, _SEQUENCE = 0x02, 0x03, 0x04, 0x30
_ALL_BITS = b"\0"
_VERSION, _EXTENSIONS = 0xA0, 0xA3  # [0] and [3] of the TBSCertificate (RFC 5280, 4.1)
_OBJECT_IDENTIFIER, _EC_PUBLIC_KEY = 0x06, bytes.fromhex("2a8648ce3d0201")
_LONG_FORM = _MORE = 0x80
_MAX_LENGTH_OCTETS = 4


@dataclass(frozen=True, slots=True)
class Element:
    """A DER element with a tag of one octet; *whole* includes tag and length."""

    tag: int
    content: bytes
    whole: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Raw parts of a certificate: *serial* is the content of the INTEGER, the others are whole elements."""

    serial: bytes
    inner_algorithm: bytes
    outer_algorithm: bytes
    spki: bytes
    extensions: dict[bytes, bytes]


def read_skeleton(certificate: bytes) -> Skeleton:
    """Splits a certificate into its raw parts. Raises ValueError for bytes that are not a certificate."""
    parts = _parts(certificate)
    tbs, outer, signature = _require_length(parts, 3)
    if signature.tag != _BIT_STRING or signature.content[:1] != _ALL_BITS:
        raise ValueError("its signature is no BIT STRING of whole octets")  # or two encodings would be one certificate
    fields = list(elements(tbs.content))
    if fields and fields[0].tag == _VERSION:
        del fields[0]
    if len(fields) < 6 or fields[0].tag != _INTEGER:  # noqa: PLR2004 - serialNumber to subjectPublicKeyInfo
        raise ValueError("it is no TBSCertificate")
    extensions = next((field for field in fields if field.tag == _EXTENSIONS), None)
    values = {} if extensions is None else _extensions(extensions)
    return Skeleton(
        serial=fields[0].content,
        inner_algorithm=fields[1].whole,
        outer_algorithm=outer.whole,
        spki=fields[5].whole,
        extensions=values,
    )


def has_distances(name_constraints: bytes) -> bool:
    """Tells whether a subtree has minimum or maximum, which RFC 5280, 4.2.1.10, forbids."""
    subtrees = (subtree for trees in _parts(name_constraints) for subtree in elements(trees.content))
    return any(len(list(elements(subtree.content))) > 1 for subtree in subtrees)


def policy_mapping_pairs(policy_mappings: bytes) -> list[tuple[str, str]]:
    """Returns the issuer and subject domain policy of each mapping (RFC 5280, 4.2.1.5), dotted."""
    found = []
    for mapping in _parts(policy_mappings):
        issuers, subjects = _require_length(list(elements(mapping.content)), 2)
        found.append((_decode_oid(issuers), _decode_oid(subjects)))
    return found


def _decode_oid(identifier: Element) -> str:
    """Decodes an OBJECT IDENTIFIER (X.690, 8.19)."""
    if identifier.tag != _OBJECT_IDENTIFIER or not identifier.content or identifier.content[-1] & _MORE:
        raise ValueError("it is no OBJECT IDENTIFIER")
    arcs, arc = [], 0
    for octet in identifier.content:
        arc = arc << 7 | octet & ~_MORE
        if not octet & _MORE:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def has_explicit_curve(spki: bytes) -> bool:
    """Tells whether an EC key has explicit curve parameters, which RFC 5480, 2.1.1, forbids."""
    algorithm, *_ = _parts(spki)
    oid, *parameters = elements(algorithm.content)
    return oid.content == _EC_PUBLIC_KEY and [each.tag for each in parameters] != [_OBJECT_IDENTIFIER]


def elements(content: bytes) -> Iterator[Element]:
    """Yields the elements that *content* is a sequence of."""
    at = 0
    while at < len(content):
        begin, end = _content(content, at)
        yield Element(content[at], content[begin:end], content[at:end])
        at = end


def _extensions(field: Element) -> dict[bytes, bytes]:
    """Returns the extension values by the encoded OID."""
    found = {}
    for extension in elements(_require_length(list(elements(field.content)), 1)[0].content):
        oid, *_, value = elements(extension.content)
        if value.tag == _OCTET_STRING:
            found[oid.content] = value.content
    return found


def _parts(encoded: bytes) -> list[Element]:
    (outermost,) = _require_length(list(elements(encoded)), 1)
    if outermost.tag != _SEQUENCE:
        raise ValueError("it is no SEQUENCE")
    return list(elements(outermost.content))


def _require_length(found: list[Element], expected: int) -> list[Element]:
    if len(found) != expected:
        raise ValueError("it does not have the parts that it must have")
    return found


def _content(encoded: bytes, at: int) -> tuple[int, int]:
    """Returns begin and end of the content of the element at *at* (X.690, 8.1.3 and 10.1)."""
    if at + 2 > len(encoded):
        raise ValueError("it ends too early")
    length, begin = encoded[at + 1], at + 2
    if length & _LONG_FORM:
        octets = length & ~_LONG_FORM
        if not 0 < octets <= _MAX_LENGTH_OCTETS:
            raise ValueError("a length of it is not DER")
        length, begin = int.from_bytes(encoded[begin : begin + octets]), begin + octets
    if begin + length > len(encoded):
        raise ValueError("it ends too early")
    return begin, begin + length
