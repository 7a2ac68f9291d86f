"""Noise processes: what they leave alone, their levels, and noise that depends on (seed, member, sample) alone."""

from __future__ import annotations

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.data.noisy import CLASSES, KINDS, SHAPE, VARIANTS, N, clean, corrupt, one_hot, state, task_of

from consilience.data import (
    PROCESSES,
    InputGaussian,
    LabelFlip,
    LabelGaussian,
    NoiseProcess,
    NoNoise,
    member_key,
    noise_keys,
)
from consilience.errors import ConsilienceError

SNRS = [0.25, 1.0, 4.0]
FLIP, LABEL, INPUT = LabelFlip(), LabelGaussian(), InputGaussian()
FEW = np.random.default_rng(0).permutation(N)[:37]


def noise_of(process: NoiseProcess, snr: float, *, member: int = 0, seed: int = 0) -> np.ndarray:
    (x, y), (noisy_x, noisy_y) = clean(task_of(process)), corrupt(process, snr, seed=seed)
    return (noisy_x[member] - x if process.corrupts == "inputs" else noisy_y[member] - y).astype(np.float64)


FLOAT32 = 1e-6  # rounding of numbers near 4: XLA may compute the last few of an array otherwise than the rest


@pytest.fixture(params=KINDS)
def process(request: pytest.FixtureRequest) -> NoiseProcess:
    return VARIANTS[request.param]


@pytest.mark.parametrize("snr", SNRS)
@pytest.mark.parametrize("gaussian", [LABEL, INPUT], ids=lambda process: process.name)
def test_gaussian_noise_has_the_snr_asked_for(gaussian: NoiseProcess, snr: float) -> None:
    noise = noise_of(gaussian, snr) * math.sqrt(snr)  # N(0, 1)
    assert abs(np.mean(noise**2) - 1) < 3 * math.sqrt(2 / noise.size)
    assert abs(noise.mean()) < 3 / math.sqrt(noise.size)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("snr", SNRS)
def test_flips_have_the_snr_asked_for(snr: float) -> None:
    """The attenuation 1 − p is the regression slope of noisy on clean one-hot labels."""
    _, y = clean("classification")
    _, noisy = corrupt(FLIP, snr)
    agree = np.mean(noisy == y)  # (1 − p) + p / C
    attenuation = (agree - 1 / CLASSES) / (1 - 1 / CLASSES)
    se = math.sqrt(agree * (1 - agree) / noisy.size) / (1 - 1 / CLASSES)
    expected = math.sqrt(snr / (1 + snr))
    assert abs(attenuation - expected) < 3 * se
    realised = attenuation**2 / (1 - attenuation**2)
    slope = 2 * expected / (1 - expected**2) ** 2  # d SNR / d attenuation
    assert abs(realised - snr) < 3 * slope * se * 1.1


@pytest.mark.parametrize("snr", [1 / 3, 0.0])
def test_flips_are_uniform_over_all_classes_the_right_one_included(snr: float) -> None:
    level = FLIP.level(snr)
    _, y = clean("classification")
    _, noisy = corrupt(FLIP, snr)
    shift = np.bincount(((noisy - y) % CLASSES).ravel(), minlength=CLASSES)
    expected = np.full(CLASSES, level * noisy.size / CLASSES)
    expected[0] += (1 - level) * noisy.size
    assert stats.chisquare(shift, expected).pvalue > 1e-3
    assert noisy.dtype == y.dtype


@given(st.floats(1e-6, 0.999))
def test_flip_level_inverts_its_definition(p: float) -> None:
    signal = (1 - p) ** 2
    assert FLIP.level(signal / (1 - signal)) == pytest.approx(p, rel=1e-8)


def test_levels_at_the_ends(process: NoiseProcess) -> None:
    assert process.level(math.inf) == 0.0
    levels = [process.level(snr) for snr in (0.01, 0.1, 1, 10, 1e6)]
    assert levels == sorted(levels, reverse=True)
    assert all(level > 0 for level in levels)


def test_flip_level_keeps_its_digits_at_high_snr() -> None:
    assert FLIP.level(1e12) == pytest.approx(0.5e-12, rel=1e-9)
    assert FLIP.level(0) == 1.0


@pytest.mark.parametrize("snr", [-1.0, math.nan])
@pytest.mark.parametrize("name", PROCESSES)
def test_impossible_snr_is_refused(name: str, snr: float) -> None:
    with pytest.raises(ConsilienceError, match=r"^snr = "):
        PROCESSES[name]().level(snr)


@pytest.mark.parametrize("gaussian", [LABEL, INPUT], ids=lambda process: process.name)
def test_gaussian_noise_has_no_snr_of_zero(gaussian: NoiseProcess) -> None:
    with pytest.raises(ConsilienceError, match="snr = 0"):
        gaussian.level(0)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_no_noise_has_one_snr_and_changes_nothing(task: str) -> None:
    none, (x, y) = NoNoise(), clean(task)
    assert task in none.tasks
    assert none.level(math.inf) == 0
    with pytest.raises(ConsilienceError, match=r"snr = 4: noise process 'none' adds nothing; give snr = \[inf\]"):
        none.level(4)
    noisy = none.apply(noise_keys(0, 0), jnp.arange(N), x, y, 0.0, n_classes=CLASSES)
    assert noisy[0] is x
    assert noisy[1] is y


def test_infinite_snr_leaves_the_data_bit_identical(process: NoiseProcess) -> None:
    for noisy, original in zip(corrupt(process, math.inf), clean(task_of(process)), strict=True):
        for member in noisy:
            np.testing.assert_array_equal(member, original)


def test_only_what_it_says_is_corrupted(process: NoiseProcess) -> None:
    (x, y), (noisy_x, noisy_y) = clean(task_of(process)), corrupt(process, 0.5)
    corrupted = {"inputs": not (noisy_x == x).all(), "labels": not (noisy_y == y).all()}
    assert [part for part, changed in corrupted.items() if changed] == [process.corrupts]
    assert (noisy_x.dtype, noisy_y.dtype) == (x.dtype, y.dtype)


def test_noise_of_a_sample_does_not_depend_on_which_others_are_asked_for(process: NoiseProcess) -> None:
    for some, everyone in zip(corrupt(process, 0.5, ids=FEW), corrupt(process, 0.5), strict=True):
        np.testing.assert_allclose(some, everyone[:, FEW], rtol=0, atol=FLOAT32)


def test_a_repeated_sample_gets_the_same_noise(process: NoiseProcess) -> None:
    ids = np.resize([7, 3, 7, 7], len(FEW))
    for part in corrupt(process, 0.5, ids=ids):
        np.testing.assert_array_equal(part[:, [0, 0]], part[:, [2, 3]])


def test_vmap_over_members_gives_the_same_bits(process: NoiseProcess) -> None:
    together = corrupt(process, 4.0, ids=FEW)
    for m in (0, 5):
        for part, alone in zip(together, corrupt(process, 4.0, ids=FEW, members=[m]), strict=True):
            np.testing.assert_allclose(part[m], alone[0], rtol=0, atol=FLOAT32 if process.name == "input-blur" else 0)


@pytest.mark.parametrize("which", [{"member": 1}, {"seed": 1}], ids=["member", "seed"])
@pytest.mark.parametrize("name", ["label-gaussian", "input-gaussian", "label-flip", "input-dropout", "laplace"])
def test_members_and_seeds_are_independent(name: str, which: dict[str, int]) -> None:
    process = VARIANTS[name]
    a, b = noise_of(process, 0.5).ravel(), noise_of(process, 0.5, **which).ravel()
    if name in ("label-flip", "input-dropout"):  # compare which are hit: what that does depends on the clean value
        a, b = (a != 0).astype(float), (b != 0).astype(float)
    assert abs(np.corrcoef(a, b)[0, 1]) < 3.5 / math.sqrt(a.size)


def test_noise_is_independent_across_samples_and_columns() -> None:
    noise = noise_of(LABEL, 1.0)  # (N, K)
    correlation = np.corrcoef(np.concatenate([noise[:-1], noise[1:]], axis=1).T)
    off = correlation[~np.eye(2 * noise.shape[1], dtype=bool)]
    assert np.abs(off).max() < 4 / math.sqrt(N)


@pytest.mark.parametrize("name", ["label-gaussian", "input-gaussian", "label-heteroscedastic", "laplace"])
def test_additive_draws_are_the_same_at_every_snr(name: str) -> None:
    # Differences from the clean values carry the float32 rounding of the sums.
    process = VARIANTS[name]
    np.testing.assert_allclose(noise_of(process, 0.25), 4 * noise_of(process, 4.0), atol=1e-4)


@pytest.mark.parametrize("name", ["label-flip", "label-confusion", "input-dropout", "salt"])
def test_what_is_replaced_at_high_snr_is_among_what_is_at_low_snr(name: str) -> None:
    process = VARIANTS[name]
    part = process.corrupts == "labels"
    original = clean(task_of(process))[part]
    few, many = corrupt(process, 4.0)[part], corrupt(process, 0.25)[part]
    replaced = few != original
    assert 0 < replaced.sum() < (many != original).sum()
    np.testing.assert_array_equal(few[replaced], many[replaced])


def test_uncorrelated_noise_is_what_it_was_before_members_could_share_any() -> None:
    """The definition of the realizations of runs on disk, drawn here one by one."""
    key = member_key(3, 2)
    (_, y), (_, labels) = clean("regression"), clean("classification")
    wanted_y, wanted_labels = [], []
    for i in FEW[:5]:
        own = jax.random.fold_in(key, i)
        wanted_y.append(np.float32(0.5) * np.asarray(jax.random.normal(own, y[0].shape)))
        whether, which = jax.random.split(own)
        flipped = jax.random.uniform(whether) < np.float32(FLIP.level(0.1))
        wanted_labels.append(jax.random.randint(which, (), 0, CLASSES) if flipped else labels[i])
    noisy = corrupt(LABEL, 4.0, seed=3)[1][2] - y
    np.testing.assert_allclose(noisy[FEW[:5]], wanted_y, atol=1e-6)
    np.testing.assert_array_equal(corrupt(FLIP, 0.1, seed=3)[1][2][FEW[:5]], wanted_labels)


def test_the_noise_has_its_own_stream_of_random_numbers() -> None:
    key = jax.random.key(0)
    others = [jax.random.fold_in(jax.random.fold_in(key, stream), 5) for stream in range(10)]
    own, shared = (jax.random.key_data(one) for one in noise_keys(0, 5))
    assert not any(jnp.array_equal(own, jax.random.key_data(other)) for other in (key, *others))
    assert not jnp.array_equal(own, shared)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_the_generator_would_truncate_are_refused(seed: int) -> None:
    with pytest.raises(ConsilienceError, match="seed = "):
        member_key(seed, 0)


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith("label")])
def test_labels_of_the_wrong_task_are_refused(name: str) -> None:
    process = VARIANTS[name]
    classes = task_of(process) == "classification"
    x, y = clean("regression" if classes else "classification")
    said = f"'{name}' corrupts " + ("integer class numbers" if classes else "real values")
    with pytest.raises(ConsilienceError, match=said):
        process.apply(noise_keys(0, 0), jnp.arange(N), x, y, 0.5, n_classes=2, image_shape=SHAPE, state=state(process))


def test_variance_of_noisy_targets(process: NoiseProcess) -> None:
    """Over the fixed data and all members: χ² of as many degrees of freedom as there are values, or heavier tails."""
    if task_of(process) == "classification":
        assert process.target_variance(0.5) == 1
        assert one_hot(np.arange(CLASSES)).mean() == pytest.approx(0)
        return
    _, noisy = corrupt(process, 4.0)
    wanted = process.target_variance(process.level(4.0))
    each = np.var(noisy, axis=(1, 2))
    assert abs(each.mean() - wanted) <= 3 * each.std(ddof=1) / math.sqrt(len(each))
    assert wanted == (1.25 if process.corrupts == "labels" else 1.0)


@pytest.mark.parametrize("noise", [LABEL, FLIP], ids=lambda process: process.name)
def test_sixty_thousand_samples_take_under_fifty_milliseconds(noise: NoiseProcess) -> None:
    n = 60_000
    x = jnp.zeros((n, 1))
    y = jnp.zeros((n, 10)) if noise is LABEL else jnp.zeros(n, jnp.int32)
    run = jax.jit(lambda keys, level: noise.apply(keys, jnp.arange(n), x, y, level, n_classes=10)[1])
    jax.block_until_ready(run(noise_keys(0, 0), 0.5))
    seconds = []
    for member in range(7):
        start = time.perf_counter()
        jax.block_until_ready(run(noise_keys(0, member), 0.5))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_channels_of_an_image_are_blurred_alike_and_apart() -> None:
    """A grey image in every channel has the grey image's SNR; each channel becomes what it would by itself."""
    blur, (grey, y) = VARIANTS["input-blur"], clean("classification")
    options = {"n_classes": CLASSES, "image_shape": (*SHAPE, 2)}
    same = blur.fitted(np.repeat(grey, 2, axis=1), y, **options)
    for one, two in zip(same, state(blur), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)
    other = np.roll(grey, 1, axis=0)
    both = np.stack([grey, other], axis=2).reshape(N, -1)
    keys, ids, level = noise_keys(np.uint32(0), np.uint32(3)), np.arange(N), np.float32(0.5)
    blurred, _ = blur.apply(keys, ids, both, y, level, state=same, **options)
    for channel, x in enumerate((grey, other)):
        alone, _ = blur.apply(keys, ids, x, y, level, state=same, **{**options, "image_shape": SHAPE})
        np.testing.assert_allclose(np.asarray(blurred).reshape(N, -1, 2)[:, :, channel], alone, atol=FLOAT32)
    assert not np.allclose(blurred, both, atol=0.01)
