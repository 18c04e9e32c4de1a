"""Roles by firmware, and rules for PINs and PUKs."""

import re

import pytest

from services.yubikey.errors import DeviceError
from services.yubikey.piv.secret_rules import generate_pin, weakness_of
from services.yubikey.roles import read_roles
from shared.contracts.key.value_types import Algorithm
from shared.errors import Unusable

ROLE = 'pin_retries = 3\npuk_retries = 3\npuk = "escrow"\nmanagement_key = "service"\n'
SLOT = '{ slot = "9a", algorithm = "ec-p256", pin_policy = "once", touch_policy = "never" }'


def test_the_roles_that_are_shipped_are_read_and_fit_old_devices_too():
    roles = read_roles(None)
    new, old = roles.role("person").plan((5, 7, 4)), roles.role("person").plan((5, 4, 3))

    assert [each.algorithm for each in new[:3]] == [Algorithm.ED25519, Algorithm.ED25519, Algorithm.X25519]
    assert {each.algorithm for each in old} == {Algorithm.EC_P256}
    assert [each.fallback for each in old] == [True, True, True, False]
    with pytest.raises(DeviceError, match="the roles are administrator, person, root-ca"):
        roles.role("king")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"[roles.a]\n{ROLE}slots = []", "at least 1"),
        (f"[roles.a]\n{ROLE}slots = [{SLOT}, {SLOT}]", "planned twice"),
        (f"[roles.a]\n{ROLE}slots = [{SLOT.replace('ec-p256', 'ed25519')}]", "name a fallback"),
        (f"[roles.a]\n{ROLE}slots = [{SLOT}]\ncolour = 1", "colour"),
        (f"[roles.A]\n{ROLE}slots = [{SLOT}]", "pattern"),
        (f"[roles.a]\n{ROLE.replace('escrow', 'burn')}slots = [{SLOT}]", "escrow"),
        ("[roles", "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_file_of_roles_is_said(tmp_path, text, problem):
    (tmp_path / "roles.toml").write_text(text)
    with pytest.raises(Unusable, match=re.escape(problem)):
        read_roles(tmp_path / "roles.toml")


@pytest.mark.parametrize("text", ["12345", "123456789", "123456", "12345678", "000000", "345678", "987654", "päss12"])
def test_what_nobody_may_choose(text):
    assert weakness_of(text) is not None


def test_what_is_drawn_may_be_chosen_and_is_not_drawn_twice():
    drawn = {generate_pin() for _ in range(200)}

    assert len(drawn) == 200
    assert all(weakness_of(each) is None and len(each) == 8 for each in drawn)
