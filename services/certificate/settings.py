"""Settings of the certificate service."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, model_validator

from services.certificate.policy.file import Policies, policy_from
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.policy.rules import Policy, SshRule
from shared.errors import Unusable
from shared.process.settings import Accepts, ServiceSettings, Switch


class CertificateSettings(ServiceSettings):
    """Settings of the certificate service."""

    policy_file: Annotated[Path, Accepts("the path of a policy file")] | None = Field(
        None,
        validation_alias="CERTIFICATE_POLICY_FILE",
        description="the policy of issuance; unset: anything is allowed",
    )
    public_url: Annotated[str, Accepts("an http:// URL")] | None = Field(
        None, validation_alias="PUBLIC_URL", description="the repository's address in certificates; unset: none"
    )
    ml_dsa: Switch = Field(default=False, validation_alias="ENABLE_ML_DSA", description="allows ML-DSA-65 signatures")
    ocsp: OcspPolicy = OcspPolicy()
    _policies: Policies = PrivateAttr()

    @property
    def policy(self) -> Policy:
        """Returns the rules for X.509 certificates."""
        return replace(self._policies.x509, ml_dsa=self.ml_dsa)

    @property
    def ssh_rules(self) -> tuple[SshRule, ...]:
        return self._policies.ssh

    @model_validator(mode="after")
    def _read_policies(self) -> Self:
        try:
            self._policies = policy_from(self.policy_file, self.public_url)
        except Unusable as error:
            raise ValueError(str(error)) from error
        return self
