"""``python -m services.certificate``: the only module of the service that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from services.certificate.policy.file import policy_from
from services.certificate.service import Settings, certificate_service
from shared.nats.connection import Access
from shared.process.host import Service, run
from shared.process.settings import switch


def settings_from(environment: Mapping[str, str]) -> Settings:
    enabled = switch(environment, "ENABLE_ML_DSA")
    path, url = environment.get("CERTIFICATE_POLICY_FILE"), environment.get("PUBLIC_URL")
    policies = policy_from(Path(path) if path else None, url or None)
    x509 = replace(policies.x509, ml_dsa=enabled)
    nats_url, access = environment.get("NATS_URL") or "nats://127.0.0.1:4222", Access.from_environment(environment)
    return Settings(nats_url, x509, policies.ssh, access=access)


def build() -> Service:
    return certificate_service(settings_from(os.environ))


def main() -> None:
    run("certificate", build, os.environ)


if __name__ == "__main__":
    main()
