"""Trust anchors for attestation: Yubico's root certificates, pinned by fingerprint, and intermediates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from shared.errors import Unusable

YUBICO_ROOTS = {
    "63ece914e54dd87915f34033c85af4c0696ba1512f8add66ced738331207b546": "Yubico PIV Root CA Serial 263751",
    "7e996a28e3055223733c9aec897900eda9b746e3e15d419556ac6a1179879a50": "the same root as encoded before 2018",
    "62760c6a6ef91679f454c8902b80fd009825b3f25da90f1fbace2ec6586cd5a8": "Yubico Attestation Root 1 (firmware 5.7.4)",
    "0fa1386f80eb8713263ae5c1d84deb455bdf08aea50ab05503cefee82b092d42": "Yubico U2F Root CA Serial 457200631",
}
"""SHA-256 fingerprints of Yubico's roots (roots/README.md). Intermediates need no pin: a root signed them."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Root certificates under which devices of one make attest, and the intermediates that may be between."""

    roots: tuple[x509.Certificate, ...] = ()
    intermediates: tuple[x509.Certificate, ...] = ()


def yubico_trust(more: Path | None = None) -> Trust:
    """Trust for real devices: the shipped certificates, and those in the PEM files of the directory *more*.

    Raises Unusable for a root that is not pinned.
    """
    shipped = [
        certificate
        for file in (files("services.yubikey") / "roots").iterdir()
        if file.name.endswith(".pem")
        for certificate in x509.load_pem_x509_certificates(file.read_bytes())
    ]
    certificates = shipped + (_certificates_in(more) if more is not None else [])
    roots = {fingerprint(c): c for c in certificates if c.subject == c.issuer}
    if not roots.keys() <= YUBICO_ROOTS.keys():
        problem = f"YUBIKEY_ROOTS: {more} contains a root that is not Yubico's (https://developers.yubico.com/PKI/)"
        raise Unusable(f"{problem}; put only intermediates there")
    return Trust(tuple(roots.values()), tuple(c for c in certificates if c.subject != c.issuer))


def _certificates_in(directory: Path) -> list[x509.Certificate]:
    try:
        pems = [file.read_bytes() for file in sorted(directory.glob("*.pem"))]
        certificates = [certificate for pem in pems for certificate in x509.load_pem_x509_certificates(pem)]
    except (OSError, ValueError) as error:
        raise Unusable(f"YUBIKEY_ROOTS: {directory} contains a file that is not a PEM of certificates") from error
    if not certificates:
        raise Unusable(f"YUBIKEY_ROOTS: {directory} has no certificate in a file *.pem")
    return certificates


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()
