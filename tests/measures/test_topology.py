"""Measures of topology: against brute force on few samples, shapes known beforehand, and without gudhi."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from consilience import ConsilienceError, DegenerateWarning, geometry_score, get_measure, imd, pairwise, rtd
from consilience.errors import MissingDependencyError
from consilience.measures.geometry_score import _shares_of_counts
from consilience.testing.libraries import _converted

RNG = np.random.default_rng


def pair(n=60, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, 4))
    return x, np.column_stack([x[:, :2], rng.standard_normal((n, 3))])


def ring(n, inner=0.8, seed=0):
    rng = RNG(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    radius = np.sqrt(rng.uniform(inner**2, 1, n))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


# Independent definitions ---------------------------------------------------------------------------------------------


def bars_by_reduction(filtration):
    """Bars in dimension 1 of a filtered complex, {simplex: scale}, by reducing its boundary matrix over Z₂."""
    simplices = sorted(filtration, key=lambda s: (filtration[s], len(s), s))
    position = {s: i for i, s in enumerate(simplices)}
    columns, lows, bars, paired = {}, {}, [], set()
    for i, simplex in enumerate(simplices):
        column = {position[f] for f in itertools.combinations(simplex, len(simplex) - 1)} if len(simplex) > 1 else set()
        while column and max(column) in lows:
            column ^= columns[lows[max(column)]]
        if column:
            lows[max(column)], columns[i] = i, column
            paired |= {max(column), i}
            if len(simplex) == 3:
                bars.append((filtration[simplices[max(column)]], filtration[simplex]))
        elif len(simplex) == 2:
            columns.setdefault(i, set())
    alive = [filtration[s] for i, s in enumerate(simplices) if len(s) == 2 and i not in paired]
    return bars, alive


def brute_rtd(x, y, direction="symmetric"):
    """From the graph of two copies of the samples in which Barannikov et al. define the cross-barcode."""
    a, b = (cdist(z, z) for z in (x, y))
    a, b = a / np.quantile(a, 0.9), b / np.quantile(b, 0.9)
    total = []
    for own in [a] if direction == "forward" else [a, b]:
        n = len(own)
        graph = np.zeros((2 * n, 2 * n))
        graph[n:, :n], graph[:n, n:], graph[n:, n:] = own, own.T, np.minimum(a, b)
        filtration = {}
        for size in (1, 2, 3):
            for simplex in itertools.combinations(range(2 * n), size):
                edges = itertools.combinations(simplex, 2)
                filtration[simplex] = max((graph[i, j] for i, j in edges), default=0.0)
        bars, alive = bars_by_reduction(filtration)
        assert not alive
        total.append(sum(death - birth for birth, death in bars))
    return np.mean(total)


def brute_imd(x, y, k=5, relative_to="empty"):
    times = np.logspace(-1, 1, 256)
    traces = []
    for z in (x, y):
        n = len(z)
        d = cdist(z, z)
        np.fill_diagonal(d, np.inf)
        joined = np.zeros((n, n))
        for i in range(n):
            for j in np.argsort(d[i])[:k]:
                joined[i, j] = joined[j, i] = 1
        degree = joined.sum(1)
        laplacian = np.eye(n) - joined / np.sqrt(np.outer(degree, degree))
        traces.append(np.array([np.exp(-t * np.linalg.eigvalsh(laplacian)).sum() for t in times]))
    complete = np.eye(n) - (np.ones((n, n)) - np.eye(n)) / (n - 1)
    reference = [n if relative_to == "empty" else np.exp(-t * np.linalg.eigvalsh(complete)).sum() for t in times]
    return max(1e6 * np.exp(-2 * (times + 1 / times)) * np.abs(traces[0] - traces[1]) / np.array(reference))


def brute_living_times(x, landmarks, gamma):
    """Relative living times of the weak witness complex, from its definition."""
    d = cdist(x, x[landmarks])
    largest = gamma * d.max()
    count = len(landmarks)
    filtration = {}
    for size in (1, 2, 3):
        for simplex in itertools.combinations(range(count), size):
            outside = [j for j in range(count) if j not in simplex]
            needed = min(max(0.0, row[list(simplex)].max() - row[outside].min()) for row in d)
            faces = (
                [filtration.get(f, np.inf) for f in itertools.combinations(simplex, size - 1)] if size > 1 else [0.0]
            )
            scale = max(needed, *faces)
            if scale <= largest:
                filtration[simplex] = scale
    bars, alive = bars_by_reduction(filtration)
    bars += [(birth, largest) for birth in alive]
    cuts = sorted({0.0, largest, *(end for bar in bars for end in bar)})
    times = np.zeros(100)
    for low, high in itertools.pairwise(cuts):
        times[sum(birth <= low and death >= high for birth, death in bars)] += (high - low) / largest
    return times


# Multi-scale intrinsic distance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative_to", ["empty", "complete"])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_intrinsic_distance_against_brute_force(relative_to, k, library):
    x, y = pair()
    a, b = (x, y) if library == "numpy" else (_converted(library, z) for z in (x, y))
    found = float(imd(a, b, k=k, relative_to=relative_to))
    assert found == pytest.approx(brute_imd(x, y, k, relative_to), rel=1e-9)


def test_intrinsic_distance_does_not_see_which_sample_is_where():
    x, y = pair()
    assert imd(x, x[::-1]) == pytest.approx(0, abs=1e-6)
    assert imd(x, y) == pytest.approx(float(imd(x, y[::-1])), rel=1e-9)


def test_intrinsic_distance_orders_dimensions():
    clouds = [RNG(0).random((200, d)) for d in (1, 2, 6)]
    scores = pairwise(clouds, "imd")
    assert scores[0, 2] > scores[0, 1] > 0
    assert scores[0, 2] > scores[1, 2]
    assert scores.max() < 1e6 * np.exp(-4)


def test_quadrature_agrees_with_eigenvalues(monkeypatch):
    rng = RNG(0)
    x, y = rng.standard_normal((300, 5)), rng.standard_normal((300, 8))
    twins = np.repeat(rng.standard_normal((60, 3)), 5, axis=0)  # few distinct eigenvalues exhaust the Krylov space
    exact = [float(imd(x, z, k=4)) for z in (y, twins)]
    monkeypatch.setattr(sys.modules["consilience.measures.imd"], "_EXACT_ROWS", 0)
    for z, expected in zip((y, twins), exact, strict=True):
        found = np.array([imd(x, z, k=4, seed=seed) for seed in range(4)])
        assert np.ptp(found) > 0
        assert abs(found.mean() - expected) < 4 * max(found.std(ddof=1), 0.1) / 2
        assert np.abs(found - expected).max() < 0.02 * expected
    assert imd(x, x) == 0
    assert imd(x, y, k=4) == imd(x, y, k=4)


# Representation topology divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("direction", ["symmetric", "forward"])
def test_topology_divergence_against_the_definition_of_its_barcode(seed, direction):
    rng = RNG(seed)
    x, y = rng.standard_normal((8, 2)), rng.standard_normal((8, 3))
    assert rtd(x, y, direction=direction) == pytest.approx(brute_rtd(x, y, direction), abs=1e-12)
    ties = rng.integers(0, 3, (8, 2)).astype(float)
    assert rtd(ties, y, direction=direction) == pytest.approx(brute_rtd(ties, y, direction), abs=1e-12)


def test_topology_divergence_by_hand():
    # two pairs of samples, 5 apart, which y moves to the corners of a square; the 0.9 quantiles are √26 and √2
    x = np.array([[0.0, 0], [0, 1], [5, 0], [5, 1]])
    y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    side, near, far = 1 / np.sqrt(2), 1 / np.sqrt(26), 5 / np.sqrt(26)
    joined, loop = far - side, far - side  # y joins the clusters of x, and has its loop, before x has
    assert rtd(x, y, direction="forward") == pytest.approx(joined + loop, abs=1e-12)
    assert rtd(y, x, direction="forward") == pytest.approx(2 * (side - near), abs=1e-12)
    assert rtd(x, y) == pytest.approx((joined + loop) / 2 + side - near, abs=1e-12)


def test_no_divergence_between_similar_figures():
    x, y = pair()
    rotation = np.linalg.qr(RNG(3).standard_normal((4, 4)))[0]
    assert rtd(x, x) == 0
    assert rtd(x, x.copy()) == 0
    assert rtd(x, 7 * x @ rotation + 2) == pytest.approx(0, abs=1e-12)
    assert rtd(x, y) > 1


def test_divergence_in_batches_is_the_mean_over_batches():
    x, y = pair(90)
    measure = get_measure("rtd", batch=20, repetitions=3, seed=4)
    rng = RNG(4)
    rows = [rng.permutation(90)[:20] for _ in range(3)]
    expected = np.mean([rtd(x[i], y[i]) for i in rows])
    assert measure(x, y) == pytest.approx(expected, abs=1e-12)
    assert measure(x, y) != get_measure("rtd", batch=20, repetitions=3)(x, y)
    assert rtd(x, y, batch=90) == rtd(x, y)


def test_distances_without_scale():
    x = np.zeros((30, 2))
    x[0] = 1
    y = pair(30)[1]
    with pytest.warns(DegenerateWarning, match="all but a tenth of the pairs of rows coincide"):
        assert np.isnan(rtd(x, y))


def test_a_batch_beyond_the_memory_budget_is_refused():
    x = RNG(0).standard_normal((700, 2))
    with pytest.raises(ConsilienceError, match="the complex of 700 samples"):
        rtd(x, x[:, :1], batch=700)


# Geometry score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gamma", [0.05, 0.2, 0.5])
def test_living_times_against_the_definition(seed, gamma):
    rng = RNG(seed)
    x, y = rng.standard_normal((20, 2)), ring(20, seed=seed)
    measure = get_measure("geometry_score", landmarks=9, repetitions=2, gamma=gamma, seed=seed)
    draws = RNG(seed)
    draws = [draws.choice(20, 9, replace=False) for _ in range(2)]
    times = [np.mean([brute_living_times(z, draw, gamma) for draw in draws], axis=0) for z in (x, y)]
    assert measure.prepare(x).times == pytest.approx(times[0], abs=1e-12)
    assert measure.prepare(y).times == pytest.approx(times[1], abs=1e-12)
    assert measure(x, y) == pytest.approx(np.sum((times[0] - times[1]) ** 2), abs=1e-12)


def test_a_loop_without_triangles_is_counted():
    angle = 2 * np.pi * np.arange(60) / 60 + 0.01 * RNG(0).standard_normal(60)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    assert get_measure("geometry_score", landmarks=12, gamma=0.02).prepare(circle).times[1] > 0.2


def test_shares_of_counts_by_hand():
    bars = np.array([[0.0, 0.5], [0.25, np.inf], [0.3, 0.3]])
    assert _shares_of_counts(bars, 1.0)[:4] == pytest.approx([0, 0.75, 0.25, 0])
    assert _shares_of_counts(np.zeros((0, 2)), 2.0)[0] == 1
    crowd = np.tile([[0.0, 1.0]], (150, 1))
    assert _shares_of_counts(crowd, 2.0).shape == (100,)
    assert _shares_of_counts(crowd, 2.0).sum() == 0.5  # 150 holes are more than are counted


def test_a_ring_has_one_hole_and_a_disk_none():
    measure = get_measure("geometry_score")
    times = [measure.prepare(ring(400, inner)).times for inner in (0.8, 0)]
    assert times[0][1] > 0.8
    assert times[1][0] > 0.5
    same = measure(ring(400), ring(400, seed=1))
    assert same < 0.05 < 0.5 < measure(ring(400), ring(400, 0))


def test_clouds_without_loops_are_flagged():
    angle = np.linspace(0, 2 * np.pi, 100)
    circle, line = np.column_stack([np.cos(angle), np.sin(angle)]), angle[:, None]
    measure = get_measure("geometry_score", repetitions=3)
    clouds = [line, np.column_stack([angle, angle**2 / 9]), circle]
    states = [measure.prepare(x) for x in clouds]
    assert "neither representation shows a loop" in measure.caveat(states[0], states[1])
    assert measure.caveat(states[0], states[2]) is None


def test_geometry_score_does_not_depend_on_the_library():
    x, y = pair(40)
    expected = float(geometry_score(x, y, repetitions=3))
    for library in ("torch", "array_api_strict"):
        found = geometry_score(_converted(library, x), _converted(library, y), repetitions=3)
        assert float(found) == pytest.approx(expected, abs=1e-14)
    assert float(geometry_score(x, y, repetitions=3, seed=1)) != expected


# All three ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imd", "rtd", "geometry_score(repetitions=3)"])
def test_more_features_than_samples_and_copies(name):
    measure = get_measure(name)
    x, y = RNG(0).standard_normal((20, 50)), RNG(1).standard_normal((20, 3))
    assert np.isfinite(measure(x, y))
    copies = np.concatenate([y[:10], y[:10]])
    assert np.isfinite(measure(copies, x))
    rotation = np.linalg.qr(RNG(3).standard_normal((3, 3)))[0]
    assert measure(copies, copies @ rotation) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["rtd", "geometry_score"])
def test_without_gudhi_the_error_names_the_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "gudhi", None)
    with pytest.raises(MissingDependencyError, match=rf"{name} needs gudhi.*consilience\[topology\]"):
        get_measure(name)(*pair(20))


def test_intrinsic_distance_needs_no_gudhi(monkeypatch):
    monkeypatch.setitem(sys.modules, "gudhi", None)
    assert imd(*pair(20)) > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("imd", {"k": 0}, "k of imd is 0"),
        ("imd", {"probes": 0}, "probes of imd is 0"),
        ("imd", {"relative_to": "nothing"}, "no relative_to 'nothing'"),
        ("rtd", {"batch": 2}, "batch of rtd is 2"),
        ("rtd", {"repetitions": 0}, "repetitions of rtd is 0"),
        ("rtd", {"direction": "backward"}, "no direction 'backward'"),
        ("geometry_score", {"landmarks": 2}, "landmarks of geometry_score is 2"),
        ("geometry_score", {"gamma": 0.0}, "gamma of geometry_score is 0.0"),
        ("geometry_score", {"gamma": 1.5}, "above 0 and at most 1"),
        ("geometry_score", {"seed": -1}, "seed of geometry_score is -1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ConsilienceError, match=message):
        get_measure(name, **options)


@pytest.mark.parametrize(("name", "least"), [("imd", 7), ("imd(k=3)", 5), ("rtd", 3), ("geometry_score", 8)])
def test_fewest_samples(name, least):
    x, y = pair(least)
    assert np.isfinite(get_measure(name)(x, y))
    with pytest.raises(ConsilienceError, match=f"at least {least}"):
        get_measure(name)(x[1:], y[1:])
