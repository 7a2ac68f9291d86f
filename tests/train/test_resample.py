"""Training inputs of their own: bootstrap samples of the pool, as engine and exact solver draw them."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.stats

from consilience.data import LabelGaussian, NoNoise
from consilience.train import MLP, Cell, Linear, TrainOptions
from consilience.train.exact import solve
from consilience.train.realize import bootstrap, realization, training_set
from consilience.train.spec import Arrays, Rows

N_MAX = 150
EXACT = TrainOptions(solver="exact")
CELL = Cell(60, 0.5, Linear((4,)), EXACT)
_draw = jax.jit(bootstrap, static_argnames="n_max")
_realized = jax.jit(realization, static_argnums=0, static_argnames="n_max")
_training_set = jax.jit(training_set, static_argnums=0, static_argnames="n_max")
HOLDING = Cell(60, 0.5, MLP((4,)), TrainOptions(steps=40, batch=8, validation=0.25, patience=2))


@pytest.fixture
def bootstrapped(ensemble):
    return ensemble(shared=frozenset({"init"}), resample="bootstrap", members=3)


def rows_of(study, member, n_train, level=0.5):
    data = Arrays.of(study.splits, study.seed, study.noise)
    spec = study.spec(CELL)
    x, y = _realized(spec, np.uint32(member), np.float32(level), np.int32(n_train), data, n_max=N_MAX)
    pool = {row.tobytes(): i for i, row in enumerate(study.splits.train_x)}
    return np.array([pool[row.tobytes()] for row in np.asarray(x)])[:n_train], np.asarray(y)[:n_train]


def test_rows_are_drawn_uniformly_from_the_first_n_train():
    """χ² over the rows of many draws; the share of distinct rows is 1 − (1 − 1/n)ⁿ within three standard errors."""
    n, draws = 60, 300
    keys = jax.random.split(jax.random.key(0), draws)
    ids = np.asarray(jax.jit(jax.vmap(lambda key: bootstrap(key, 60, n_max=N_MAX)))(keys))[:, :n]
    assert scipy.stats.chisquare(np.bincount(ids.ravel(), minlength=n)).pvalue > 1e-3
    assert ids.max() == n - 1
    distinct = np.array([len(set(row)) for row in ids])
    assert abs(distinct.mean() - n * (1 - (1 - 1 / n) ** n)) < 3 * distinct.std() / np.sqrt(draws)


def test_a_row_drawn_depends_on_its_number_and_not_on_how_many_there_are():
    key = jax.random.key(1)
    long, short = (np.asarray(_draw(key, 60, n_max=n_max)) for n_max in (150, 60))
    np.testing.assert_array_equal(long[:60], short)


def test_members_draw_their_own_rows_with_the_noise_of_the_sample(bootstrapped):
    noise = {}
    drawn = [rows_of(bootstrapped, member, 60) for member in range(3)]
    for member, (rows, y) in enumerate(drawn):
        assert rows.max() < 60
        assert len(set(rows)) < 50  # of about 38
        for row, label in zip(rows, y, strict=True):
            first = noise.setdefault((member, row), label)
            np.testing.assert_array_equal(label, first)  # two occurrences of a row are one sample
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    again, _ = rows_of(bootstrapped, 1, 60)
    np.testing.assert_array_equal(again, drawn[1][0])


def set_of(study, cell, member):
    """Pool rows and labels of the set a program trains and stops on."""
    data = Arrays.of(study.splits, study.seed, study.noise)
    row = Rows(*(column[member] for column in study.rows([cell])))
    x, y = (np.asarray(part)[: cell.n_train] for part in _training_set(study.spec(cell), row, data, n_max=N_MAX))
    pool = {one.tobytes(): i for i, one in enumerate(study.splits.train_x)}
    return np.array([pool[one.tobytes()] for one in x]), y


def test_rows_held_out_to_stop_by_are_no_rows_that_are_fitted(bootstrapped):
    """Nor share a label with one: each is a row of the pool beyond those drawn from, once."""
    labels = {}
    for member in range(3):
        rows, y = set_of(bootstrapped, HOLDING, member)
        fitted, held = rows[:45], rows[45:]
        np.testing.assert_array_equal(held, np.arange(45, 60))
        assert fitted.max() < 45
        assert 20 < len(set(fitted)) < 37  # of about 28
        assert not {label.tobytes() for label in y[:45]} & {label.tobytes() for label in y[45:]}
        labels[member] = y[45:]
    assert not np.array_equal(labels[0], labels[1])  # noise is the member's own


def test_without_rows_held_out_all_are_drawn(bootstrapped):
    cell = HOLDING._replace(options=replace(HOLDING.options, validation=0.0))
    for member in range(3):
        rows, y = set_of(bootstrapped, cell, member)
        wanted_rows, wanted_y = rows_of(bootstrapped, member, 60)
        np.testing.assert_array_equal(rows, wanted_rows)
        np.testing.assert_array_equal(y, wanted_y)


def test_the_held_out_share_is_that_of_each_row_of_a_program(bootstrapped, trained):
    """Rows of one compiled program, of different n_train and shares: every one trains and stops by its own."""
    cells = [HOLDING, HOLDING._replace(n_train=20, options=replace(HOLDING.options, validation=0.5))]
    together = trained(bootstrapped, cells)
    for cell, found in zip(cells, together, strict=True):
        (alone,) = trained(bootstrapped, [cell])
        np.testing.assert_array_equal(found.layers["output"], alone.layers["output"])
        rows, _ = set_of(bootstrapped, cell, 0)
        held = cell.options.held_out(cell.n_train)
        assert not set(rows[:-held]) & set(rows[-held:])


def test_the_exact_solver_trains_on_the_bootstrap_sample(bootstrapped, trained):
    (found,) = trained(bootstrapped, [CELL])
    for member in range(3):
        rows, y = rows_of(bootstrapped, member, 60)
        x = bootstrapped.splits.train_x[rows].astype(np.float64)
        wanted = bootstrapped.splits.probe_x @ np.linalg.lstsq(x, y.astype(np.float64))[0]
        np.testing.assert_allclose(found.layers["output"][member], wanted, atol=1e-4)


def test_without_noise_resampling_is_the_only_difference(bootstrapped, trained):
    quiet = CELL._replace(level=0.0)
    apart, together = (
        trained(replace(bootstrapped, process=NoNoise(), shared=shared), [quiet])[0].layers["output"]
        for shared in (frozenset[str](), frozenset({"inputs"}))
    )
    assert not np.allclose(apart[0], apart[1])
    np.testing.assert_array_equal(together[0], together[1])
    same = trained(replace(bootstrapped, process=LabelGaussian()), [quiet])[0].layers["output"]
    np.testing.assert_allclose(same, trained(bootstrapped, [quiet])[0].layers["output"], atol=1e-5)


def test_bootstrap_needs_no_pool_of_many_parts(ensemble, splits):
    few = splits("regression", n_pool=5)
    assert ensemble(splits=few, shared=frozenset(), resample="bootstrap", members=8).members == 8


def test_the_noise_state_reaches_the_exact_solver(ensemble):
    """Heteroscedastic noise without `fitted` fails, with it the residuals have its size."""
    from consilience.data import LabelHeteroscedastic

    study = replace(ensemble(), process=LabelHeteroscedastic(strength=2.0))
    rows = study.rows([CELL])
    found = solve(study.spec(CELL), rows, study.splits, seed=study.seed, n_max=N_MAX, noise=study.noise)
    doubled = (2 * study.noise[0],)
    louder = solve(study.spec(CELL), rows, study.splits, seed=study.seed, n_max=N_MAX, noise=doubled)
    assert np.all(louder.train_loss > 2 * found.train_loss)
