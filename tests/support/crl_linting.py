"""Findings of pkilint, an independent linter, on a CRL."""

from functools import lru_cache

from pkilint import loader, pkix
from pkilint.pkix import crl, extension, name
from pkilint.validation import ValidationFindingSeverity


@lru_cache
def _crl_linter():
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


def crl_findings(pem, worst=ValidationFindingSeverity.WARNING):
    """Returns findings of at least *worst* by `lint_crl lint -t CRL -p PKIX`."""
    document = loader.RFC5280CertificateListDocumentLoader().load_pem_document(pem, "crl")
    return [
        f"{found.finding.severity.name} {found.finding.code}: {found.message}"
        for result in _crl_linter().validate(document.root)
        for found in result.finding_descriptions
        if found.finding.severity <= worst
    ]
