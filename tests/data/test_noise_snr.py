"""The realised SNR of every process is the one asked for; noise of two members has the correlation asked for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.data.noisy import CLASSES, KINDS, MATRIX, MEMBERS, VARIANTS, N, clean, corrupt, parts, state, task_of

from consilience.data import (
    PROCESSES,
    Digits,
    InputBlur,
    InputGaussian,
    LabelConfusion,
    LabelFlip,
    LabelHeteroscedastic,
    noise_keys,
    prepare,
)
from consilience.data.noise.blur import _snr
from consilience.errors import ConsilienceError


def realised(cross: np.ndarray, power: np.ndarray, mean: np.ndarray, clean_power: float) -> float:
    """SNR = a²E|z|²/(E|z′|² − a²E|z|²) from moments of noisy labels or inputs z′ averaged over members."""
    kept = np.mean(cross) ** 2 / clean_power
    return float(kept / (np.mean(power) - N * np.sum(np.mean(mean, axis=0) ** 2) - kept))


def test_every_process_is_tested() -> None:
    assert {type(process).name for process in VARIANTS.values()} >= set(PROCESSES) - {"none"}


@pytest.mark.parametrize("snr", [0.25, 1.0, 8.0])
@pytest.mark.parametrize("name", VARIANTS)
def test_realised_snr_is_the_asked_one(name: str, snr: float) -> None:
    """Members draw independently: the standard error is that of the jackknife over members."""
    process = replace(VARIANTS[name], correlation=0.0)
    z, noisy = parts(process, snr)
    cross, power, mean = np.sum(noisy * z, axis=(1, 2)), np.sum(noisy**2, axis=(1, 2)), noisy.mean(axis=1)
    total = float(np.sum(z**2))
    without = [realised(*(np.delete(moment, m, axis=0) for moment in (cross, power, mean)), total) for m in MEMBERS]
    se = math.sqrt((len(MEMBERS) - 1) * np.var(without))
    assert abs(realised(cross, power, mean, total) - snr) < 3 * se
    assert se < 0.05 * snr


@pytest.mark.parametrize("name", [name for name, process in VARIANTS.items() if process.correlation])
def test_correlation_does_not_change_the_noise_of_one_member(name: str) -> None:
    """Different seeds are independent whatever members share: the same test over seeds, at r = 1/2."""
    process, snr, seeds = VARIANTS[name], 1.0, 8
    found = []
    for seed in range(seeds):
        z, noisy = parts(process, snr, seed=seed)
        noisy = noisy[:1]
        moments = np.sum(noisy * z, axis=(1, 2)), np.sum(noisy**2, axis=(1, 2)), noisy.mean(axis=1)
        found.append(realised(*moments, float(np.sum(z**2))))
    assert abs(np.mean(found) - snr) < stats.t.ppf(0.9985, seeds - 1) * np.std(found, ddof=1) / math.sqrt(seeds)


@pytest.mark.parametrize(
    ("name", "r"), [*((name, 0.3) for name in KINDS), ("label-gaussian", 1.0), ("label-flip", 1.0)]
)
def test_noise_of_members_has_the_correlation_asked_for(name: str, r: float) -> None:
    """Given a sample, members differ with variance (1 − r) Var: the mean variance within samples tells r."""
    process = VARIANTS[name]
    within = []
    for correlation, seed in ((r, 0), (0.0, 1)):
        _, noisy = parts(replace(process, correlation=correlation), 1.0, seed=seed)
        within.append(np.var(noisy, axis=0, ddof=1).sum(axis=1))  # (n,)
    assert within[1].mean() > 0.01
    ratio = within[0].mean() / within[1].mean()
    se = np.std(within[0] - ratio * within[1]) / math.sqrt(N) / within[1].mean()
    assert abs(1 - ratio - r) <= 3 * se
    assert se < 0.04


def test_members_correlate_by_their_pairs() -> None:
    """The plain correlation coefficient, where noise is additive: r = 1/2 for each pair."""
    z, noisy = parts(VARIANTS["label-gaussian r"], 2.0)
    found = np.corrcoef((noisy - z)[:3].reshape(3, -1))[np.triu_indices(3, 1)]
    assert np.all(np.abs(found - 0.5) < 3.5 * (1 - 0.5**2) / math.sqrt(z.size))


@pytest.mark.parametrize("r", [-0.1, 1.1, math.nan])
def test_impossible_correlations_are_refused(r: float) -> None:
    with pytest.raises(ConsilienceError, match="correlation = "):
        LabelFlip(correlation=r)


# --- inputs that do not vary ---


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_inputs_that_do_not_vary_get_no_gaussian_noise(correlation: float) -> None:
    """The others get what they get beside inputs that all vary, to the last bit."""
    process = InputGaussian(correlation=correlation)
    x, y = clean("classification")
    padded = np.where(np.arange(x.shape[1]) % 4 == 1, np.float32(0), x)
    fitted = process.fitted(padded, y, n_classes=CLASSES, image_shape=None)
    options: dict = {"ids": np.arange(N), "y": y, "level": np.float32(1.5), "n_classes": CLASSES}
    keys = noise_keys(0, 3)
    noisy, full = (
        np.asarray(process.apply(keys, x=inputs, state=of, **options)[0]) for inputs, of in ((padded, fitted), (x, ()))
    )
    varies = padded.any(axis=0)
    assert 0 < varies.sum() < len(varies)
    np.testing.assert_array_equal(noisy[:, ~varies], 0)
    np.testing.assert_array_equal(noisy[:, varies], full[:, varies])


def test_where_all_inputs_vary_none_is_asked_for() -> None:
    assert InputGaussian().fitted(*clean("regression"), n_classes=1, image_shape=None) == ()
    assert InputGaussian().fitted(np.ones((1, 3)), np.ones(1), n_classes=1, image_shape=None) == ()
    with pytest.raises(ConsilienceError, match="each of the 3 inputs has one value in all 5 rows"):
        InputGaussian().fitted(np.ones((5, 3)), np.ones(5), n_classes=1, image_shape=None)


def test_digits_with_gaussian_noise_have_the_snr_asked_for() -> None:
    """Some of their pixels are never written on. By the general definition and by the one of the process."""
    splits, process, snr = prepare(Digits(), n_train=100), InputGaussian(), 0.5
    assert not splits.train_x.any(axis=0).all()
    (varies,) = process.fitted(
        splits.train_x, splits.train_y, n_classes=splits.n_outputs, image_shape=splits.image_shape
    )
    x = splits.train_x.astype(np.float64)
    level, ids = np.float32(process.level(snr)), np.arange(len(x))
    noisy = np.asarray(
        process.apply(
            noise_keys(0, 0), ids, splits.train_x, splits.train_y, level, n_classes=splits.n_outputs, state=(varies,)
        )[0],
        np.float64,
    )
    noise = noisy - x
    se = math.sqrt(2 / (len(x) * varies.sum())) * snr  # of a variance, relative
    slope = np.sum(noisy * x) / np.sum(x**2)
    residual = noisy - slope * x
    general = slope**2 * np.sum(x**2) / np.sum((residual - residual.mean(axis=0)) ** 2)
    assert abs(x.var(axis=0).mean() / noise.var(axis=0).mean() - snr) < 3 * se
    # The slope errs by σ / √Σx², and SNR, relatively, by twice as much.
    assert abs(general - snr) < 3 * math.sqrt(se**2 + (2 * snr * level) ** 2 / np.sum(x**2))


# --- confusion ---


def closed_form(p: float, confusion: np.ndarray) -> float:
    """Kept signal over the rest from the matrix of true and given labels, written out."""
    classes = len(confusion)
    joint = ((1 - p) * np.eye(classes) + p * confusion) / classes
    given = joint.sum(axis=0)
    variance, noisy = 1 - 1 / classes, 1 - np.sum(given**2)
    slope = (np.trace(joint) - np.sum(given) / classes) / variance
    return slope**2 * variance / (noisy - slope**2 * variance)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    classes = draw(st.integers(2, 6))
    weights = np.random.default_rng(draw(st.integers(0, 10**6))).exponential(size=(classes, classes))
    weights **= draw(st.sampled_from([0.2, 1, 4]))
    return weights / weights.sum(axis=1, keepdims=True)


@given(matrices(), st.floats(1e-3, 1.0))
def test_probability_inverts_the_snr_of_any_matrix(confusion: np.ndarray, share: float) -> None:
    classes = len(confusion)
    process = LabelConfusion(matrix=tuple(map(tuple, confusion)))
    largest = min(1.0, (classes - 1) / (classes - np.trace(confusion)))
    p = share * largest * (1 - 1e-6)
    snr = closed_form(p, confusion)
    assert process.probability(snr, n_classes=classes) == pytest.approx(p, rel=1e-9)
    for further in np.linspace(p, largest, 5)[1:]:
        assert closed_form(further, confusion) < snr


@pytest.mark.parametrize("snr", [1e-6, 0.25, 1, 3, 1e9])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_confusion_is_label_flip(classes: int, snr: float) -> None:
    uniform = LabelConfusion(matrix=((1 / classes,) * classes,) * classes)
    assert uniform.probability(snr, n_classes=classes) == pytest.approx(LabelFlip().level(snr), rel=1e-12)


@pytest.mark.parametrize("pattern", ["next", "pairs"])
def test_patterns_are_the_matrices_they_say(pattern: str) -> None:
    wanted = {"next": [1, 2, 3, 4, 0], "pairs": [1, 0, 3, 2, 4]}[pattern]
    np.testing.assert_array_equal(LabelConfusion(pattern=pattern).confusion(5), np.eye(5)[wanted])


def test_confused_labels_follow_the_matrix() -> None:
    process = VARIANTS["label-confusion matrix"]
    snr = 0.2
    p = process.probability(snr, n_classes=CLASSES)
    _, noisy = corrupt(process, snr)
    _, y = clean("classification")
    wanted = (1 - p) * np.eye(CLASSES) + p * np.array(MATRIX)
    for label in range(CLASSES):
        counts = np.bincount(noisy[:, y == label].ravel(), minlength=CLASSES)
        possible = wanted[label] > 0
        assert counts[~possible].sum() == 0
        assert stats.chisquare(counts[possible], counts.sum() * wanted[label][possible]).pvalue > 1e-3


def test_snr_below_the_reach_of_a_matrix_is_refused() -> None:
    mild = LabelConfusion(matrix=((0.9, 0.1), (0.1, 0.9)))
    lowest = closed_form(1.0, np.array(mild.matrix))
    assert mild.probability(lowest * (1 + 1e-9), n_classes=2) == pytest.approx(1, rel=1e-6)
    with pytest.raises(ConsilienceError, match=f"have SNR {lowest:.3g}"):
        mild.level(lowest * 0.99)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (((0.5, 0.5),), "must be square"),
        (((0.5, 0.5), (1.0,)), "must be square"),
        (((0.5, 0.6), (0, 1)), "add up to 1"),
        (((1.5, -0.5), (0, 1)), "add up to 1"),
        (((math.nan, 1), (0, 1)), "add up to 1"),
        (((1, 0), (0, 1)), "keeps its label"),
    ],
)
def test_bad_matrices_are_refused(matrix: tuple, message: str) -> None:
    with pytest.raises(ConsilienceError, match=message):
        LabelConfusion(matrix=matrix)


def test_a_matrix_of_other_classes_is_refused() -> None:
    with pytest.raises(ConsilienceError, match="these data have 3 classes"):
        LabelConfusion(matrix=MATRIX).fitted(*clean("classification"), n_classes=3, image_shape=None)


# --- heteroscedastic ---


@pytest.mark.parametrize("name", ["label-heteroscedastic", "label-heteroscedastic norm"])
def test_noise_is_larger_along_its_direction(name: str) -> None:
    """The variance of each sample's noise over members is the one that NumPy's decomposition gives, up to χ²."""
    process, snr = replace(VARIANTS[name], correlation=0.0), 2.0
    x = clean("regression")[0].astype(np.float64)
    z = np.linalg.norm(x, axis=1) if process.along == "norm" else x @ np.linalg.svd(x, full_matrices=False)[2][0]
    z = (z - z.mean()) / z.std()
    if process.along == "component" and np.corrcoef(z, np.log(state(process)[0]))[0, 1] < 0:
        z = -z  # the sign of a component is arbitrary; the fixed one is tested below
    h2 = np.exp(process.strength * z) / np.mean(np.exp(process.strength * z))
    np.testing.assert_allclose(state(process)[0] ** 2, h2, rtol=1e-4)
    y, noisy = parts(process, snr)
    scaled = np.sum((noisy - y) ** 2, axis=(0, 2)) * snr / h2  # χ² of members · k degrees of freedom
    assert stats.kstest(scaled, stats.chi2(noisy[:, 0].size).cdf).pvalue > 1e-3


def test_component_has_a_fixed_sign() -> None:
    x = np.outer(np.linspace(-1, 1, 50), [0.1, -3.0, 0.5])
    (h,) = LabelHeteroscedastic().fitted(x, x, n_classes=1, image_shape=None)
    assert h[0] > h[-1]  # grows with minus x₁, whose coefficient is the largest


def test_inputs_without_a_direction_get_equal_noise() -> None:
    (h,) = LabelHeteroscedastic().fitted(np.ones((5, 2)), np.ones((5, 1)), n_classes=1, image_shape=None)
    np.testing.assert_array_equal(h, 1)


@pytest.mark.parametrize("options", [{"strength": -1}, {"strength": math.nan}, {"along": "x"}])
def test_bad_options_of_heteroscedastic_noise_are_refused(options: dict) -> None:
    with pytest.raises(ConsilienceError, match=f"^{next(iter(options))} = "):
        LabelHeteroscedastic(**options)


# --- blur ---


@pytest.mark.parametrize("snr", [0.3, 3.0, 300.0])
def test_width_of_a_blur_is_the_one_of_its_snr(snr: float) -> None:
    levels, widths = state(VARIANTS["input-blur"])
    width = np.interp(snr**-0.5, levels, widths)
    found = _snr(clean("regression")[0], (4, 5), np.array([width]))
    np.testing.assert_allclose(found, snr, rtol=1e-3)


def test_weights_of_a_blur_are_those_of_a_gaussian() -> None:
    """Each pixel is a mean of its row's and column's, weighted by a Gaussian."""
    from consilience.data.noise.blur import _smoothing

    for width in (0.3, 1.0, 7.0):
        found = _smoothing(np.array(width), size=6, xp=np)
        density = stats.norm(scale=width).pdf(np.arange(6)[:, None] - np.arange(6))
        np.testing.assert_allclose(found, density / density.sum(1, keepdims=True), rtol=1e-6)


def test_constant_images_are_not_changed_by_blur() -> None:
    process = VARIANTS["input-blur"]
    x = np.ones((3, 20), np.float32)
    noisy, _ = process.apply(
        noise_keys(0, 0), np.arange(3), x, x, 1.0, n_classes=1, image_shape=(4, 5), state=state(process)
    )
    np.testing.assert_allclose(noisy, 1, rtol=1e-6)


def test_blur_needs_images_that_vary() -> None:
    x, y = clean("regression")
    with pytest.raises(ConsilienceError, match="blurs images, and these inputs are none"):
        InputBlur().fitted(x, y, n_classes=1, image_shape=None)
    with pytest.raises(ConsilienceError, match="changes nothing"):
        InputBlur().fitted(np.ones_like(x), y, n_classes=1, image_shape=(4, 5))


def test_largest_level_of_a_blur_is_its_widest() -> None:
    process = VARIANTS["input-blur"]
    lowest = process.largest_level(state(process)) ** -2
    found = _snr(clean(task_of(process))[0], (4, 5), np.array([10.0]))
    np.testing.assert_allclose(found, lowest, rtol=1e-4)
    assert lowest < 0.25
