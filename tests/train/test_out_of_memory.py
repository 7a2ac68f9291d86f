"""Where memory does not suffice, fewer networks are trained at once, and what cannot be trained is recorded so."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from consilience.train import engine, train
from consilience.train.options import TrainOptions

ERRORS = {
    "host": MemoryError("Unable to allocate 1. TiB"),
    "device": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes."),
}


class Late:
    """An array that fails when it is read: a device runs behind the program that feeds it."""

    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error


@pytest.fixture
def scarce(monkeypatch):
    """Programs that fail with more than `most` networks at once, where `of` says so; the layouts that were tried."""
    tried = []

    def install(error, *, most, when="call", of=lambda rows: True):
        original = engine._compile

        def compiling(ensemble, spec, layout):
            tried.append(layout)
            scarce = layout.at_once > most
            if scarce and when == "compilation":
                raise error
            program = original(ensemble, spec, layout)

            def call(rows):
                if not scarce or not of(rows):
                    return program(rows)
                if when == "call":
                    raise error
                return program(rows)._replace(train_loss=Late(error))

            return call

        monkeypatch.setattr(engine, "_compile", compiling)
        return tried

    return install


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("when", ["compilation", "call", "result"])
def test_half_as_many_networks_at_once_give_the_same_bits(kind, when, case, trained, scarce, assert_same_bits):
    study, cell = case("sgd")
    cells = [cell, cell._replace(n_train=7), cell._replace(level=0.0)]
    wanted = trained(study, cells)
    tried = scarce(ERRORS[kind], most=1, when=when)
    for found, expected in zip(trained(study, cells), wanted, strict=True):
        assert_same_bits(found, expected)
    assert [layout.at_once for layout in tried] == [2, 1]


def test_cells_that_fit_are_kept_and_the_others_are_named(case, scarce, trained, assert_same_bits):
    study, cell = case("sgd")
    cells = [cell, cell._replace(n_train=7), cell._replace(n_train=8), cell._replace(n_train=9)]
    exact = cell._replace(options=TrainOptions(solver="exact"))
    wanted = trained(study, [*cells, exact])
    scarce(ERRORS["device"], most=0, of=lambda rows: np.any(np.asarray(rows.n_train) == 7))
    found = dict(train(study, [*cells, exact]))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert_lacking(found.pop(1), study.members)
    for index, one in found.items():
        assert_same_bits(one, wanted[index])


def assert_lacking(trained, members):
    """Every member is recorded as failed for want of memory."""
    assert trained.failed.tolist() == ["out of memory, with one network at a time"] * members
    assert trained.layers == {}
    assert np.isnan(trained.train_loss).all()
    assert (trained.diverged_at == -1).all()


def test_the_exact_solver_names_the_cells_it_lacks_memory_for(case, monkeypatch):
    study, cell = case("sgd")
    cells = [cell._replace(n_train=n, options=TrainOptions(solver="exact")) for n in (20, 90, 20)]
    solve = engine.solve

    def scarce(spec, rows, *arguments, **options):
        if rows.n_train[0] == 90:
            raise MemoryError
        return solve(spec, rows, *arguments, **options)

    monkeypatch.setattr(engine, "solve", scarce)
    found = dict(train(study, cells))
    assert sorted(found) == [0, 1, 2]
    assert_lacking(found[1], study.members)
    assert found[0].failed is None


def test_other_errors_of_the_device_are_raised(case, scarce):
    study, cell = case("sgd")
    scarce(jax.errors.JaxRuntimeError("INTERNAL: something else"), most=0)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        list(train(study, [cell]))


def test_an_accelerator_halves_its_chunks_and_then_its_devices(case, monkeypatch):
    study, cell = case("sgd")
    spec = study.spec(cell)

    class Accelerator:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 2**30}

    monkeypatch.setattr(engine, "all_devices", lambda count: [Accelerator()] * 2)
    monkeypatch.setattr(engine, "_chunk", lambda *_: 40)
    at_once, seen = None, []
    while at_once != 0:
        layout = engine._layout(study, spec, n_cells=1000, devices=None, at_once=at_once)
        assert layout.at_once <= (at_once or np.inf)
        assert layout.rows_per_call % len(layout.devices) == layout.rows_per_call % study.members == 0
        seen.append((len(layout.devices), layout.chunk))
        at_once = layout.at_once // 2
    assert seen == [(2, 40), (2, 20), (2, 10), (2, 5), (2, 2), (2, 1), (1, 1)]
