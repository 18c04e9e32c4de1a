"""A saga whose device needs a touch: prompts belong to the saga's conversation, and it completes."""

from yubikit.piv import DEFAULT_MANAGEMENT_KEY, MANAGEMENT_KEY_TYPE

from deploy.settings import LocalSuite
from services.yubikey.piv.authentication import authenticate
from services.yubikey.readers.virtual import VirtualDevices
from services.yubikey.state.sealing import derive_key
from tests.support.suite import suite_up
from tests.support.yubikeys import SERIAL, opening


def require_touch(state):
    LocalSuite(state).prepare()
    secret = (state / "secrets" / "yubikey.secret").read_bytes()
    key = derive_key(secret, b"cim-keys/yubikey/virtual-devices/v1")
    devices = VirtualDevices(state / "yubikey" / "virtual", key, [SERIAL])
    with opening(devices) as device:
        authenticate(device)
        device.session.set_management_key(MANAGEMENT_KEY_TYPE.AES192, DEFAULT_MANAGEMENT_KEY, require_touch=True)


async def test_a_provisioning_with_touches(tmp_path):
    require_touch(tmp_path / "state")
    async with suite_up(tmp_path / "state", [SERIAL]) as suite:
        await suite.bootstrap()
        saga_id = await suite.provision()
        end = await suite.end_of(saga_id)
        prompts = await suite.events("keys.events.prompt.>")

    assert end.tokens[4] == "completed", end.body
    raised = [prompt for prompt in prompts if prompt.tokens[3] == "raised"]
    settled = [prompt.body["outcome"] for prompt in prompts if prompt.tokens[3] == "settled"]
    assert [prompt.body["command_type"] for prompt in raised] == ["GenerateSlotKey", "ImportSlotCertificate"]
    assert settled == ["done", "done"]
    assert {prompt.headers["CIM-Saga-Id"] for prompt in raised} == {saga_id}
    assert len({prompt.headers["CIM-Causation-Id"] for prompt in raised}) == 2
