"""A CRL is published anew when it is due, by a timer, although nothing was revoked."""

from itertools import pairwise

import pytest
from cryptography import x509

from tests.support.suite import suite_up

POLICY = """
issuers:
  - match: {any: true}
    crl: {period_hours: 0.0006, overlap_hours: 1}
"""


@pytest.mark.asyncio
async def test_an_issuers_crl_is_made_anew_before_its_end_and_its_number_grows(tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    async with suite_up(tmp_path / "state", [], choices={"CERTIFICATE_POLICY_FILE": str(policy)}) as suite:
        await suite.bootstrap()
        pattern = f"keys.events.certificate.crl-published.{suite.issuer_id}"
        inbox = await suite.client.subscribe(pattern)
        for _ in range(2):
            await inbox.next_msg(timeout=30)
        published = await suite.events(pattern)

    crls = [x509.load_pem_x509_crl(event.body["crl_pem"].encode()) for event in published]
    numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in crls]
    issuer = x509.load_pem_x509_certificate(suite.chain[1].encode())
    assert numbers == sorted(set(numbers))
    assert all(crl.is_signature_valid(issuer.public_key()) for crl in crls)
    assert all(earlier.next_update_utc > later.last_update_utc for earlier, later in pairwise(crls))
