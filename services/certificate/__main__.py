"""``python -m services.certificate``: the only module of the service that reads the environment."""

import os

from faststream import FastStream

from services.certificate.service import Settings, certificate_service
from shared.host import run


def build() -> FastStream:
    return certificate_service(Settings(nats_url=os.environ.get("NATS_URL", "nats://127.0.0.1:4222")))


def main() -> None:
    run("certificate", build)


if __name__ == "__main__":
    main()
