"""The commands of docs/pki.md run from beginning to end; openssl, curl and ssh-keygen verify the results."""

import re

import pytest
import pytest_asyncio

from tests.support.shell_blocks import MISSING, ROOT, Typist, blocks
from tests.support.suite import suite_up

GUIDE = ROOT / "docs" / "pki.md"
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"this machine has no {', no '.join(MISSING)} to type into"),
    pytest.mark.asyncio(loop_scope="module"),
]
ROUNDS = 20
"""An approval counts only while the saga waits for it; how often two people say so at most."""


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(tmp_path_factory):
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text("issuers:\n  - match: {any: true}\n    ocsp: true\n")
    choices = {"CERTIFICATE_POLICY_FILE": str(policy)}
    async with suite_up(tmp_path_factory.mktemp("guide") / "state", [], choices=choices) as suite:
        yield suite


async def test_everything_the_guide_says_to_type_does_what_it_says(suite, tmp_path):
    typist = Typist(suite, tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "seal.py").write_text(program)
    await typist.succeeds(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 3650 -subj '/CN=Old Root'"
        " -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem"
    )

    for block in blocks(GUIDE):
        if "sagas signal" in block:
            await _approved(suite, typist, block)
        else:
            await typist.succeeds(block)


async def _approved(suite, typist, block):
    """Two people say so at each of the saga's waits, and again where it was not there yet."""
    said = ""
    for _ in range(ROUNDS):
        for line in block.splitlines():
            said += (await typist.type(line))[1]
        if len(await suite.events("keys.events.saga.pki-bootstrap.completed.*")) > 1:
            return
    raise AssertionError(said)
