"""Measures of classes and predicted probabilities: against their definitions, sample by sample, and exact cases."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax

from consilience import (
    ConsilienceError,
    DegenerateWarning,
    accuracy_difference,
    ambiguity,
    capa,
    cohen_kappa,
    disagreement,
    discrepancy,
    error_consistency,
    get_measure,
    hellinger,
    jsd,
    kl,
    pairwise,
    prediction_difference,
    surrogate_churn,
)
from consilience.testing.libraries import _converted

RNG = np.random.default_rng
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "measures" / "predictions.json").read_text())


def logits(n=60, c=4, noise=1.0, seed=5):
    rng = RNG(seed)
    x = rng.standard_normal((n, c))
    return x, x + noise * rng.standard_normal((n, c))


def truth(n=60, c=4, seed=1):
    return RNG(seed).integers(0, c, n)


def one_hot(labels, c=None):
    return np.eye(c or max(labels) + 1)[np.asarray(labels)]


def brute_disagreement(x, y, targets, form):
    a, b = ([max(range(len(row)), key=lambda k: (row[k], -k)) for row in z] for z in (x, y))
    d = sum(i != j for i, j in zip(a, b, strict=True)) / len(a)
    ex, ey = (sum(i != t for i, t in zip(z, targets, strict=True)) / len(a) for z in (a, b))
    if form == "plain":
        return d
    if form == "error_corrected":
        return d / ey
    return (d - abs(ex - ey)) / (min(ex + ey, 1) - abs(ex - ey))


def brute_kappa(a, b):
    labels = sorted({*a, *b})
    table = np.array([[sum(i == k and j == m for i, j in zip(a, b, strict=True)) for m in labels] for k in labels])
    table = table / len(a)
    expected = table.sum(0) @ table.sum(1)
    return (np.trace(table) - expected) / (1 - expected)


def brute_capa(p, q, targets):
    n, c = p.shape
    found = sum(p[i, k] * q[i, k] for i in range(n) for k in range(c)) / n
    a, b = (sum(z[i, targets[i]] for i in range(n)) / n for z in (p, q))
    expected = a * b + (1 - a) * (1 - b) / (c - 1)
    return (found - expected) / (1 - expected)


def brute_churn(p, q, alpha):
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += sum(abs((s / max(a)) ** alpha - (t / max(b)) ** alpha) for s, t in zip(a, b, strict=True)) / 2
    return total / len(p)


@pytest.mark.parametrize("form", ["plain", "error_corrected", "min_max"])
@pytest.mark.parametrize("noise", [0.3, 1.0, 10.0])
def test_disagreement_against_its_definition(form, noise):
    x, y = logits(noise=noise)
    targets = truth()
    found = disagreement(x, y, targets=targets, form=form)
    assert found == pytest.approx(brute_disagreement(x, y, targets, form), abs=1e-14)


@pytest.mark.parametrize("entry", GOLDEN["outputs"], ids=lambda entry: entry["label"])
def test_values_of_other_implementations(entry):
    rng = RNG(5)
    x = rng.standard_normal((60, 4))
    y = x + rng.standard_normal((60, 4))
    targets = np.arange(60) % 4 if entry.get("targets") else None
    assert float(get_measure(entry["label"])(x, y, targets=targets)) == pytest.approx(entry["value"], abs=0.5e-10)


@pytest.mark.parametrize(
    ("x", "y", "plain", "corrected", "relative"),
    [
        ([1, 1, 2, 0], [0, 1, 1, 0], 0.5, 2.0, 1.0),  # errors on different samples: as much as there can be
        ([1, 1, 2, 0], [1, 1, 1, 0], 0.25, 0.5, 0.0),  # the errors of one are errors of the other: as little
        ([1, 2, 2, 0], [1, 1, 0, 0], 0.5, 1.0, 0.5),  # equally many errors, of which half are the same
    ],
)
def test_disagreement_by_hand(x, y, plain, corrected, relative):
    targets = np.array([0, 1, 2, 0])
    x, y = one_hot(x, 3), one_hot(y, 3)
    assert disagreement(x, y) == plain
    assert disagreement(x, y, targets=targets, form="error_corrected") == corrected
    assert disagreement(x, y, targets=targets, form="min_max") == relative


def test_error_correction_is_by_the_second_model():
    x, y = one_hot([0, 1, 0, 0]), one_hot([1, 1, 0, 0])
    targets = np.zeros(4, int)
    assert disagreement(x, y, targets=targets, form="error_corrected") == 0.25 / 0.5
    assert disagreement(y, x, targets=targets, form="error_corrected") == 0.25 / 0.25
    both = pairwise([x, y], "disagreement(form=error_corrected)", targets=targets)
    assert both.tolist() == [[0.0, 0.5], [1.0, 0.0]]


@pytest.mark.parametrize("name", ["disagreement", "cohen_kappa", "ambiguity", "discrepancy"])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "array_api_strict"])
def test_a_column_of_labels_and_the_scores_it_comes_from_are_the_same(name, library):
    x, y = logits()
    labels = x.argmax(1)[:, None]
    given = [x, y, labels]
    x, y, labels = given if library == "numpy" else [_converted(library, each) for each in given]
    measure = get_measure(name)
    assert float(measure(labels, y)) == float(measure(x, y))
    assert np.array_equal(np.asarray(pairwise([labels, y], measure)), np.asarray(pairwise([x, y], measure)))


def test_labels_inside_jit():
    jax = pytest.importorskip("jax")
    a, b = RNG(0).integers(0, 4, (50, 1)), RNG(1).integers(0, 4, (50, 1))
    for name in ("disagreement", "cohen_kappa"):
        expected = pairwise([a, b], name)
        found = jax.jit(lambda x, y, name=name: pairwise([x, y], name))(jax.numpy.asarray(a), jax.numpy.asarray(b))
        assert np.asarray(found) == pytest.approx(expected, abs=1e-6)


def test_ties_go_to_the_first_class():
    assert disagreement([[1.0, 1.0], [0.0, 0.0]], [[2.0, 1.0], [1.0, 2.0]]) == 0.5


@pytest.mark.parametrize("labels", [[[0.5], [1.0]], [[-1.0], [0.0]]])
@pytest.mark.parametrize(
    "name", ["disagreement", "cohen_kappa", "ambiguity", "error_consistency", "accuracy_difference"]
)
def test_labels_are_whole_numbers(labels, name):
    with pytest.raises(ConsilienceError, match="class labels, whole numbers from 0, and holds"):
        get_measure(name)(labels, [[0], [1]], targets=[0, 1])


@pytest.mark.parametrize("c", [2, 3, 10])
def test_cohens_kappa_against_its_table(c):
    x, y = logits(n=200, c=c)
    assert cohen_kappa(x, y) == pytest.approx(brute_kappa(x.argmax(1), y.argmax(1)), abs=1e-13)
    together = pairwise([x, y, y[::-1]], "cohen_kappa")
    assert together[0, 2] == pytest.approx(brute_kappa(x.argmax(1), y[::-1].argmax(1)), abs=1e-13)


def test_kappa_of_independent_decisions_is_zero_in_expectation():
    shares = np.array([0.7, 0.2, 0.1])
    found = np.array([cohen_kappa(*(RNG([s, i]).choice(3, (300, 1), p=shares) for i in (0, 1))) for s in range(300)])
    assert abs(found.mean()) < 4 * found.std(ddof=1) / math.sqrt(300)
    assert 1 - disagreement(*(RNG(i).choice(3, (300, 1), p=shares) for i in (0, 1))) > 0.4  # which is only chance


def test_opposite_decisions_have_kappa_minus_one():
    x = np.arange(10)[:, None] % 2
    assert cohen_kappa(x, 1 - x) == -1


def test_error_consistency_against_kappa_of_being_right():
    x, y = logits(n=150)
    targets = truth(150)
    expected = brute_kappa(x.argmax(1) == targets, y.argmax(1) == targets)
    assert error_consistency(x, y, targets=targets) == pytest.approx(expected, abs=1e-13)
    assert error_consistency(x, x, targets=targets) == pytest.approx(1, abs=1e-14)


def test_error_consistency_of_independent_errors_is_zero_in_expectation():
    def model(*seed):
        return (RNG(seed).random((200, 1)) < 0.3).astype(float)

    targets = np.zeros(200, int)
    found = np.array([error_consistency(model(s, 0), model(s, 1), targets=targets) for s in range(300)])
    assert abs(found.mean()) < 4 * found.std(ddof=1) / math.sqrt(300)


@pytest.mark.parametrize("c", [2, 5])
def test_capa_against_its_definition(c):
    x, y = logits(c=c)
    targets = truth(c=c)
    p, q = softmax(x, axis=1), softmax(y, axis=1)
    assert capa(x, y, targets=targets) == pytest.approx(brute_capa(p, q, targets), abs=1e-14)
    assert capa(p, q, targets=targets, inputs="probabilities") == pytest.approx(brute_capa(p, q, targets), abs=1e-14)


def test_capa_of_decisions_is_their_agreement_adjusted_for_accuracy():
    x, y = (one_hot(z.argmax(1), 4) for z in logits())
    targets = truth()
    a, b = ((z.argmax(1) == targets).mean() for z in (x, y))
    expected = a * b + (1 - a) * (1 - b) / 3
    found = capa(x, y, targets=targets, inputs="probabilities")
    assert found == pytest.approx(((x == y).all(1).mean() - expected) / (1 - expected), abs=1e-14)
    assert capa(x, x, targets=targets, inputs="probabilities") == pytest.approx(1, abs=1e-14)


def test_capa_is_zero_in_expectation_for_errors_at_random_and_below_one_for_an_unsure_model():
    def guesser(*seed):
        right = RNG(seed).random(300) < 0.6
        return one_hot(np.where(right, 0, RNG([*seed, 9]).integers(1, 4, 300)), 4)

    targets = np.zeros(300, int)
    found = np.array([capa(guesser(s, 0), guesser(s, 1), targets=targets, inputs="probabilities") for s in range(300)])
    assert abs(found.mean()) < 4 * found.std(ddof=1) / math.sqrt(300)
    x = logits()[0]
    assert capa(x, x, targets=truth()) < 0.9


@pytest.mark.parametrize("name", ["capa", "accuracy_difference", "error_consistency", "disagreement(form=min_max)"])
@pytest.mark.parametrize("targets", [[0, 4], [-1, 0]])
def test_every_true_class_needs_a_column(name, targets):
    with pytest.raises(ConsilienceError, match="scores of 3 classes"):
        get_measure(name)(np.eye(3)[:2], np.eye(3)[:2], targets=targets)


@pytest.mark.parametrize("name", ["disagreement", "ambiguity", "discrepancy", "cohen_kappa", "error_consistency"])
def test_decisions_between_different_numbers_of_classes_are_refused(name):
    x, y = RNG(0).standard_normal((50, 8)), RNG(1).standard_normal((50, 5))
    targets = RNG(2).integers(0, 5, 50)
    measure = get_measure(name)
    given = {"targets": targets} if measure.needs_targets else {}
    for score in (lambda: measure(x, y, **given), lambda: pairwise([x, y], measure, **given)):
        with pytest.raises(ConsilienceError, match="5 and 8 classes"):
            score()
    assert math.isfinite(measure(x, y.argmax(1)[:, None], **given))


@pytest.mark.parametrize(
    ("label", "x", "reason"),
    [
        ("cohen_kappa", np.zeros((4, 1)), "every sample is given the same class, 0"),
        ("error_consistency", one_hot([0, 0, 1, 1]), "every sample is given its true class"),
        ("error_consistency", one_hot([1, 1, 0, 0]), "every sample is given a wrong class"),
        ("disagreement(form=min_max)", one_hot([0, 0, 1, 1]), "every sample is given its true class"),
        ("disagreement(form=error_corrected)", one_hot([0, 0, 1, 1]), "every sample is given its true class"),
        ("capa(inputs=probabilities)", one_hot([0, 0, 1, 1]), "true class with certainty"),
        ("capa(inputs=probabilities)", one_hot([1, 1, 0, 0]), "wrong one of two classes with certainty"),
    ],
)
def test_nothing_to_compare(label, x, reason):
    y = one_hot([0, 1, 1, 1])
    with pytest.warns(DegenerateWarning, match=reason):
        assert math.isnan(get_measure(label)(y, x, targets=[0, 0, 1, 1]))


@pytest.mark.parametrize(
    "label",
    [
        "error_consistency",
        "capa",
        "accuracy_difference",
        "disagreement(form=min_max)",
        "disagreement(form=error_corrected)",
    ],
)
def test_targets_are_asked_for(label):
    with pytest.raises(ConsilienceError, match="needs the true class of every sample"):
        get_measure(label)(*logits())
    with pytest.raises(ConsilienceError, match=r"\(60,\)"):
        get_measure(label)(*logits(), targets=truth(61))


def test_forms_without_targets_take_no_notice_of_them():
    x, y = logits()
    assert disagreement(x, y, targets=truth()) == disagreement(x, y)


def test_accuracy_and_its_difference():
    x, y = logits()
    targets = truth()
    a, b = (float((z.argmax(1) == targets).mean()) for z in (x, y))
    measure = get_measure("accuracy_difference")
    assert measure(x, targets=targets) == pytest.approx(a, abs=1e-15)
    assert accuracy_difference(x, y, targets=targets) == pytest.approx(abs(a - b), abs=1e-15)
    with pytest.raises(ConsilienceError, match="needs the true class"):
        measure(x)


def test_divergences_against_scipy():
    x, y = logits(c=7, noise=3.0)
    p, q = softmax(x, axis=1), softmax(y, axis=1)
    forward, reverse = rel_entr(p, q).sum(1).mean(), rel_entr(q, p).sum(1).mean()
    for a, b, inputs in ((x, y, "logits"), (p, q, "probabilities")):
        assert jsd(a, b, inputs=inputs) == pytest.approx((jensenshannon(p, q, 2, axis=1) ** 2).mean(), abs=1e-13)
        assert kl(a, b, inputs=inputs) == pytest.approx(forward, abs=1e-13)
        assert kl(a, b, inputs=inputs, direction="reverse") == pytest.approx(reverse, abs=1e-13)
        expected = (forward + reverse) / 2
        assert kl(a, b, inputs=inputs, direction="symmetrised") == pytest.approx(expected, abs=1e-13)
        expected = np.sqrt(1 - np.sqrt(p * q).sum(1)).mean()
        assert hellinger(a, b, inputs=inputs) == pytest.approx(expected, abs=1e-12)
    assert jsd(x, y, base=math.e) == pytest.approx(jsd(x, y) * math.log(2), abs=1e-14)
    assert kl(x, y, base=2.0) == pytest.approx(forward / math.log(2), abs=1e-13)


@pytest.mark.parametrize("name", ["jsd", "kl", "hellinger"])
def test_predictions_that_hardly_differ(name):
    x = logits(n=200)[0]
    step = RNG(3).standard_normal(x.shape)
    measure = get_measure(name)
    large, small = float(measure(x, x + 1e-3 * step)), float(measure(x, x + 1e-9 * step))
    ratio = 1e-6 if name == "hellinger" else 1e-12  # the divergences are quadratic in the step, the distance linear
    assert small == pytest.approx(large * ratio, rel=1e-2)
    assert measure(x, x) == 0
    together = pairwise([x, x + 1e-9 * step, -x], measure)
    assert together[0, 1] == pytest.approx(small, rel=1e-9)
    assert together[0, 2] == pytest.approx(float(measure(x, -x)), rel=1e-12)


def test_extreme_scores_neither_overflow_nor_vanish():
    x, y = np.array([[1e4, 0.0], [0.0, 5.0]]), np.array([[0.0, 1e4], [0.0, 5.0]])
    assert jsd(x, y) == 0.5
    assert hellinger(x, y) == pytest.approx(0.5, abs=1e-15)
    assert kl(x, y) == pytest.approx(5e3, rel=1e-12)
    assert pairwise([x, y], "kl")[0, 1] == pytest.approx(5e3, rel=1e-12)
    assert math.isfinite(capa(x, y, targets=[0, 1]))


def test_classes_that_are_ruled_out():
    p, q = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kl(p, q, inputs="probabilities") == pytest.approx(math.log(2) / 2, abs=1e-15)
        assert pairwise([p, p], "kl(inputs=probabilities)").tolist() == [[0, 0], [0, 0]]
        assert jsd(p, q, inputs="probabilities") == pytest.approx(np.mean([jensenshannon(p[0], q[0], 2) ** 2, 0]))
        assert hellinger(p, 1 - p, inputs="probabilities") == 0.5
    for direction in ("reverse", "symmetrised"):
        with pytest.warns(DegenerateWarning, match="infinite"):
            assert kl(p, q, inputs="probabilities", direction=direction) == math.inf
    with pytest.warns(DegenerateWarning, match="infinite"):
        assert kl(q, p, inputs="probabilities") == math.inf


@pytest.mark.parametrize("name", ["jsd", "kl", "hellinger", "capa", "prediction_difference", "surrogate_churn"])
def test_what_is_no_distribution_is_refused(name):
    p = softmax(logits(n=5)[0], axis=1)
    options = {"inputs": "probabilities"}
    targets = [0, 1, 2, 2, 0]
    with pytest.raises(ConsilienceError, match=r"holds -0\.\d+, which is no probability"):
        get_measure(name, **options)(p - 0.5, p, targets=targets)
    q = p.copy()
    q[3] *= 1 + 3e-6
    with pytest.raises(ConsilienceError, match=r"row 3 of y sums to 1\.000003"):
        get_measure(name, **options)(p, q, targets=targets)
    q[3] = p[3] * (1 + 3e-7)
    assert math.isfinite(get_measure(name, **options)(p, q, targets=targets))
    with pytest.raises(ConsilienceError, match=r"shape \(5, 1\)"):
        get_measure(name)(p[:, :1], p[:, :1], targets=targets)
    for call in (
        lambda: get_measure(name)(p, p[:, :3], targets=targets),
        lambda: pairwise([p, p[:, :3]], name, targets=targets),
    ):
        with pytest.raises(ConsilienceError, match="3 and 4 classes"):
            call()


@pytest.mark.parametrize("order", [1, 2, 3.5, math.inf])
def test_prediction_difference_of_two_and_of_many(order):
    rng = RNG(0)
    outputs = [rng.standard_normal((30, 4)) for _ in range(4)]
    p = [softmax(x, axis=1) for x in outputs]
    centre = sum(p) / 4
    expected = np.mean([np.linalg.norm(q - centre, ord=order, axis=1).mean() for q in p])
    assert prediction_difference(*outputs, order=order) == pytest.approx(expected, abs=1e-14)
    pairs = [np.linalg.norm(a - b, ord=order, axis=1).mean() for a, b in itertools.combinations(p, 2)]
    assert prediction_difference(*outputs, order=order, relative_to="other") == pytest.approx(np.mean(pairs), abs=1e-14)
    assert prediction_difference(*outputs[:2], order=order, relative_to="other") == pytest.approx(pairs[0], abs=1e-14)
    assert prediction_difference(*outputs[:2], order=order) == pytest.approx(pairs[0] / 2, abs=1e-14)
    assert prediction_difference(*outputs[:1] * 3, order=order) == pytest.approx(0, abs=1e-15)


def test_prediction_difference_is_total_variation_by_default():
    p, q = softmax(logits()[0], axis=1), softmax(logits()[1], axis=1)
    total_variation = np.maximum(p - q, 0).sum(1).mean()
    assert prediction_difference(p, q, inputs="probabilities") == pytest.approx(total_variation, abs=1e-14)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_surrogate_churn_against_its_definition(alpha):
    x, y = logits()
    p, q = softmax(x, axis=1), softmax(y, axis=1)
    assert surrogate_churn(x, y, alpha=alpha) == pytest.approx(brute_churn(p, q, alpha), abs=1e-13)
    found = surrogate_churn(p, q, alpha=alpha, inputs="probabilities")
    assert found == pytest.approx(brute_churn(p, q, alpha), abs=1e-13)


def test_surrogate_churn_becomes_disagreement_and_is_at_most_half_the_classes():
    x, y = logits()
    assert surrogate_churn(x, y, alpha=1e6) == pytest.approx(float(disagreement(x, y)), abs=1e-12)
    p, q = np.array([[1.0, 0, 0, 0]] * 2), np.array([[0, 1, 1, 1]] * 2) / 3
    assert surrogate_churn(p, q, inputs="probabilities") == 2.0


@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "array_api_strict"])
def test_multiplicity_of_a_set(library):
    rng = RNG(2)
    baseline = rng.standard_normal((80, 3))
    competitors = [baseline + rng.standard_normal((80, 3)) for _ in range(4)]
    changed = np.array([c.argmax(1) != baseline.argmax(1) for c in competitors])
    reps = [baseline, *competitors]
    reps = reps if library == "numpy" else [_converted(library, x) for x in reps]
    tolerance = 1e-6 if library == "jax" else 1e-15
    assert float(ambiguity(*reps)) == pytest.approx(changed.any(0).mean(), abs=tolerance)
    assert float(discrepancy(*reps)) == pytest.approx(changed.mean(1).max(), abs=tolerance)


def test_ambiguity_is_never_below_discrepancy_and_never_falls():
    for seed in range(20):
        rng = RNG(seed)
        reps = [rng.standard_normal((15, 3)) for _ in range(5)]
        values = [float(ambiguity(*reps[:m])) for m in range(2, 6)]
        assert values == sorted(values)
        assert all(a >= discrepancy(*reps[:m]) for a, m in zip(values, range(2, 6), strict=True))
        assert ambiguity(*reps[:2]) == discrepancy(*reps[:2]) == pytest.approx(disagreement(*reps[:2]), abs=1e-15)


def test_sets_of_other_measures_are_refused():
    with pytest.raises(ConsilienceError, match="received 3"):
        get_measure("jsd")(*logits(), logits()[0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jsd", {"base": 1.0}, "base of jsd is 1.0"),
        ("kl", {"base": -2.0}, "base of kl is -2.0"),
        ("prediction_difference", {"order": 0.5}, "order of prediction_difference is 0.5"),
        ("surrogate_churn", {"alpha": 0.0}, "alpha of surrogate_churn is 0.0"),
        ("surrogate_churn", {"alpha": math.inf}, "positive and finite"),
        ("disagreement", {"form": "fort"}, "no form 'fort'"),
        ("kl", {"direction": "backward"}, "no direction 'backward'"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ConsilienceError, match=message):
        get_measure(name, **options)


def test_other_names():
    assert get_measure("churn") == get_measure("disagreement")
    assert get_measure("error_corrected_disagreement").label == "disagreement(form=error_corrected)"
    assert get_measure("min_max_disagreement").label == "disagreement(form=min_max)"
    assert get_measure("symmetrised_kl").label == "kl(direction=symmetrised)"
    assert get_measure("soft_prediction_difference").label == "prediction_difference(order=2.0, relative_to=other)"
