"""Where results come from: versions of what computed them, and on what machine."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from consilience import train

__all__ = ["hardware", "versions"]

_PACKAGES = (
    "consilience",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "numpy",
    "scipy",
    "scikit-learn",
    "xarray",
    "zarr",
)
# What networks of a user's own may be trained with.
_TRAINERS = ("torch", "lightning", "tensorflow", "keras", "flax", "transformers")


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that takes part in a run."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *(package for package in _TRAINERS if package in sys.modules)):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a copy on the path, not installed
            found[package] = "unknown"
    return found


def hardware(devices: int | None = None) -> dict[str, Any]:
    """Return processor, cores, memory and the JAX devices trained on."""
    used = train.devices(devices)
    return {
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": train.n_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "devices": f"{len(used)} × {used[0].device_kind}",
    }


def _cpu() -> str:
    """Return the processor's name; Linux has it in /proc, `platform` elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
