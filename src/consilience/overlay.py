"""The theory drawn over a study's measurements, and when it may be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience import theory
from consilience.data import LabelFlip, LabelGaussian, LinearTruth, Splits
from consilience.registry import Measure, get_measure
from consilience.study import Study
from consilience.train import Linear

__all__ = ["Overlay", "overlay"]

Floats = NDArray[np.float64]


class Overlay(NamedTuple):
    """Predictions on the grid snr × n_train, NaN where theory does not speak."""

    alignment: dict[tuple[str, str], Floats]  # (layer, measure label) -> (snr, n_train)
    error: Floats  # (snr, n_train), of the test error
    sentences: tuple[str, ...]  # which theory, or why none


def overlay(study: Study, splits: Splits) -> Overlay:
    """Predict alignment and test error at every SNR and n_train of a study without further axes.

    Applies to linear networks trained by squared error on targets with noise: the closed form for least squares.
    For a linear teacher its covariance and map are known; otherwise the rows of the training pool are asked
    (`consilience.theory.predict`). Several hidden layers, or another parametrisation, end at the same map, as
    every gradient of the first layer is a combination of training inputs; their hidden layers have no theory.
    Nothing is drawn for other networks: the linear predictor of the same inputs is not the network, and its
    tangent kernel is no description of one that learns features.
    """
    shape = len(study.grid.snr), len(study.grid.n_train)
    reason = _why_not(study, splits)
    if reason:
        return Overlay({}, np.full(shape, np.nan), (f"No theory is drawn: {reason}.",))
    known = splits.truth is not None
    predicted, warnings = (_known(study, splits.truth), ()) if splits.truth is not None else _from_rows(study, splits)
    # Members with inputs of their own must take them from a real pool again beyond this size: neither case of theory.
    apart = np.array(study.grid.n_train) <= len(splits.train_x) // study.grid.members
    speaks = ("inputs" in study.noise.shared) | apart
    if _elementwise(study):
        speaks &= np.array(study.grid.n_train) >= _rank_at_most(splits)
    predicted = predicted._make(np.where(speaks, field, np.nan) for field in predicted)
    alignment: dict[tuple[str, str], Floats] = {}
    for measure in study.measure.measures:
        if measure.name == "output_correlation":
            alignment["output", measure.label] = predicted.output_correlation
        elif _is_linear_cka(measure):
            alignment["output", measure.label] = predicted.output_cka
            if _described(study):
                alignment["hidden_1", measure.label] = predicted.hidden_cka
    error = np.where(np.isfinite(predicted.risk), predicted.risk, np.nan)
    return Overlay(alignment, error, (*_sentences(study, known=known), *warnings))


def _why_not(study: Study, splits: Splits) -> str:
    """Return why theory does not apply, or nothing."""
    if not isinstance(study.network, Linear):
        return f"it speaks about linear networks, and these are of kind {study.network.name!r}"
    process = study.noise.process
    if not isinstance(process, LabelGaussian | LabelFlip):
        return f"it speaks about noise that is alike for all targets or classes, and this is {process.name!r}"
    if study.noise.resample == "bootstrap":
        return "it speaks about inputs that members share or draw afresh, and these are bootstrap samples"
    if splits.task == "classification" and study.train.loss != "squared-error":
        return "it speaks about squared error, and these classes are learned by cross-entropy"
    if study.train.weight_decay:
        return "weight decay on both layers of a linear network is not the ridge penalty it assumes"
    if study.train.validation:
        return "it speaks about fits of the whole training set, and these hold rows out of it to stop by"
    narrowest = min(study.network.hidden)
    if narrowest < min(splits.d, splits.n_outputs):
        return f"a hidden layer of {narrowest} cannot represent every map to {splits.n_outputs} outputs"
    return ""


def _elementwise(study: Study) -> bool:
    """Whether the optimizer scales each weight's gradient by itself.

    Its steps leave the span of the training inputs, so that of all maps which fit the targets it does not reach the
    one of least norm.
    """
    return study.train.solver == "gradient" and study.train.optimizer in ("adam", "adamw")


def _rank_at_most(splits: Splits) -> int:
    """Inputs that vary: from so many samples on there is one least-squares map, and every optimizer ends at it."""
    return int(splits.train_x.any(axis=0).sum())


def _described(study: Study) -> bool:
    """Whether theory describes the hidden layer, and not only the map."""
    return isinstance(study.network, Linear) and study.network.described


def _is_linear_cka(measure: Measure) -> bool:
    """Whether a measure tends to linear CKA as probe inputs grow in number: its estimators differ by 1 / n_probe."""
    return any(measure == get_measure("cka", estimator=name) for name in ("debiased", "biased", "lange"))


def _known(study: Study, truth: LinearTruth) -> theory.LinearNetwork:
    """Predict from the teacher's own covariance and map."""
    return theory.linear_network(
        truth.eigenvalues,
        truth.beta,
        study.grid.n_train,
        study.grid.snr,
        misfit=truth.misfit,
        ridge=study.train.ridge,
        noise_correlation=study.noise.process.correlation,
        shared_inputs="inputs" in study.noise.shared,
    )


def _from_rows(study: Study, splits: Splits) -> tuple[theory.LinearNetwork, tuple[str, ...]]:
    """Predict from the training pool."""
    y = np.asarray(splits.train_y)
    classes = splits.task == "classification"
    if classes:
        # A replaced label is another corner of a simplex: its noise has no part along the outputs' sum. To second
        # order it is Gaussian noise of the same SNR on targets shrunk by 1 − p, which alignment does not see.
        y = scipy.linalg.helmert(splits.n_outputs).T[y]
    found = theory.predict(
        np.asarray(splits.train_x, np.float64),
        y.astype(np.float64),
        study.grid.snr,
        study.grid.n_train,
        study.train.ridge,
        noise_correlation=study.noise.process.correlation,
        shared_inputs="inputs" in study.noise.shared,
        n_probe=max(2, len(splits.probe_x)),
        groups=0,
    )
    risk = np.full(found.risk.shape, np.nan) if classes else found.risk  # errors of classes are no squared errors
    return theory.LinearNetwork(found.alignment, found.output_cka, found.hidden_cka, risk), found.warnings


def _sentences(study: Study, *, known: bool) -> tuple[str, ...]:
    """Say which theory it is, and what it leaves out."""
    solution = "ridge" if study.train.ridge else "minimum-norm least-squares"
    found = [
        f"Theory is the deterministic equivalent of the {solution} solution, with the teacher's own covariance and map."
        if known
        else f"Theory is the {solution} solution's expected alignment, computed from rows of the training pool."
    ]
    if study.train.solver == "gradient":
        found.append("Gradient training reaches it from a small initialization once it has converged.")
    if _elementwise(study):
        found.append(
            "It is drawn from as many samples as inputs on: with fewer, Adam does not end at the map of least norm "
            "(sgd does)."
        )
    if not _described(study):
        found.append(
            "It speaks about outputs alone: hidden layers are described where there is one, in the standard "
            "parametrisation."
        )
    if "inputs" not in study.noise.shared:
        found.append("It is drawn up to the n_train at which members' own inputs begin to overlap.")
    if isinstance(study.noise.process, LabelFlip):
        found.append("Labels replaced at random enter by their variance alone.")
    return tuple(found)
