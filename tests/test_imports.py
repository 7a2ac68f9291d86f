"""`import consilience` is light, and what it offers lazily is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import consilience

HEAVY = ("jax", "torch", "matplotlib", "altair", "xarray", "pydantic", "zarr", "dask", "sklearn", "pandas")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_import_loads_no_heavy_library():
    code = f"import sys, consilience; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert run(code) == []


def test_measuring_numpy_arrays_loads_no_heavy_library():
    code = (
        "import sys, numpy as np, consilience\n"
        "x = np.random.default_rng(0).standard_normal((30, 3))\n"
        "t = np.arange(30) % 3\n"
        "for name in consilience.measures(): getattr(consilience, name)(x, x[::-1] ** 2, targets=t)\n"
        "consilience.pairwise([x, x], 'cka'); dir(consilience)\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    assert run(code) == []


@pytest.mark.parametrize("module", ["consilience.registry", "consilience.measures", "consilience.compare"])
def test_any_submodule_may_be_imported_first(module):
    code = f"import {module}, consilience; print(consilience.measures()['cka'].name, consilience.compare.__name__)"
    assert run(code) == ["cka", "compare"]


def test_every_measure_is_a_function_with_its_documentation():
    for name, measure in consilience.measures().items():
        function = getattr(consilience, name)
        assert function.__name__ == name
        assert function.__doc__ == measure.__doc__
        assert name in dir(consilience)


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'ckaa'"):
        consilience.ckaa  # noqa: B018
    assert not hasattr(consilience, "__wrapped__")


def test_public_names_exist():
    for name in consilience.__all__:
        assert getattr(consilience, name) is not None
