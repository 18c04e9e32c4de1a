"""pkilint, an independent linter, in a separate process: its run time would block the event loop."""

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

_FALSE_POSITIVES = ("Invalid domain name syntax: ", "Invalid URI syntax: ")
"""False positives about wildcards, single-label hosts, URNs and SPIFFE ids, which our own lints check."""
_PLACEHOLDER_SIGNATURE = "pkix.signature_verification_failed"
"""The finding about the placeholder signature."""
_PARENT_CHECK_S = 1.0


class Pkilint:
    """Lints a certificate, alone and with its issuer's, before it is signed."""

    def __init__(self) -> None:
        self._pool = _pool()

    async def lint(self, certificate: x509.Certificate, issuer: x509.Certificate | None) -> list[str]:
        """Returns findings of level warning and above. Raises Transient if the process died."""
        der = certificate.public_bytes(Encoding.DER)
        issuer_der = (certificate if issuer is None else issuer).public_bytes(Encoding.DER)
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, findings, der, issuer_der)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = _pool()
            raise Transient("the linter's process died; a new one has been started") from None

    def warm_up(self) -> None:
        """Starts the process and its imports, which take a second, before the first certificate."""
        self._pool.submit(_import_pkilint)

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _pool() -> ProcessPoolExecutor:
    # spawn, not fork: a fork would inherit locks held by other threads
    return ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=_watch_parent, initargs=(os.getpid(),)
    )


def _watch_parent(service: int) -> None:
    """Starts a thread that polls the parent: nothing else tells this process that the service was killed."""
    threading.Thread(target=_exit_after, args=(service,), daemon=True).start()


def _exit_after(service: int) -> None:
    while os.getppid() == service:
        time.sleep(_PARENT_CHECK_S)
    os._exit(0)


def _import_pkilint() -> None:
    _linter()


def findings(der: bytes, issuer_der: bytes) -> list[str]:
    """Runs the checks of lint_pkix_cert and lint_pkix_signer_signee_cert_chain, in the linter's process."""
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
        and found.finding.code != _PLACEHOLDER_SIGNATURE
        and not (found.message or "").startswith(_FALSE_POSITIVES)
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
