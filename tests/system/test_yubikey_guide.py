"""The commands of docs/yubikeys.md run from beginning to end."""

import pytest
import pytest_asyncio

from tests.support.shell_blocks import MISSING, ROOT, Typist, blocks
from tests.support.suite import suite_up

GUIDE = ROOT / "docs" / "yubikeys.md"
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"this machine has no {', no '.join(MISSING)} to type into"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(tmp_path_factory):
    async with suite_up(tmp_path_factory.mktemp("guide") / "state", [42_000_001, 42_000_002]) as suite:
        yield suite


async def test_everything_the_guide_says_to_type_does_what_it_says(suite, tmp_path):
    typist = Typist(suite, tmp_path)
    for block in blocks(GUIDE):
        await typist.succeeds(block)

    (reveal,) = [block for block in blocks(GUIDE) if "reveal" in block]
    assert "739154" in reveal
    _, said = await typist.type("cim-keys devices reveal 42000001 pin")
    assert "does not store the" in said  # the reset erased it
    status, said = await typist.type("cim-keys devices answer 0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f < /dev/null")
    assert (status != 0, "no PIN was given" in said) == (True, True)
