"""What pydantic finds wrong with a study, said in one line: key = value: what to give instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from consilience._catalogue import suggestion
from consilience._variants import thawed
from consilience.errors import ConsilienceError

__all__ = ["one_line"]

# What pydantic calls a branch of a union in the location of an error: int, literal['full'], function-before[…].
_BRANCH = re.compile(r"^(int|float|str|bool|dict|.*\[.*\])$")
# A message of ours that begins with the option it is about, as in "steps = 0: at least one step is needed".
_NAMES_ITS_KEY = re.compile(r"^[a-z_][\w.]* = ")
_MISSING = {"missing", "missing_argument", "missing_keyword_only_argument"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_MESSAGES = {
    "tuple_type": "give a list",
    "list_type": "give a list",
    "dict_type": "give a table",
    "model_type": "give a table",
    "model_attributes_type": "give a table",
    "dataclass_type": "give a table",
    "is_instance_of": "give a table",
    "too_short": "give at least one",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
}


def one_line(error: ValidationError, *, valid: Callable[[tuple[int | str, ...]], Iterable[str]]) -> str:
    """Return the first problem as one line.

    Parameters
    ----------
    valid
        Gives the keys that are valid where an unknown one was found, for suggesting one; called with its location.
    """
    problems: list[Any] = list(error.errors(include_url=False))
    # What is missing is often there under a misspelt name.
    first = next((problem for problem in problems if problem["type"] in _UNKNOWN), problems[0])
    key = _key(first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConsilienceError) and _NAMES_ITS_KEY.match(str(cause)):
        return f"{key}.{cause}" if key and not str(cause).startswith(f"{key}.") else str(cause)
    if first["type"] in _UNKNOWN:
        return f"{key} = {first['input']!r}: unknown key; {suggestion(key.rpartition('.')[2], valid(first['loc']))}"
    if first["type"] in _MISSING:
        return f"{key} is missing; give it a value"
    # Branches of a union each say what they wanted; other problems with the same key are others.
    branches = [problem for problem in problems if _in_branch(problem) and _key(problem["loc"]) == key]
    message = " or ".join(dict.fromkeys(map(_message, branches if _in_branch(first) else [first])))
    return f"{key} = {thawed(first['input'])!r}: {message}" if key else message


def _in_branch(problem: Any) -> bool:
    return bool(problem["loc"]) and _BRANCH.match(str(problem["loc"][-1])) is not None


def _key(location: tuple[int | str, ...]) -> str:
    """Return the dotted key as a user writes it: no list positions, no union branches, no `axes`."""
    parts = [str(part) for part in location if isinstance(part, str) and not _BRANCH.match(part)]
    if parts[:2] == ["grid", "axes"]:
        del parts[1]
    return ".".join(parts)


def _message(problem: Any) -> str:
    cause = problem.get("ctx", {}).get("error")
    if cause is not None and not isinstance(cause, str):
        return str(cause)
    text = _MESSAGES.get(problem["type"])
    if text is None:
        text = problem["msg"][0].lower() + problem["msg"][1:]
    return text.replace("input should be", "must be")
