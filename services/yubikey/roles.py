"""Roles: the slots and policies of a provisioned device, read from a file and fitted to its firmware."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.yubikey.errors import DeviceError
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.devices import (
    KeyHolder,
    PukPolicy,
    Retries,
    RoleName,
    SlotPlan,
)
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy
from shared.errors import Unusable

_FIRMWARE_5_7_ALGORITHMS = frozenset({Algorithm.ED25519, Algorithm.X25519, Algorithm.RSA_3072, Algorithm.RSA_4096})
Firmware = tuple[int, int, int]


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoleSlot(_StrictModel):
    """A slot of a role. *fallback*: the algorithm on firmware before 5.7."""

    slot: Slot
    algorithm: Algorithm
    fallback: Algorithm | None = None
    pin_policy: PinPolicy
    touch_policy: TouchPolicy

    @model_validator(mode="after")
    def _require_fallback(self) -> RoleSlot:
        if self.algorithm in _FIRMWARE_5_7_ALGORITHMS and (
            self.fallback is None or self.fallback in _FIRMWARE_5_7_ALGORITHMS
        ):
            raise ValueError(f"slot {self.slot}: {self.algorithm} needs firmware 5.7; name a fallback")
        return self

    def plan(self, firmware: Firmware) -> SlotPlan:
        old = self.algorithm in _FIRMWARE_5_7_ALGORITHMS and firmware < (5, 7, 0)
        return SlotPlan(
            slot=self.slot,
            algorithm=self.fallback if old and self.fallback is not None else self.algorithm,
            pin_policy=self.pin_policy,
            touch_policy=self.touch_policy,
            fallback=old,
        )


class Role(_StrictModel):
    """Retry limits, custody of secrets, and slots of a device that a role gets."""

    pin_retries: Retries
    puk_retries: Retries
    puk: PukPolicy
    management_key: KeyHolder
    slots: Annotated[tuple[RoleSlot, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _require_distinct_slots(self) -> Role:
        planned = [each.slot for each in self.slots]
        if len(set(planned)) != len(planned):
            raise ValueError("a slot is planned twice")
        return self

    def plan(self, firmware: Firmware) -> tuple[SlotPlan, ...]:
        return tuple(each.plan(firmware) for each in self.slots)


class Use(_StrictModel):
    """Slots that clients may use through this service, by operation."""

    sign: frozenset[Slot] = frozenset()
    decrypt: frozenset[Slot] = frozenset()


class _File(_StrictModel):
    use: Use = Use()
    roles: dict[RoleName, Role]


@dataclass(frozen=True, slots=True)
class Roles:
    """All roles, and the slots that clients may use through this service."""

    by_name: dict[str, Role]
    use: Use

    def role(self, name: str) -> Role:
        """Raises DeviceError for an unknown role."""
        if name not in self.by_name:
            names = ", ".join(sorted(self.by_name))
            raise DeviceError(RejectionCode.NOT_FOUND, f"there is no role {name}; the roles are {names}")
        return self.by_name[name]


def read_roles(path: Path | None) -> Roles:
    """Reads the roles from *path*, or the shipped ones. Raises Unusable, naming the error in the file."""
    name = str(path) if path is not None else "roles.toml"
    try:
        text = path.read_text() if path is not None else (files(__package__) / "roles.toml").read_text()
        content = _File.model_validate(tomllib.loads(text))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Unusable(f"YUBIKEY_ROLES_FILE: {name} cannot be read: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()[:5]
        )
        raise Unusable(f"YUBIKEY_ROLES_FILE: {name}: {problems}") from error
    return Roles(content.roles, content.use)
