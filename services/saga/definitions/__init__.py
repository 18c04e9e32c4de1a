"""Every saga the coordinator knows. A new saga is a new module here and a new name in this tuple."""

from services.saga.definitions.certificate_expiry import CERTIFICATE_EXPIRY
from services.saga.definitions.certificate_issuance import CERTIFICATE_ISSUANCE
from services.saga.definitions.certificate_provisioning import CERTIFICATE_PROVISIONING
from services.saga.definitions.certificate_renewal import CERTIFICATE_RENEWAL
from services.saga.definitions.crl_publication import CRL_PUBLICATION
from services.saga.definitions.device_lost import DEVICE_LOST
from services.saga.definitions.key_expiry import KEY_EXPIRY
from services.saga.definitions.key_rotation import KEY_ROTATION
from services.saga.definitions.nats_provisioning import NATS_PROVISIONING
from services.saga.definitions.nats_users import NATS_USER_ISSUANCE, NATS_USER_REVOCATION
from services.saga.definitions.ocsp_publication import OCSP_PUBLICATION
from services.saga.definitions.person_offboarding import PERSON_OFFBOARDING
from services.saga.definitions.person_onboarding import PERSON_ONBOARDING
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP, PKI_BOOTSTRAP_1
from services.saga.definitions.ssh_certificate_issuance import SSH_CERTIFICATE_ISSUANCE

DEFINITIONS = (
    PKI_BOOTSTRAP_1,
    PKI_BOOTSTRAP,
    CERTIFICATE_PROVISIONING,
    CERTIFICATE_ISSUANCE,
    CERTIFICATE_RENEWAL,
    CERTIFICATE_EXPIRY,
    KEY_EXPIRY,
    CRL_PUBLICATION,
    OCSP_PUBLICATION,
    SSH_CERTIFICATE_ISSUANCE,
    KEY_ROTATION,
    PERSON_ONBOARDING,
    PERSON_OFFBOARDING,
    DEVICE_LOST,
    NATS_PROVISIONING,
    NATS_USER_ISSUANCE,
    NATS_USER_REVOCATION,
)
