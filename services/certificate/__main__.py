"""``python -m services.certificate``: the only module of the service that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from faststream import FastStream

from services.certificate.policy import Policy
from services.certificate.policy_file import policy_from
from services.certificate.service import Settings, certificate_service
from shared.host import run, switched_on


def settings_from(environment: Mapping[str, str]) -> Settings:
    enabled = switched_on(environment, "ENABLE_ML_DSA")
    path, url = environment.get("CERTIFICATE_POLICY_FILE"), environment.get("PUBLIC_URL")
    policy = Policy() if not path and not url else policy_from(Path(path) if path else None, url or None)
    return Settings(environment.get("NATS_URL") or "nats://127.0.0.1:4222", replace(policy, ml_dsa=enabled))


def build() -> FastStream:
    return certificate_service(settings_from(os.environ))


def main() -> None:
    run("certificate", build)


if __name__ == "__main__":
    main()
