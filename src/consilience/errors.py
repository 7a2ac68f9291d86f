"""Errors a user can cause, each one paragraph: what was received, where, and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["ConsilienceError", "MissingDependencyError", "UnknownNameError", "require"]


class ConsilienceError(ValueError):
    """Base of every error whose cause is what the user gave, not a fault of the program."""


class UnknownNameError(ConsilienceError, KeyError):
    """A name that nothing is registered under; the message lists the closest valid names."""

    # KeyError shows repr(message); the message is meant to be read.
    def __str__(self) -> str:
        return str(self.args[0])


class MissingDependencyError(ConsilienceError, ImportError):
    """An optional package is absent; the message names the extra that installs it."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra installs it.

    Raises
    ------
    MissingDependencyError
        When `module` cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs {module}, which is not installed ({error}): pip install 'consilience[{extra}]'"
        ) from error
