from __future__ import annotations

import numpy as np
import pytest
from tests.stats.pairs import gaussian, related

from consilience import get_measure, layerwise
from consilience.errors import ConsilienceError
from consilience.stats import layer_max_test, permutation_test
from consilience.stats._orders import orders


def layers(seed=0, n=20):
    first, second = related(n=n, seed=seed)
    third, fourth = related(n=n, seed=seed + 100)
    return {"low": first, "high": third}, {"in": fourth, "mid": second**2, "out": second}


@pytest.mark.parametrize("name", ["cka", "procrustes", "mutual_knn(k=3)"])
def test_everything_by_hand(name):
    a, b = layers()
    measure = get_measure(name)
    sign = 1 if measure.kind == "similarity" else -1
    found = layer_max_test(a, b, name, n=59, seed=2, alpha=0.1)
    scores = layerwise(a, b, name)
    assert found.scores == pytest.approx(scores, abs=1e-12)
    row, column = np.unravel_index(np.argmax(sign * scores), scores.shape)
    assert (found.layer_a, found.layer_b) == (list(a)[row], list(b)[column])
    assert found.value == pytest.approx(scores[row, column], abs=1e-12)
    null = np.array(
        [
            sign * (sign * layerwise(a, {key: rep[order] for key, rep in b.items()}, name)).max()
            for order in np.concatenate(list(orders(20, 59, None, 2)))
        ]
    )
    p = (1 + (sign * null[:, None, None] >= sign * scores - 1e-9).sum(0)) / 60
    assert found.p_of_pairs == pytest.approx(p)
    assert found.p == p[row, column]
    assert found.null_mean == pytest.approx(null.mean())
    assert found.null_sd == pytest.approx(null.std(ddof=1))
    assert found.z == pytest.approx(sign * (found.value - null.mean()) / null.std(ddof=1))
    threshold = np.sort(sign * np.append(null, found.value))[54 - 1]
    best = measure.self_score(20)
    expected = (sign * found.value - threshold) / (sign * best - threshold)
    assert found.calibrated == pytest.approx(np.clip(expected, 0, 1))
    assert found.n == 59


def test_one_pair_is_the_test_of_that_pair():
    x, y = related(n=20)
    one, pair = layer_max_test([x], [y], n=99), permutation_test("cka", x, y, n=99)
    assert (one.layer_a, one.layer_b) == (0, 0)
    assert (one.value, one.p, one.null_sd) == (pair.value, pair.p, pair.null_sd)
    assert one.calibrated == pair.calibrated


def test_layers_without_a_score_are_left_out():
    a, b = layers()
    found = layer_max_test({**a, "dead": np.ones((20, 3))}, b, n=19)
    alone = layer_max_test(a, b, n=19)
    assert np.isnan(found.scores[2]).all()
    assert np.isnan(found.p_of_pairs[2]).all()
    assert found[:8] == alone[:8]
    with pytest.raises(ConsilienceError, match="no pair of layers has a score"):
        layer_max_test([np.ones((20, 3))], b)
    with pytest.raises(ConsilienceError, match="no layers_a were given"):
        layer_max_test({}, b)
    with pytest.raises(ConsilienceError, match=r"layers_a 'low' has 20 rows and layers_b 'x' has 19"):
        layer_max_test({"low": a["low"]}, {"x": b["in"][:19]})


def test_searching_does_not_raise_the_level_and_single_tests_would():
    rng = np.random.default_rng(0)
    runs, best, single = 300, [], []
    for i in range(runs):
        pairs = [gaussian(rng, 14, 4, 0.0) for _ in range(3)]
        found = layer_max_test([x for x, _ in pairs], [y for _, y in pairs], n=39, seed=i)
        best.append(found.p)
        single.append(min(permutation_test("cka", x, y, n=39, seed=i).p for x, y in pairs))
    assert np.mean(np.array(best) <= 0.1 + 1e-9) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / runs))
    assert np.mean(np.array(single) <= 0.1 + 1e-9) > 0.2


def test_blocks_and_targets_reach_the_permutations():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(3), 10)
    x, y = (3 * np.eye(3)[classes] + rng.standard_normal((30, 3)) for _ in range(2))
    assert layer_max_test([x], [y], n=99).p == 0.01
    assert layer_max_test([x], [y], n=99, blocks=classes).p > 0.05
    x, y = (np.eye(3)[classes] + rng.standard_normal((30, 3)) for _ in range(2))
    with pytest.raises(ConsilienceError, match="needs the true class"):
        layer_max_test([x], [y], "error_consistency")
    found = layer_max_test([x], [y], "error_consistency", n=19, targets=classes)
    assert found.p == permutation_test("error_consistency", x, y, n=19, targets=classes).p


@pytest.mark.filterwarnings("error::consilience.registry.DegenerateWarning")
def test_quiet_where_all_is_well():
    layer_max_test(*layers(), n=9)
