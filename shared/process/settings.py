"""How settings are read that more than one service has."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from shared.errors import Unusable

_MEANINGS = {"": False, "0": False, "false": False, "1": True, "true": True}


def switch(environment: Mapping[str, str], name: str) -> bool:
    """Whether *name* is switched on. Raises Unusable for what means neither."""
    meaning = _MEANINGS.get(environment.get(name, "").strip().lower())
    if meaning is None:
        raise Unusable(f"{name} must be true or false (or 1 or 0)")
    return meaning


def is_open_to_others(file: os.stat_result) -> bool:
    """Whether a file with a secret can be read, or put in another's place, by more than whom it is for.

    A group may read what is not the process's own: so Kubernetes mounts secrets, for the pod's group (fsGroup).
    """
    mode, own = file.st_mode, file.st_uid == os.geteuid()
    return bool(mode & (stat.S_IRWXO | stat.S_IWGRP) or (own and mode & stat.S_IRWXG))
