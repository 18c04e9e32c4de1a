"""Every saga the coordinator knows. A new saga is a new module here and a new name in this tuple."""

from services.saga.definitions.certificate_provisioning import CERTIFICATE_PROVISIONING
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP

DEFINITIONS = (PKI_BOOTSTRAP, CERTIFICATE_PROVISIONING)
