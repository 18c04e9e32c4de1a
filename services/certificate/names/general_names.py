"""A GeneralName (RFC 5280, 4.2.1.6) in the words of our contracts, so that anybody can read it."""

from collections.abc import Mapping
from typing import Final

from cryptography import x509

from shared.contracts.certificate.vocabulary import SanKind

_UPN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING, _SHORT = 0x0C, 0x80


def described(name: x509.GeneralName) -> Mapping[str, str]:
    """Its kind and value; a kind that no request can ask for stands here too, for a certificate may be imported."""
    match name:
        case x509.RFC822Name():
            return {"kind": SanKind.EMAIL, "value": name.value}
        case x509.DNSName():
            return {"kind": SanKind.DNS, "value": name.value}
        case x509.UniformResourceIdentifier():
            return {"kind": SanKind.URI, "value": name.value}
        case x509.IPAddress():
            return {"kind": SanKind.IP, "value": str(name.value)}
        case x509.OtherName(type_id=type_id) if type_id == _UPN and (upn := _utf8_string(name.value)) is not None:
            return {"kind": SanKind.UPN, "value": upn}
        case x509.OtherName():
            return {"kind": "other-name", "value": name.type_id.dotted_string}
        case x509.DirectoryName():
            return {"kind": "directory-name", "value": name.value.rfc4514_string()}
        case x509.RegisteredID():
            return {"kind": "registered-id", "value": name.value.dotted_string}
        case _:
            return {"kind": "unknown", "value": type(name).__name__}


def _utf8_string(encoded: bytes) -> str | None:
    """The text of a DER UTF8String of less than 128 octets, or None."""
    if len(encoded) < 2 or encoded[0] != _UTF8_STRING or encoded[1] >= _SHORT or encoded[1] != len(encoded) - 2:  # noqa: PLR2004 - tag and length
        return None
    return encoded[2:].decode(errors="replace")
