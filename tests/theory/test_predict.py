"""Prediction from data: against ensembles of ridge regressions, against known truth, its intervals and warnings."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.theory import alignment, linear_network, predict
from consilience.theory._estimate import estimate

# Mean over a few hundred pairs of draws of the prediction, and over 30 repetitions of the simulation: each has a
# standard error of its own (`scatter`/√draws, and the simulation's); a difference beyond 4 of them together is one
# in 16,000.
STANDARD_ERRORS = 4.0
# Expected values are compared with a Gaussian formula at d = 40: it leaves terms of order 1/d.
FINITE_SIZE = 1 / 40


def drawn(rng, n, d, k, *, power=0.0, misfit=0.3, tails=None):
    """Rows of a linear teacher with a misfit, inputs Gaussian or of common scale with `tails` degrees of freedom."""
    eigenvalues = np.arange(1, d + 1.0) ** -power
    eigenvalues /= eigenvalues.mean()
    beta = np.random.default_rng(1).standard_normal((k, d))
    beta *= np.sqrt((1 - misfit) / np.sum(beta**2 * eigenvalues, axis=1, keepdims=True))
    x = rng.standard_normal((n, d)) * np.sqrt(eigenvalues)
    if tails:
        x *= np.sqrt((tails - 2) / rng.chisquare(tails, (n, 1)))
    y = x @ beta.T + np.sqrt(misfit) * rng.standard_normal((n, k))
    return x, y, eigenvalues, beta


def trained(x, y, probe, n, snr, ridge, rng, members=4):
    """Mean output correlation and CKA over pairs of members trained on one subset of rows."""
    rows = rng.choice(len(x), n, replace=False)
    outputs = []
    for _ in range(members):
        noisy = y[rows] + np.sqrt(y.var(axis=0).mean() / snr) * rng.standard_normal(y[rows].shape)
        design = np.concatenate([x[rows], np.sqrt(n * ridge) * np.eye(x.shape[1])])
        padded = np.concatenate([noisy, np.zeros((x.shape[1], y.shape[1]))])
        output = probe @ np.linalg.lstsq(design, padded, rcond=1e-7)[0]
        outputs.append(output - output.mean(axis=0))
    found = []
    for i in range(members):
        for j in range(i):
            a, b = outputs[i], outputs[j]
            cka = np.sum((a.T @ b) ** 2) / np.sqrt(np.sum((a.T @ a) ** 2) * np.sum((b.T @ b) ** 2))
            found.append((np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2)), cka))
    return np.mean(found, axis=0)


# --- what it predicts ---


@pytest.mark.parametrize("tails", [None, 4])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("k", [1, 3])
def test_predictions_are_what_training_on_fresh_data_gives(tails, ridge, k):
    """The pool and the data that members train on are different draws of one population."""
    rng = np.random.default_rng(5)
    sizes = [10, 30, 45, 120]
    x, y, *_ = drawn(rng, 2000, 40, k, power=0.5, tails=tails)
    prediction = predict(x, y, 1.0, sizes, ridge, n_probe=300, groups=0)
    for i, n in enumerate(sizes):
        fresh = [drawn(rng, 800, 40, k, power=0.5, tails=tails)[:2] for _ in range(30)]
        found = np.array([trained(a[:500], b[:500], a[500:], n, 1.0, ridge, rng) for a, b in fresh])
        error = np.hypot(found.std(axis=0, ddof=1) / np.sqrt(30), prediction.scatter[i] / np.sqrt(20))
        np.testing.assert_array_less(
            np.abs(found.mean(axis=0) - [prediction.alignment[i], prediction.output_cka[i]]), STANDARD_ERRORS * error
        )


def test_hidden_layers_and_risk_are_those_of_the_formulas_for_gaussian_inputs():
    """5000 rows estimate the truth within 1/√5000 and draws average within their scatter; both are below 1/d."""
    rng = np.random.default_rng(2)
    x, y, eigenvalues, beta = drawn(rng, 5000, 40, 3, power=0.8)
    sizes, snr = [20, 80, 300], [0.5, 4.0]
    found = predict(x, y, snr, sizes, 0.02, groups=0)
    wanted = linear_network(eigenvalues, beta, sizes, snr, misfit=0.3, ridge=0.02)
    np.testing.assert_allclose(found.alignment, wanted.output_correlation, atol=2 * FINITE_SIZE)
    np.testing.assert_allclose(found.hidden_cka, wanted.hidden_cka, atol=2 * FINITE_SIZE)
    np.testing.assert_allclose(found.risk, wanted.risk, rtol=4 * FINITE_SIZE)
    np.testing.assert_allclose(found.gaussian.alignment, wanted.output_correlation, atol=FINITE_SIZE)


def test_inputs_of_their_own():
    rng = np.random.default_rng(2)
    x, y, eigenvalues, beta = drawn(rng, 4000, 40, 1)
    found = predict(x, y, 1.0, [20, 100, 400], shared_inputs=False, groups=0)
    wanted = alignment(eigenvalues, beta, [20, 100, 400], noise=1.0, misfit=0.3, shared_inputs=False)
    np.testing.assert_allclose(found.alignment, wanted.alignment, atol=2 * FINITE_SIZE)


def test_no_noise_is_perfect_agreement_on_shared_inputs():
    x, y, *_ = drawn(np.random.default_rng(0), 100, 20, 2)
    found = predict(x, y, np.inf, [1, 10, 20, 60], groups=3)
    np.testing.assert_allclose(found.alignment, 1)
    np.testing.assert_allclose(found.hidden_cka, 1)
    np.testing.assert_allclose(found.low.alignment, 1)


def test_one_training_row_gives_one_direction():
    """Outputs of one training row are all multiples of one function: CKA 1, and correlation that of two signs."""
    x, y, *_ = drawn(np.random.default_rng(0), 200, 20, 1)
    found = predict(x, y, 1.0, 1, groups=0)
    assert found.output_cka == pytest.approx(1)
    assert found.hidden_cka == pytest.approx(1)


def test_larger_units_change_risk_alone():
    x, y, *_ = drawn(np.random.default_rng(0), 200, 10, 2)
    one, other = predict(x, y, 2.0, [5, 50], groups=0), predict(3 * x, 10 * y + 4, 2.0, [5, 50], groups=0)
    np.testing.assert_allclose(other.alignment, one.alignment, rtol=1e-9)
    np.testing.assert_allclose(other.risk, 100 * one.risk, rtol=1e-9)


def test_classes_are_centred_one_hot_targets():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((120, 5)), rng.integers(0, 3, 120)
    wanted = predict(x, np.eye(3)[labels], 1.0, [10, 50], groups=0)
    for classes in (labels, np.array(["a", "b", "c"])[labels], np.array(["a", "b", "c"], dtype=object)[labels]):
        np.testing.assert_array_equal(predict(x, classes, 1.0, [10, 50], groups=0).alignment, wanted.alignment)


def test_scalars_drop_their_axes():
    x, y, *_ = drawn(np.random.default_rng(0), 60, 5, 1)
    assert predict(x, y[:, 0], 1.0, 20, groups=3).alignment.shape == ()
    found = predict(x, y, [1.0, 2.0], 20, groups=3)
    assert found.alignment.shape == found.low.risk.shape == found.gaussian.hidden_cka.shape == (2,)
    assert found.tails.shape == ()


# --- few rows, beyond the rows ---


def test_beyond_the_rows_it_grows_as_for_gaussian_inputs():
    """300 rows tell alignment at 240 within `scatter`; carried on to 3000 the error shrinks with 1 − ρ."""
    rng = np.random.default_rng(3)
    x, y, eigenvalues, beta = drawn(rng, 300, 20, 1)
    found = predict(x, y, 1.0, [240, 1000, 3000], groups=0)
    wanted = alignment(eigenvalues, beta, [240, 1000, 3000], noise=1.0, misfit=0.3)
    assert found.extrapolated.tolist() == [False, True, True]
    allowed = STANDARD_ERRORS * found.scatter[0] * (1 - wanted.alignment) / (1 - wanted.alignment[0])
    np.testing.assert_array_less(np.abs(found.alignment - wanted.alignment), allowed)
    assert "from 1000 on is beyond what 300 rows allow to compute (240)" in found.warnings[0]


@pytest.mark.parametrize(("rows", "d", "misfit"), [(200, 100, 0.3), (100, 200, 0.0), (120, 100, 0.6)])
def test_estimate_from_few_rows_is_unbiased_in_what_alignment_takes_from_it(rows, d, misfit):
    """Alignment at n up to the rows, mean over 12 pools; each differs by some √(2/rows) times the slope."""
    sizes, rng = np.array([rows // 5, rows // 2, rows]), np.random.default_rng(4)
    errors = []
    for _ in range(12):
        x, y, eigenvalues, beta = drawn(rng, rows, d, 1, power=0.7, misfit=misfit)
        found = estimate(x, y)
        wanted = alignment(eigenvalues, beta, sizes, noise=1.0, misfit=misfit, ridge=0.05).alignment
        ours = alignment(found.eigenvalues, found.beta, sizes, noise=1.0, misfit=found.misfit, ridge=0.05).alignment
        errors.append(ours - wanted)
    bias, spread = np.mean(errors, axis=0), np.std(errors, axis=0, ddof=1)
    np.testing.assert_array_less(np.abs(bias), STANDARD_ERRORS * spread / np.sqrt(12) + 2 / d)
    assert spread.max() < 0.12


def test_estimated_misfit_keeps_what_outputs_have_in_common():
    """One output without misfit and one with much are not two outputs with half of it each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3))
    y = np.stack([x[:, 0], 0.6 * x[:, 1] + 0.8 * rng.standard_normal(4000)], axis=1)
    standard_error = 0.64 * np.sqrt(2 / 4000)
    np.testing.assert_allclose(estimate(x, y).misfit, np.diag([0, 0.64]), atol=STANDARD_ERRORS * standard_error)


def test_error_of_the_misfit_is_that_of_a_residual_variance():
    x, y, *_ = drawn(np.random.default_rng(0), 1000, 5, 1)
    found = predict(x, y, 1.0, [10])
    # A jackknife over 10 groups knows its standard error within √(2/9)/2 of it, a quarter.
    assert found.misfit_error == pytest.approx(0.3 * np.sqrt(2 / 1000), rel=1)


# --- intervals ---


def test_intervals_cover_the_expected_alignment():
    """24 pools: fewer than 19 of 24 covered at 95 % has probability 1 in 300."""
    rng, sizes = np.random.default_rng(6), [8, 40]
    covered, width, spread = np.zeros(2), np.zeros(2), []
    x, y, *_ = drawn(rng, 20_000, 10, 1)
    wanted = predict(x, y, 1.0, sizes, groups=0, n_probe=15).alignment
    for _ in range(24):
        x, y, *_ = drawn(rng, 75, 10, 1)
        found = predict(x, y, 1.0, sizes, groups=8, n_probe=15)
        covered += (found.low.alignment <= wanted) & (wanted <= found.high.alignment)
        spread.append(found.alignment)
        width += (found.high.alignment - found.low.alignment) / 24
    assert (covered >= 19).all()
    # Conservative, by a factor of up to 3.6 in the mean where that was measured.
    assert (width < 5 * 4 * np.std(spread, axis=0, ddof=1)).all()


def test_intervals_contain_the_prediction_and_stay_in_range():
    x, y, *_ = drawn(np.random.default_rng(0), 80, 10, 2)
    found = predict(x, y, [0.1, 10.0], [3, 10, 60, 500])
    for name in ("alignment", "output_cka", "hidden_cka", "risk"):
        low, value, high = getattr(found.low, name), getattr(found, name), getattr(found.high, name)
        assert (low <= value).all()
        assert (value <= high).all()
        assert (low >= 0).all()
        assert name == "risk" or (high <= 1).all()


def test_same_seed_same_numbers():
    x, y, *_ = drawn(np.random.default_rng(0), 80, 10, 2)
    one, same, other = (predict(x, y, 1.0, [20], groups=3, seed=seed) for seed in (1, 1, 2))
    assert one.alignment == same.alignment != other.alignment
    assert one.low.risk == same.low.risk


# --- tails ---


def test_gaussian_inputs_have_tails_of_one():
    """Kurtosis over 1000 inputs has a standard error of about √(24/1000) times 2/participation."""
    x, y, *_ = drawn(np.random.default_rng(0), 3000, 30, 1)
    found = predict(x, y, 1.0, [10, 30, 200], groups=0)
    np.testing.assert_allclose(found.tails, 1, atol=0.15)
    assert found.warnings == ()


def test_heavy_tails_warn_and_lower_alignment_near_the_threshold_without_ridge():
    x, y, *_ = drawn(np.random.default_rng(0), 4000, 40, 1, tails=3)
    rows = predict(x, y, 4.0, [55, 65], groups=0)
    formulas = predict(x, y, 4.0, [55, 65], groups=0, method="gaussian")
    assert (rows.tails > 2).all()
    assert (formulas.alignment - rows.alignment > 0.05).all()
    np.testing.assert_array_equal(formulas.alignment, rows.gaussian.alignment)
    assert "heavier tails" in rows.warnings[0]
    assert "around the interpolation threshold" in formulas.warnings[0]


# --- preprocessing ---


def test_rare_features_of_standardised_columns_are_seen_as_a_held_out_set_sees_them():
    """A probe row that alone has a feature: the column is constant without it, hence zero, and teaches nothing."""
    rng = np.random.default_rng(0)
    x, y, *_ = drawn(rng, 400, 5, 1)
    rare = np.zeros((400, 60))
    rare[np.arange(60), np.arange(60)] = 1.0  # each in one row alone
    both = np.concatenate([x, rare], axis=1)
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    plain = predict(x / x.std(axis=0), y, 1.0, [60, 200], 1e-3, groups=0)
    found = predict(both, y, 1.0, [60, 200], 1e-3, groups=0)
    untold = predict(both, y, 1.0, [60, 200], 1e-3, groups=0, standardised=False)
    # Rows with a feature of their own are fitted by it, 60/400 of the training set: as if there were fewer rows.
    np.testing.assert_allclose(found.alignment, plain.alignment, atol=0.1)
    assert found.alignment[1] > untold.alignment[1]


# --- what it refuses ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"X": np.ones((5, 2)), "y": np.ones(5)}, "5 rows"),
        ({"X": np.ones(20)}, "shape (20,)"),
        ({"X": np.full((20, 2), np.nan)}, "row 0, column 0"),
        ({"X": np.ones((20, 2))}, "2 inputs do not vary"),
        ({"y": np.zeros(20)}, "targets do not vary"),
        ({"y": np.ones(7)}, "20 rows"),
        ({"y": np.arange(20)}, "not classes"),
        ({"y": np.ones((20, 2)) * 1j}, "complex"),
        ({"n_train": 0}, "n_train"),
        ({"snr": 0}, "snr"),
        ({"ridge": -1.0}, "ridge"),
        ({"method": "exact"}, "'rows' or 'gaussian'"),
        ({"groups": 2}, "groups"),
        ({"confidence": 95}, "confidence"),
        ({"n_probe": 1}, "n_probe"),
    ],
)
def test_wrong_input_is_one_paragraph(changes, said):
    x, y, *_ = drawn(np.random.default_rng(0), 20, 2, 1)
    arguments = {"X": x, "y": y, "snr": 1.0, "n_train": 5} | changes
    with pytest.raises(ConsilienceError) as caught:
        predict(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
