"""The custodian signs the TBS of every certificate profile, from the root down."""

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.key.effects import CreateKeyPair, Sign, Signed
from services.key.secrets.kek import KeyFile, unlock
from services.key.secrets.keystore import Keystore
from shared.contracts.certificate.commands import SignCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateSigned
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.in_memory_ca import Authority, private_key, request

LEAVES = (
    Profile.PIV_AUTHENTICATION,
    Profile.PIV_DIGITAL_SIGNATURE,
    Profile.PIV_KEY_MANAGEMENT,
    Profile.PIV_CARD_AUTHENTICATION,
)


class Public:
    """A key of which only the public half is here."""

    def __init__(self, made):
        self.key_id = made.request.key_id
        self._public = load_pem_public_key(made.public_key_pem.encode())

    def public_key(self):
        return self._public


@pytest.mark.parametrize("algorithm", [Algorithm.EC_P256, Algorithm.EC_P384, Algorithm.ED25519, Algorithm.RSA_2048])
async def test_the_custodian_signs_what_the_certificate_service_builds(client, algorithm):
    await declare(client)
    bucket = KeyValue(client.jetstream(), "KEYS_SECRETS")
    keystore, people = Keystore(bucket, await unlock(bucket, KeyFile(bytes(32)))), Authority()

    async def authority():
        pair = CreateKeyPair(key_id=str(new_id()), algorithm=algorithm, purpose=Purpose.CERTIFICATE_SIGNING)
        return Public(await keystore.perform(pair))

    async def issue(command, signer):
        created = await people.ask(command)
        assert isinstance(created, CertificateCreated), created
        asked = Sign(
            key_id=signer.key_id,
            message=created.tbs,
            signature_algorithm=created.signature_algorithm,
            purpose=Purpose.CERTIFICATE_SIGNING,
        )
        signed = await keystore.perform(asked)
        assert isinstance(signed, Signed), signed
        command = SignCertificate(certificate_id=created.certificate_id, signature=signed.signature)
        answer = await people.ask(command)
        assert isinstance(answer, CertificateSigned), answer
        return answer

    top, middle = await authority(), await authority()
    root = await issue(request(Profile.ROOT, top, key_id=top.key_id), top)
    below = {"key_id": middle.key_id, "issuer_id": root.certificate_id}
    issuing = await issue(request(Profile.INTERMEDIATE, middle, **below), top)
    for profile in LEAVES:
        leaf = private_key(Algorithm.EC_P256, profile)
        await issue(request(profile, leaf, issuer_id=issuing.certificate_id), middle)
