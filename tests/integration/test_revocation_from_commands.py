"""From `certificate.revoke` to the CRL and the OCSP response that list it, by commands alone."""

import base64

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from services.certificate.service import certificate_service
from shared.contracts.key.value_types import Algorithm
from shared.messages.ids import new_id
from tests.support.in_memory_ca import private_key, public_pem
from tests.support.revocation_pki import sign_with
from tests.support.service_client import ServiceClient, running
from tests.support.settings import certificate_settings

ROOT_KEY, CA_KEY, RESPONDER_KEY, LEAF_KEY = (
    private_key(Algorithm.EC_P256, which) for which in ("root", "ca", "responder", "leaf")
)


class RevocationClient(ServiceClient):
    """Issues and revokes, and signs what the service asks to be signed."""

    async def issue(self, key, signer, **body):
        wish = {"subject": {"common_name": body["profile"]}, "public_key_pem": public_pem(key), "validity_days": 30}
        created = await self.accepted("certificate.create", wish | body, "certificate.created")
        body = {"certificate_id": created["certificate_id"], "signature": signed(signer, created["tbs"])}
        return await self.accepted("certificate.sign", body, "certificate.signed")

    async def crl(self, issuer, key):
        """Returns the serials on the issuer's next CRL; None if the published CRL is still current."""
        issuer_id = issuer["certificate_id"]
        kind, created = await self.request("certificate.create-crl", {"certificate_id": issuer_id})
        if kind == "command.repeated":
            return None
        assert kind == "certificate.crl-created", created
        body = {"certificate_id": issuer_id, "signature": signed(key, created["tbs"])}
        published = await self.accepted("certificate.publish-crl", body, "certificate.crl-published")
        return {f"{each.serial_number:x}" for each in x509.load_pem_x509_crl(published["crl_pem"].encode())}

    async def status(self, leaf, issuer, responder):
        about = {"issuer_id": issuer["certificate_id"], "responder_id": responder["certificate_id"]}
        body = about | {"certificate_ids": [leaf["certificate_id"]]}
        prepared = await self.accepted("ocsp.prepare", body, "ocsp.prepared")
        signatures = [signed(RESPONDER_KEY, each["tbs"]) for each in prepared["answers"]]
        body = {"batch_id": prepared["batch_id"], "signatures": signatures}
        published = await self.accepted("ocsp.publish", body, "ocsp.published")
        response = ocsp.load_der_ocsp_response(base64.b64decode(published["answers"][0]["response"]))
        return response.certificate_status, response.revocation_reason


def signed(key, tbs):
    return base64.b64encode(sign_with(key, base64.b64decode(tbs))).decode()


async def revoke(people, certificate_id, **reason):
    return await people.request("certificate.revoke", {"certificate_id": certificate_id, **reason})


@pytest.fixture(name="people")
async def _people(server, client):
    async with running(certificate_service(certificate_settings(server.url))):
        yield await RevocationClient(client).connect(from_log=True)


async def test_what_is_held_released_and_revoked_by_command_is_told_to_relying_parties(people):
    root = await people.issue(ROOT_KEY, ROOT_KEY, profile="root", key_id=str(new_id()))
    by_root = {"issuer_id": root["certificate_id"]}
    ca = await people.issue(CA_KEY, ROOT_KEY, profile="intermediate", key_id=str(new_id()), **by_root)
    by_ca = {"issuer_id": ca["certificate_id"]}
    responder = await people.issue(RESPONDER_KEY, CA_KEY, profile="ocsp-responder", key_id=str(new_id()), **by_ca)
    leaf = await people.issue(LEAF_KEY, CA_KEY, profile="tls-client", **by_ca)
    good, revoked = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
    named = {"certificate_id": leaf["certificate_id"]}

    assert (await people.crl(ca, CA_KEY), await people.crl(ca, CA_KEY)) == (set(), None)
    assert await people.status(leaf, ca, responder) == (good, None)
    await people.request("certificate.hold", named)
    assert await people.crl(ca, CA_KEY) == {leaf["serial"]}
    assert await people.status(leaf, ca, responder) == (revoked, x509.ReasonFlags.certificate_hold)
    await people.request("certificate.release", named)
    assert await people.crl(ca, CA_KEY) == set()
    assert await people.status(leaf, ca, responder) == (good, None)
    await people.request("certificate.revoke", named | {"reason": "key-compromise"})
    assert await people.crl(ca, CA_KEY) == {leaf["serial"]}
    assert await people.status(leaf, ca, responder) == (revoked, x509.ReasonFlags.key_compromise)
    await revoke(people, ca["certificate_id"], reason="ca-compromise")
    assert await people.crl(root, ROOT_KEY) == {ca["serial"]}
    assert await people.crl(ca, CA_KEY) is None


async def test_a_renewed_authority_tells_of_what_it_revoked_before_also_when_the_old_one_is_revoked(people):
    root = await people.issue(ROOT_KEY, ROOT_KEY, profile="root", key_id=str(new_id()))
    same = {"profile": "intermediate", "key_id": str(new_id()), "issuer_id": root["certificate_id"]}
    first, second = [await people.issue(CA_KEY, ROOT_KEY, **same) for _ in range(2)]
    leaf = await people.issue(LEAF_KEY, CA_KEY, profile="tls-client", issuer_id=first["certificate_id"])
    await revoke(people, leaf["certificate_id"])
    await revoke(people, first["certificate_id"], reason="superseded")

    assert await people.crl(second, CA_KEY) == {leaf["serial"]}
