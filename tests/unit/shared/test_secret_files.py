"""Permissions of secret files: readable by the process only, or by its group if root owns them."""

import os
from types import SimpleNamespace

import pytest

from shared.process.settings import is_open_to_others

OURS, ROOTS = os.geteuid(), os.geteuid() + 1


@pytest.mark.parametrize(
    ("owner", "mode", "is_open"),
    [
        (OURS, 0o100600, False),
        (OURS, 0o100400, False),
        (OURS, 0o100640, True),
        (OURS, 0o100604, True),
        (ROOTS, 0o100440, False),  # as Kubernetes mounts a secret for the pod's fsGroup
        (ROOTS, 0o100640, False),
        (ROOTS, 0o100660, True),
        (ROOTS, 0o100444, True),
    ],
)
def test_a_secret_is_for_its_process_alone_or_for_the_group_it_was_given_to(owner, mode, is_open):
    assert is_open_to_others(SimpleNamespace(st_uid=owner, st_mode=mode)) == is_open
