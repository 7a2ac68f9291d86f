"""Every test here: what JAX compiles is called once."""

from tests.quick import quick_compilation

__all__ = ["quick_compilation"]
