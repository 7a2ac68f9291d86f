"""Tiny studies, and what the tests of study, plan, store, run, overlay and command line share."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tomlkit
import xarray as xr
from jax.experimental.compilation_cache import compilation_cache

from consilience.study import Study

INF = float("inf")

EXACT: dict[str, Any] = {
    "name": "exact",
    "data": {"source": "linear-teacher", "n_features": 5, "n_outputs": 2, "n_probe": 50, "n_test": 50},
    "noise": {"process": "label-gaussian"},
    "network": {"kind": "linear", "hidden": [2]},
    "train": {"solver": "exact"},
    "grid": {"snr": [0.5, 2.0, INF], "n_train": [3, 8, 20], "members": 3},
    "measure": {"measures": ["output_correlation", "cka", "information_imbalance"]},
}
"""Linear networks in closed form: nothing is compiled."""

GRADIENT: dict[str, Any] = {
    "name": "gradient",
    "data": {"source": "digits", "n_probe": 50, "n_test": 50},
    "noise": {"process": "label-flip"},
    "network": {"kind": "mlp", "hidden": [4]},
    "train": {"steps": 64, "batch": 16},
    "grid": {"snr": [1.0, INF], "n_train": [20, 60], "members": 3},
    "measure": {"measures": ["cka", "procrustes"]},
}
"""A small network trained by Adam: one program."""

DESCENT: dict[str, Any] = EXACT | {
    "name": "descent",
    "train": {"optimizer": "sgd", "learning_rate": 0.05, "steps": 64, "batch": "full"},
}
"""The networks of EXACT, trained by gradient descent: one program, quicker to compile than GRADIENT."""


def tables(
    base: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
    *,
    axes: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """The tables of `base` with dotted keys replaced, further axes, and dotted keys taken out."""
    result = copy.deepcopy(dict(base))
    for dotted, value in (changes or {}).items():
        *path, key = dotted.split(".")
        table = result
        for part in path:
            table = table.setdefault(part, {})
        table[key] = value
    for dotted in without:
        table, _, key = dotted.partition(".")
        if key:
            del result[table][key]
        else:
            del result[table]
    if axes:
        result["grid"] |= axes
    return result


def study(base: Mapping[str, Any], changes: Mapping[str, Any] | None = None, **options: Any) -> Study:
    """The study of `tables`."""
    return Study(**tables(base, changes, **options))


def study_file(path: Path, base: Mapping[str, Any], changes: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Write the tables as TOML."""
    path.write_text(tomlkit.dumps(tables(base, changes, **options)), encoding="utf-8")
    return path


def reread(study: Study) -> Study:
    """The study after a trip through TOML text."""
    return Study(**tomllib.loads(study.toml()))


def without_times(ds: xr.Dataset) -> xr.Dataset:
    """The run less what differs between two runs of one study: when they ran and how long."""
    return ds.assign_attrs(dict.fromkeys(("created", "wall_seconds"), None))


def assert_same_bits(found: xr.Dataset, wanted: xr.Dataset) -> None:
    """Every variable and coordinate agrees to the last bit; NaN equals NaN."""
    assert set(found.variables) == set(wanted.variables)
    for name in wanted.variables:
        assert found[name].dims == wanted[name].dims
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name].values, wanted[name].values, err_msg=str(name), strict=True)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, with its time of modification and its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


_CACHE: dict[str, Any] = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let XLA keep what it compiles on disk, for these tests and the processes they start: compiling is most of
    the time a tiny study takes."""
    settings = _CACHE | {"jax_compilation_cache_dir": str(tmp_path_factory.getbasetemp() / "compiled")}
    before = {name: getattr(jax.config, name) for name in settings}
    _configure(settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name.upper(), str(value))
        yield
    _configure(before)


def _configure(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=os.environ, **options
    )
