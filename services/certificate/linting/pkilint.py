"""pkilint, the independent linter, in a process of its own: it takes milliseconds, which the loop has not to spare."""

import asyncio
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import Transient

_MISTAKEN = ("Invalid domain name syntax: ", "Invalid URI syntax: ")
"""How it speaks of what it does not know: wildcards, hosts of one label, URNs, SPIFFE. Our own rules see to them."""
_NOT_SIGNED_YET = "pkix.signature_verification_failed"
"""What it says of the stand-in's signature."""
_LOOK_EVERY = 1.0


class Pkilint:
    """Reads a certificate, and beside its issuer's, once it is built and before anybody signs it."""

    def __init__(self) -> None:
        self._pool = _pool()

    async def lint(self, certificate: x509.Certificate, issuer: x509.Certificate | None) -> list[str]:
        """What it finds that is a warning or worse. Raises Transient when its process died: a new one is begun."""
        der = certificate.public_bytes(Encoding.DER)
        issuer_der = (certificate if issuer is None else issuer).public_bytes(Encoding.DER)
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, findings, der, issuer_der)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = _pool()
            raise Transient("the linter's process died; a new one is begun") from None

    def warm_up(self) -> None:
        """Have the process begin to import what it needs, which takes a second, before a certificate waits for it."""
        self._pool.submit(_import)

    async def end(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _pool() -> ProcessPoolExecutor:
    # spawned, not forked: a fork would take this process's threads' locks with it
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))


def _begin(service: int) -> None:
    """Nothing tells this process that the service was killed: it looks."""
    threading.Thread(target=_end_with, args=(service,), daemon=True).start()


def _end_with(service: int) -> None:
    while os.getppid() == service:
        time.sleep(_LOOK_EVERY)
    os._exit(0)


def _import() -> None:
    _linter()


def findings(der: bytes, issuer_der: bytes) -> list[str]:
    """As pkilint's own lint_pkix_cert and lint_pkix_signer_signee_cert_chain say it; runs in the linter's process."""
    from pkilint import loader  # noqa: PLC0415 - only the linter's own process pays the second that it takes
    from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain  # noqa: PLC0415 - as above
    from pkilint.validation import ValidationFindingSeverity  # noqa: PLC0415 - as above

    results = _linter().validate(loader.load_der_certificate(der, "certificate").root)
    documents: dict[str, Any] = {}
    documents["issuer"] = issuer = loader.load_der_certificate(issuer_der, "issuer", "issuer", documents)
    documents["subject"] = subject = loader.load_der_certificate(der, "subject", "subject", documents)
    decoding = chain.create_decoder_validation_container()
    results += [*decoding.validate(issuer.root), *decoding.validate(subject.root)]
    results += chain.create_subject_validation_container().validate(subject.root)
    return [
        f"{found.finding.code}: {found.message}" if found.message else str(found.finding.code)
        for result in results
        for found in result.finding_descriptions
        if found.finding.severity <= ValidationFindingSeverity.WARNING
        and found.finding.code != _NOT_SIGNED_YET
        and not (found.message or "").startswith(_MISTAKEN)
    ]


@cache
def _linter() -> Any:
    from pkilint.pkix import certificate, extension, name  # noqa: PLC0415 - only the linter's own process pays for it

    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
