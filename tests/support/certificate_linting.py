"""Findings of pkilint, an independent linter, on a certificate and on a pair of certificate and issuer."""

from functools import lru_cache

from pkilint import finding_filter, loader
from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain
from pkilint.cabf import serverauth
from pkilint.cabf.serverauth import serverauth_constants
from pkilint.pkix import certificate, extension, name
from pkilint.validation import ValidationFindingSeverity

_SERVER = serverauth_constants.CertificateType.OV_FINAL_CERTIFICATE


@lru_cache
def _linter():
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


def findings(pem, issuer_pem, worst=ValidationFindingSeverity.WARNING):
    """Returns findings of at least *worst* by `lint_pkix_cert` and `lint_pkix_signer_signee_cert_chain`."""
    results = _linter().validate(loader.load_pem_certificate(pem, "certificate").root)
    documents = {}
    documents["issuer"] = issuer = loader.load_pem_certificate(issuer_pem, "issuer", "issuer", documents)
    documents["subject"] = subject = loader.load_pem_certificate(pem, "subject", "subject", documents)
    decoding = chain.create_decoder_validation_container()
    results += [*decoding.validate(issuer.root), *decoding.validate(subject.root)]
    results += chain.create_issuer_validation_container().validate(issuer.root)
    results += chain.create_subject_validation_container().validate(subject.root)
    return _messages(results, worst)


@lru_cache
def _server_linter():
    return certificate.create_pkix_certificate_validator_container(
        serverauth.create_decoding_validators(), serverauth.create_validators(_SERVER)
    )


def server_findings(pem, worst=ValidationFindingSeverity.WARNING):
    """Returns findings of `lint_cabf_serverauth_cert`: the CA/Browser Forum's baseline requirements."""
    results = _server_linter().validate(loader.load_pem_certificate(pem, "certificate").root)
    results, _ = finding_filter.filter_results(serverauth.create_serverauth_finding_filters(_SERVER), results)
    return _messages(results, worst)


def _messages(results, worst):
    return [
        f"{found.finding.severity.name} {found.finding.code}: {found.message}"
        for result in results
        for found in result.finding_descriptions
        if found.finding.severity <= worst
    ]
