"""Compilation without optimization, for tests that call each function once."""

from __future__ import annotations

import pytest

from consilience.testing.libraries import _set_up


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Use in a module or folder as ``from tests.quick import quick_compilation``; not where studies run.

    What is compiled stays compiled for the tests that follow in this process, and draws noise with another rounding.
    """
    import jax

    with _set_up("jax", double=bool(jax.config.values["jax_enable_x64"])):
        yield
