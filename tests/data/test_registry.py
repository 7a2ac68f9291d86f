"""Every registered source and process: facts, options, validation from outside."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from consilience.data import PROCESSES, SOURCES, RealSource, Source, SyntheticSource, describe
from consilience.errors import UnknownNameError

REQUIRED = {"file": {"path": "samples.csv"}}
EVERYTHING = {**SOURCES, **PROCESSES}


@pytest.mark.parametrize("name", EVERYTHING)
def test_states_its_facts(name: str) -> None:
    cls = EVERYTHING[name]
    assert cls.name == name
    assert cls.title
    assert cls.tasks <= {"classification", "regression"}
    assert cls.tasks
    assert ">>>" in (cls.__doc__ or "")
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SOURCES)
def test_is_real_or_synthetic(name: str) -> None:
    assert issubclass(SOURCES[name], RealSource) != issubclass(SOURCES[name], SyntheticSource)


@pytest.mark.parametrize("name", EVERYTHING)
def test_pydantic_round_trip_from_defaults(name: str) -> None:
    options = REQUIRED.get(name, {})
    adapter = TypeAdapter(EVERYTHING[name])
    made = adapter.validate_python(options)
    assert made == EVERYTHING[name](**options)
    assert adapter.validate_python(adapter.dump_python(made, mode="json")) == made
    assert hash(made) == hash(adapter.validate_json(adapter.dump_json(made)))


@pytest.mark.parametrize("name", EVERYTHING)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="exponnent"):
        TypeAdapter(EVERYTHING[name]).validate_python({**REQUIRED.get(name, {}), "exponnent": 1})


def test_a_bad_option_is_named_through_pydantic() -> None:
    with pytest.raises(ValidationError, match=r"misfit = 1.5: must be 0 or more and below 1"):
        TypeAdapter(SOURCES["linear-teacher"]).validate_python({"misfit": 1.5})


def test_list_of_targets_from_a_study_file_becomes_a_tuple() -> None:
    made = TypeAdapter(SOURCES["file"]).validate_python({"path": "a.csv", "target": ["u", "v"]})
    assert made.target == ("u", "v")


def test_unknown_source_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown data source 'fashion': did you mean 'fashion-mnist'"):
        SOURCES["fashion"]
    with pytest.raises(UnknownNameError, match="label-flip"):
        PROCESSES["label-flips"]


def test_describe_has_one_row_for_everything() -> None:
    rows = describe()
    assert [row.name for row in rows] == [*SOURCES, *PROCESSES]
    by_name = {row.name: row for row in rows}
    assert by_name["file"].options["path"] == "required"
    assert by_name["file"].tasks == ("classification", "regression")
    assert by_name["linear-teacher"].options["covariance"] == "'isotropic'"
    assert by_name["label-flip"].kind == "noise"


@pytest.mark.parametrize("module", ["jax", "pandas", "sklearn", "pydantic", "xarray"])
def test_importing_data_loads_no_heavy_package(module: str) -> None:
    """`noise` imports JAX and sources import scikit-learn and pandas only once they are used."""
    package = Path(sys.modules[Source.__module__].__file__ or "").parents[1]
    code = f"""
import importlib.util, sys, types
# The package without its __init__, whose own imports are tested elsewhere.
consilience = types.ModuleType("consilience"); consilience.__path__ = [{str(package)!r}]
sys.modules["consilience"] = consilience
import consilience.data
print({module!r} in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
