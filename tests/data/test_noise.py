"""Noise processes: the SNR they claim, and noise that depends on (seed, member, sample) alone."""

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

from consilience.data import PROCESSES, InputGaussian, LabelFlip, LabelGaussian, NoiseProcess, member_key
from consilience.errors import ConsilienceError

N, K, D, CLASSES = 20_000, 3, 4, 5
SNRS = [0.25, 1.0, 4.0]
FLIP, LABEL, INPUT = LabelFlip(), LabelGaussian(), InputGaussian()


def clean(process: NoiseProcess) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, D)).astype(np.float32)
    if "regression" in process.tasks:
        return x, rng.standard_normal((N, K)).astype(np.float32)
    return x, rng.integers(CLASSES, size=N).astype(np.int32)


def corrupt(process: NoiseProcess, snr: float, *, seed: int = 0, member: int = 0, ids: object = None) -> tuple:
    x, y = clean(process)
    ids = np.arange(N) if ids is None else np.asarray(ids)
    out = process.apply(
        member_key(seed, member), jnp.asarray(ids), x[ids], y[ids], process.level(snr), n_classes=CLASSES
    )
    return tuple(np.asarray(part) for part in out)


def noise_of(process: NoiseProcess, snr: float, **which: int) -> np.ndarray:
    x, y = clean(process)
    noisy_x, noisy_y = corrupt(process, snr, **which)
    return (noisy_x - x if process.corrupts == "inputs" else noisy_y - y).astype(np.float64)


@pytest.fixture(params=[cls() for cls in PROCESSES.values()], ids=list(PROCESSES))
def process(request: pytest.FixtureRequest) -> NoiseProcess:
    return request.param


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
    _, y = clean(FLIP)
    _, noisy = corrupt(FLIP, snr)
    agree = np.mean(noisy == y)  # (1 − p) + p / C
    attenuation = (agree - 1 / CLASSES) / (1 - 1 / CLASSES)
    se = math.sqrt(agree * (1 - agree) / N) / (1 - 1 / CLASSES)
    expected = math.sqrt(snr / (1 + snr))
    assert abs(attenuation - expected) < 3 * se
    realised = attenuation**2 / (1 - attenuation**2)
    slope = 2 * expected / (1 - expected**2) ** 2  # d SNR / d attenuation
    assert abs(realised - snr) < 3 * slope * se * 1.1


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_flips_are_uniform_over_all_classes_the_right_one_included(level: float) -> None:
    x, y = clean(FLIP)
    _, noisy = FLIP.apply(member_key(0, 0), jnp.arange(N), x, y, level, n_classes=CLASSES)
    shift = np.bincount((np.asarray(noisy) - y) % CLASSES, minlength=CLASSES)
    expected = np.full(CLASSES, level * N / CLASSES)
    expected[0] += (1 - level) * N
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
def test_impossible_snr_is_refused(process: NoiseProcess, snr: float) -> None:
    with pytest.raises(ConsilienceError, match=r"^snr = "):
        process.level(snr)


@pytest.mark.parametrize("gaussian", [LABEL, INPUT], ids=lambda process: process.name)
def test_gaussian_noise_has_no_snr_of_zero(gaussian: NoiseProcess) -> None:
    with pytest.raises(ConsilienceError, match="snr = 0"):
        gaussian.level(0)


def test_infinite_snr_leaves_the_data_bit_identical(process: NoiseProcess) -> None:
    for noisy, original in zip(corrupt(process, math.inf), clean(process), strict=True):
        np.testing.assert_array_equal(noisy, original)


def test_only_what_it_says_is_corrupted(process: NoiseProcess) -> None:
    (x, y), (noisy_x, noisy_y) = clean(process), corrupt(process, 0.5)
    corrupted = {"inputs": not np.array_equal(x, noisy_x), "labels": not np.array_equal(y, noisy_y)}
    assert [part for part, changed in corrupted.items() if changed] == [process.corrupts]


@pytest.mark.parametrize("size", [1, 7, 1001])
def test_noise_of_a_sample_does_not_depend_on_which_others_are_asked_for(process: NoiseProcess, size: int) -> None:
    rng = np.random.default_rng(size)
    everything = corrupt(process, 0.5)
    ids = rng.permutation(N)[:size]
    for some, everyone in zip(corrupt(process, 0.5, ids=ids), everything, strict=True):
        np.testing.assert_array_equal(some, everyone[ids])


def test_a_repeated_sample_gets_the_same_noise(process: NoiseProcess) -> None:
    for part in corrupt(process, 0.5, ids=[7, 3, 7, 7]):
        np.testing.assert_array_equal(part[[0, 0]], part[[2, 3]])


def test_jit_and_vmap_over_members_and_levels_give_the_same_bits(process: NoiseProcess) -> None:
    x, y = (part[:200] for part in clean(process))
    ids, members, levels = jnp.arange(200), jnp.arange(4), jnp.array([process.level(s) for s in (0.1, 1, 4, 9)])

    def one(member: jax.Array, level: jax.Array) -> tuple[jax.Array, jax.Array]:
        return process.apply(member_key(0, member), ids, x, y, level, n_classes=CLASSES)

    mapped = jax.jit(jax.vmap(one))(members, levels)
    jitted = jax.jit(one)
    for m in range(4):
        for part, alone in zip(mapped, jitted(members[m], levels[m]), strict=True):
            np.testing.assert_array_equal(part[m], alone)


@pytest.mark.parametrize("which", [{"member": 1}, {"seed": 1}], ids=["member", "seed"])
def test_members_and_seeds_are_independent(process: NoiseProcess, which: dict[str, int]) -> None:
    a, b = noise_of(process, 0.5).ravel(), noise_of(process, 0.5, **which).ravel()
    if process.name == "label-flip":  # compare which samples are hit, the replacement having C values
        a, b = (a != 0).astype(float), (b != 0).astype(float)
    assert abs(np.corrcoef(a, b)[0, 1]) < 3.5 / math.sqrt(a.size)


def test_noise_is_independent_across_samples_and_columns() -> None:
    noise = noise_of(LABEL, 1.0)  # (N, K)
    correlation = np.corrcoef(np.concatenate([noise[:-1], noise[1:]], axis=1).T)
    off = correlation[~np.eye(2 * K, dtype=bool)]
    assert np.abs(off).max() < 4 / math.sqrt(N)


@pytest.mark.parametrize("gaussian", [LABEL, INPUT], ids=lambda process: process.name)
def test_gaussian_draws_are_the_same_at_every_snr(gaussian: NoiseProcess) -> None:
    # Differences from the clean values carry the float32 rounding of the sums.
    np.testing.assert_allclose(noise_of(gaussian, 0.25), 4 * noise_of(gaussian, 4.0), atol=1e-5)


def test_flips_at_high_snr_are_among_those_at_low_snr() -> None:
    _, y = clean(FLIP)
    (_, few), (_, many) = corrupt(FLIP, 4.0), corrupt(FLIP, 0.25)
    flipped = few != y
    assert 0 < flipped.sum() < (many != y).sum()
    np.testing.assert_array_equal(few[flipped], many[flipped])


def test_the_noise_has_its_own_stream_of_random_numbers() -> None:
    key = jax.random.key(0)
    others = [jax.random.fold_in(jax.random.fold_in(key, stream), 5) for stream in range(10)]
    data = jax.random.key_data(member_key(0, 5))
    assert not any(jnp.array_equal(data, jax.random.key_data(other)) for other in (key, *others))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_the_generator_would_truncate_are_refused(seed: int) -> None:
    with pytest.raises(ConsilienceError, match="seed = "):
        member_key(seed, 0)


def test_labels_of_the_wrong_task_are_refused() -> None:
    x, key, ids = jnp.zeros((2, 1)), member_key(0, 0), jnp.arange(2)
    with pytest.raises(ConsilienceError, match="'label-flip' corrupts integer class numbers"):
        FLIP.apply(key, ids, x, jnp.zeros((2, 1)), 0.5, n_classes=2)
    with pytest.raises(ConsilienceError, match="'label-gaussian' corrupts real values"):
        LABEL.apply(key, ids, x, jnp.zeros(2, jnp.int32), 0.5, n_classes=2)


@pytest.mark.parametrize("noise", [LABEL, FLIP], ids=lambda process: process.name)
def test_sixty_thousand_samples_take_under_fifty_milliseconds(noise: NoiseProcess) -> None:
    n = 60_000
    x = jnp.zeros((n, 1))
    y = jnp.zeros((n, 10)) if noise is LABEL else jnp.zeros(n, jnp.int32)
    run = jax.jit(lambda key, level: noise.apply(key, jnp.arange(n), x, y, level, n_classes=10)[1])
    jax.block_until_ready(run(member_key(0, 0), 0.5))
    seconds = []
    for member in range(7):
        start = time.perf_counter()
        jax.block_until_ready(run(member_key(0, member), 0.5))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05
