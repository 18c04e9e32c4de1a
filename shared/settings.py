"""How settings are read that more than one service has."""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import Unusable

_MEANINGS = {"": False, "0": False, "false": False, "1": True, "true": True}


def switch(environment: Mapping[str, str], name: str) -> bool:
    """Whether *name* is switched on. Raises Unusable for what means neither."""
    meaning = _MEANINGS.get(environment.get(name, "").strip().lower())
    if meaning is None:
        raise Unusable(f"{name} must be true or false (or 1 or 0)")
    return meaning
