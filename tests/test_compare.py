from __future__ import annotations

import warnings

import numpy as np
import pytest
from tests.quick import quick_compilation  # noqa: F401

from consilience import (
    Comparison,
    ConsilienceError,
    DegenerateWarning,
    UnknownNameError,
    compare,
    get_measure,
    layerwise,
    measures,
    pairwise,
    stats,
)
from consilience.compare import Scores
from consilience.testing.libraries import _converted

RNG = np.random.default_rng
NAMES = list(measures())
UNDEFINED = [name for name in NAMES if not get_measure(name).defined_for_constants]


def reps(widths=(3, 3, 3, 3), n=30):
    z = RNG(0).standard_normal((n, 3))
    return [z @ RNG(i).standard_normal((3, w)) + RNG([i, 1]).standard_normal((n, w)) for i, w in enumerate(widths)]


def test_compare_gives_every_score_by_label_in_order():
    x, y = reps()[:2]
    result = compare(x, y, ["procrustes", "cka(estimator=biased)", get_measure("cka")])
    assert isinstance(result, Comparison)
    assert [score.label for score in result] == ["procrustes", "cka(estimator=biased)", "cka"]
    assert float(result["cka"]) == get_measure("cka")(x, y)
    assert result["procrustes"].kind == "distance"
    assert result.n_samples == 30
    assert len(result) == 3
    assert str(result).count("\n") == 2
    assert compare(x, y, "cka")["cka"].value == compare(x, y)["cka"].value
    with pytest.raises(UnknownNameError, match="procrustes, cka"):
        result["mutual_knn"]


@pytest.mark.parametrize("name", UNDEFINED)
def test_compare_gives_the_reason_of_a_nan(name):
    x = reps()[0]
    targets = np.arange(30) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = compare(np.full((30, 3), 1 / 3), x, name, targets=targets)[name]
        again = compare(x, x**2, name, targets=targets)[name]
    assert np.isnan(score.value)
    assert score.reason.startswith("in x, ")
    assert again.reason is None
    assert np.isfinite(again.value)


@pytest.mark.parametrize("name", ["cka", "procrustes", "mutual_knn", "information_imbalance", "cca", "rsa"])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "array_api_strict"])
def test_a_constant_representation_is_named_and_takes_only_its_own_pairs(name, library):
    members = reps()
    members[1] = np.zeros((30, 3))
    expected = np.full((4, 4), np.nan)
    kept = [0, 2, 3]
    expected[np.ix_(kept, kept)] = pairwise([members[i] for i in kept], name)
    given = members if library == "numpy" else [_converted(library, x) for x in members]
    with pytest.warns(DegenerateWarning, match=r"in member 1, (every|all)") as caught:
        found = pairwise(given, name, names=[f"member {i}" for i in range(4)])
    assert len(caught) == 1
    assert type(found) is type(given[0])
    assert np.allclose(np.asarray(found), expected, atol=1e-5, equal_nan=True)


def test_nothing_but_constant_representations():
    with pytest.warns(DegenerateWarning, match="representation [01]"):
        found = pairwise([np.zeros((9, 2)), np.ones((9, 3))], "cka")
    assert found.shape == (2, 2)
    assert np.isnan(found).all()


def test_pairwise_is_float64_for_every_input_type():
    for dtype in (np.float16, np.float32, np.int32, bool):
        members = [np.asarray(x > 0 if dtype is bool else 10 * x, dtype) for x in reps()]
        found = pairwise(members, "cka")
        assert found.dtype == np.float64
        assert found == pytest.approx(pairwise([x.astype(float) for x in members], "cka"), abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_layerwise_is_compare_of_every_pair_of_layers(name):
    layers = reps((3, 3, 3))
    measure = get_measure(name)
    targets = np.arange(30) % 3
    found = layerwise({"a": layers[0], "b": layers[1]}, layers, measure, targets=targets)
    expected = np.array([[measure(a, b, targets=targets) for b in layers] for a in layers[:2]])
    assert found == pytest.approx(expected, abs=1e-9)


def test_layerwise_names_the_layer_that_is_constant():
    layers = reps((3, 4))
    with pytest.warns(DegenerateWarning, match="in layers_b 'dead'"):
        found = layerwise(layers, {"dead": np.ones((30, 2)), "live": layers[0]}, "cka")
    assert np.isnan(found[:, 0]).all()
    assert found[0, 1] == pytest.approx(1)
    with pytest.warns(DegenerateWarning):
        assert np.isnan(layerwise([np.ones((30, 2))], layers, "cka")).all()


def bad(x, change):
    x = x.copy()
    change(x)
    return x


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones(30), r"y has shape \(30,\).*x\[:, None\]"),
        (np.ones((30, 2, 2)), "flatten"),
        (np.ones((30, 0)), "needs a feature"),
        (np.ones((29, 2)), "x has 30 rows and y has 29"),
        (np.full((30, 2), "a"), "real numbers"),
        (np.ones((30, 2)) * 1j, "complex"),
        ([[1.0, 2.0], [3.0]], "cannot be read"),
        (bad(np.ones((30, 2)), lambda x: x.__setitem__((7, 1), np.nan)), "y holds nan at row 7, column 1"),
        (bad(np.ones((30, 2)), lambda x: x.__setitem__((3, 0), -np.inf)), "y holds -inf at row 3, column 0"),
    ],
)
def test_unusable_input_is_named(y, message):
    with pytest.raises(ConsilienceError, match=message):
        compare(reps()[0], y)
    with pytest.raises(ConsilienceError, match=message.replace("y ", "two ").replace("x ", "one ")):
        pairwise([reps()[0], y], names=["one", "two"])


def test_libraries_are_not_mixed():
    x = reps()[0]
    with pytest.raises(ConsilienceError, match=r"numpy.*torch"):
        compare(x, _converted("torch", x))


def test_lists_and_bfloat16_are_read():
    jnp = pytest.importorskip("jax.numpy")
    torch = pytest.importorskip("torch")
    x = np.round(reps()[0] * 8) / 8
    assert compare(x.tolist(), x)["cka"].value == pytest.approx(1)
    assert compare(torch.tensor(x, dtype=torch.bfloat16), torch.tensor(x))["cka"].value == pytest.approx(1)
    assert compare(jnp.asarray(x, jnp.bfloat16), jnp.asarray(x))["cka"].value == pytest.approx(1, abs=1e-5)
    assert compare(np.asarray(jnp.asarray(x, jnp.bfloat16)), x)["cka"].value == pytest.approx(1)


def test_too_few_or_no_representations():
    with pytest.raises(ConsilienceError, match="no representation"):
        pairwise([], "cka")
    with pytest.raises(ConsilienceError, match="mutual_knn needs at least 12"):
        pairwise(reps(n=11), "mutual_knn")
    with pytest.raises(ConsilienceError, match="mutual_knn needs at least 12"):
        compare(*reps(n=11)[:2], "mutual_knn")
    with pytest.raises(ConsilienceError, match="2 names"):
        pairwise(reps(), "cka", names=["a", "b"])
    assert pairwise(reps()[:1], "cka") == pytest.approx(np.ones((1, 1)))


def test_pairwise_under_jit_and_gradients_of_all_pairs():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        members = [_converted("jax", x) for x in reps((3, 4, 5), n=14)]
        for name in ("cka", "procrustes"):
            jitted = jax.jit(lambda *xs, name=name: pairwise(xs, name))(*members)
            assert np.asarray(jitted) == pytest.approx(np.asarray(pairwise(members, name)), abs=1e-12)
        gradient = jax.grad(lambda x: pairwise([x, *members[1:]], "cka")[0, 1:].sum())(members[0])
        assert np.isfinite(np.asarray(gradient)).all()


def test_intervals_and_tests_beside_scores():
    x, y = reps()[:2]
    plain = compare(x, y, ["cka", "procrustes"])
    assert plain["cka"].interval is None
    assert plain["cka"].test is None
    found = compare(x, y, ["cka", "procrustes"], interval=True, null=99, seed=3)
    for score in found:
        assert score.value == plain[score.label].value
        assert score.interval == stats.interval(score.measure, x, y, seed=3)
        assert score.test == stats.permutation_test(score.measure, x, y, n=99, seed=3)
    line = str(found).splitlines()[0]
    assert line.startswith("cka ")
    assert f"[{found['cka'].interval.low:.4f}, {found['cka'].interval.high:.4f}]" in line
    assert f"p = {found['cka'].test.p:.2g}" in line
    assert compare(x, y, interval=True)["cka"].test is None
    assert compare(x, y, null=9)["cka"].interval is None
    dead = compare(x, np.ones((30, 2)), interval=True, null=9)["cka"]
    assert dead.reason.startswith("in y")
    assert dead.interval is None
    with pytest.raises(ConsilienceError, match="null is -1"):
        compare(x, y, null=-1)


@pytest.mark.parametrize("name", ["cka", "information_imbalance"])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_pairwise_with_intervals_and_p(name, library):
    members = reps()[:3]
    given = members if library == "numpy" else [_converted(library, x) for x in members]
    found = pairwise(given, name, interval=True, null=19)
    assert isinstance(found, Scores)
    assert np.allclose(found.scores, np.asarray(pairwise(given, name)))
    for i in range(3):
        for j in range(3):
            if i == j:
                assert found.low[i, i] == found.high[i, i] == found.scores[i, i]
                assert np.isnan(found.p[i, i])
                continue
            x, y = members[i], members[j]
            one = stats.interval(name, x, y)
            assert (found.low[i, j], found.high[i, j]) == pytest.approx((one.low, one.high), abs=1e-4)
            if name == "cka" and i > j:  # the rows of either may be permuted: those of the later one are
                x, y = y, x
            assert found.p[i, j] == stats.permutation_test(name, x, y, n=19).p
    only_p = pairwise(given, name, null=19)
    assert np.isnan(only_p.low).all()
    assert np.isnan(pairwise(given, name, interval=True).p).all()


def test_pairs_without_a_score_have_no_interval():
    members = reps()[:3]
    members[1] = np.ones((30, 3))
    with pytest.warns(DegenerateWarning, match="representation 1") as caught:
        found = pairwise(members, "cka", interval=True, null=9)
    assert len(caught) == 1
    for field in found:
        assert np.isnan(field[1]).all()
        assert np.isnan(field[:, 1]).all()
    assert np.isfinite(found.low[0, 2])
    assert found.p[0, 2] > 0


def test_layerwise_with_intervals_and_p():
    first, second, third = reps((3, 4, 5))
    found = layerwise({"a": first}, {"b": second, "same": first, "c": third}, "procrustes", interval=True, null=19)
    assert [field.shape for field in found] == [(1, 3)] * 4
    one = stats.interval("procrustes", first, third)
    assert (found.low[0, 2], found.high[0, 2]) == pytest.approx((one.low, one.high))
    assert found.p[0, 1] == 0.05  # another array, though equal: a test like any other


def test_intervals_pass_targets_on():
    members = [np.abs(x) for x in reps()[:2]]
    targets = np.arange(30) % 3
    found = pairwise(members, "error_consistency", targets=targets, interval=True, null=9)
    one = stats.interval("error_consistency", *members, targets=targets)
    assert found.low[0, 1] == pytest.approx(one.low)
    assert found.p[0, 1] > 0
