"""``python -m services.certificate``: the certificate service as a process."""

import os

from services.certificate.service import certificate_service
from services.certificate.settings import CertificateSettings
from shared.process.host import run


def main() -> None:
    run("certificate", CertificateSettings, certificate_service, os.environ)


if __name__ == "__main__":
    main()
