"""The devices rows are sharded over: every core of a CPU, or every accelerator."""

from __future__ import annotations

import contextlib
import os
from typing import Any, TypeAlias

import jax

from consilience.errors import ConsilienceError

__all__ = ["Device", "devices", "n_cores"]

Device: TypeAlias = Any  # jax.Device is a variable to type checkers


def n_cores() -> int:
    """Return how many CPU cores this process may use."""
    # Only Linux tells what a scheduler or container allows.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices(count: int | None = None) -> list[Device]:
    """Return the devices to train on, all of them unless `count` says fewer.

    The first call makes each CPU core a JAX device. That must happen before anything else in the process
    computes with JAX; where something did, the devices it made (usually one) are used.

    Raises
    ------
    ConsilienceError
        When `count` is not between 1 and the number of devices.
    """
    with contextlib.suppress(RuntimeError):  # JAX has started: its devices are fixed
        jax.config.update("jax_num_cpu_devices", n_cores())
    found = jax.devices()
    if count is None:
        return found
    if not 1 <= count <= len(found):
        raise ConsilienceError(
            f"devices = {count}: this process has {len(found)}; give a number from 1 to {len(found)}"
        )
    return found[:count]
