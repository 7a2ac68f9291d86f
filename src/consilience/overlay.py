"""The theory drawn over a study's measurements, and when it may be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience import theory
from consilience.data import LabelGaussian, LinearTruth, Splits
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

    Applies to linear networks trained on targets with Gaussian noise: the closed form for least squares in high
    dimension, from the covariance of the inputs and the best linear map. Both are known for a linear teacher,
    and estimated from the training pool otherwise.
    """
    shape = len(study.grid.snr), len(study.grid.n_train)
    reason = _why_not(study, splits)
    if reason:
        return Overlay({}, np.full(shape, np.nan), (f"No theory is drawn: {reason}.",))
    teacher, known = (_known(splits.truth), True) if splits.truth is not None else (_estimate(splits), False)
    shared = "inputs" in study.noise.shared
    predicted = theory.linear_network(
        teacher.eigenvalues,
        teacher.beta,
        study.grid.n_train,
        study.grid.snr,
        misfit=teacher.misfit,
        ridge=study.train.ridge,
        shared_inputs=shared,
    )
    # Members with inputs of their own must take them from a real pool again beyond this size: neither case of theory.
    apart = np.array(study.grid.n_train) <= len(splits.train_x) // study.grid.members
    predicted = predicted._make(np.where(shared | apart, field, np.nan) for field in predicted)
    alignment: dict[tuple[str, str], Floats] = {}
    for measure in study.measure.measures:
        if measure.name == "output_correlation":
            alignment["output", measure.label] = predicted.output_correlation
        elif _is_linear_cka(measure):
            alignment["output", measure.label] = predicted.output_cka
            alignment["hidden_1", measure.label] = predicted.hidden_cka
    error = np.where(np.isfinite(predicted.risk), predicted.risk, np.nan)
    return Overlay(alignment, error, _sentences(study, known=known))


def _why_not(study: Study, splits: Splits) -> str:
    """Return why theory does not apply, or nothing."""
    if not isinstance(study.network, Linear):
        return f"it speaks about linear networks, and these are of kind {study.network.name!r}"
    if not isinstance(study.noise.process, LabelGaussian):
        return f"it speaks about Gaussian noise on targets, and this is {study.noise.process.name!r}"
    if study.train.weight_decay:
        return "weight decay on both layers of a linear network is not the ridge penalty it assumes"
    if study.network.hidden[0] < min(splits.d, splits.n_outputs):
        return f"a hidden layer of {study.network.hidden[0]} cannot represent every map to {splits.n_outputs} outputs"
    return ""


def _is_linear_cka(measure: Measure) -> bool:
    """Whether a measure tends to linear CKA as probe inputs grow in number: its estimators differ by 1 / n_probe."""
    return any(measure == get_measure("cka", estimator=name) for name in ("debiased", "biased", "lange"))


class _Teacher(NamedTuple):
    eigenvalues: Floats  # (d,) of the covariance of the inputs
    beta: Floats  # (k, d) best linear map in the eigenbasis
    misfit: Floats | float  # (k, k) covariance of what no linear map fits, or its variance at every output


def _known(truth: LinearTruth) -> _Teacher:
    return _Teacher(truth.eigenvalues, truth.beta, truth.misfit)


def _estimate(splits: Splits) -> _Teacher:
    """Estimate spectrum and best linear map from the training pool by least squares.

    The misfit is the residual covariance with the degrees of freedom of the fit taken off, and the map is scaled to
    the variance that remains.
    """
    x, y = np.asarray(splits.train_x, np.float64), np.asarray(splits.train_y, np.float64)
    eigenvalues, basis = scipy.linalg.eigh(x.T @ x / len(x))
    scores = x @ basis  # (n, d), uncorrelated
    kept = eigenvalues > np.finfo(np.float32).eps ** 2 * eigenvalues[-1]  # the inputs are float32
    beta = np.zeros((y.shape[1], x.shape[1]))
    beta[:, kept] = (scores[:, kept].T @ y / (len(x) * eigenvalues[kept, None])).T
    fitted = scores @ beta.T
    misfit = (y - fitted).T @ (y - fitted) / max(1, len(x) - int(kept.sum()))  # (k, k)
    # Least squares fits the misfit too: the signal is what the misfit leaves of the targets' variance.
    signal, found = np.maximum(0.0, y.var(axis=0) - np.diag(misfit)), fitted.var(axis=0)
    beta *= np.sqrt(np.divide(signal, found, out=np.zeros_like(found), where=found > 0))[:, None]
    return _Teacher(np.where(kept, eigenvalues, 0.0), beta, misfit)


def _sentences(study: Study, *, known: bool) -> tuple[str, ...]:
    """Say which theory it is, and what it leaves out."""
    solution = "ridge" if study.train.ridge else "minimum-norm least-squares"
    source = "the teacher's own covariance and map" if known else "covariance and map estimated from the training pool"
    found = [f"Theory is the deterministic equivalent of the {solution} solution, with {source}."]
    if study.train.solver == "gradient":
        found.append("Gradient training reaches it from a small initialization once it has converged.")
    if "inputs" not in study.noise.shared:
        found.append("It is drawn up to the n_train at which members' own inputs begin to overlap.")
    if not known:
        found.append("It takes the inputs as Gaussian: heavier tails lower alignment near n = d.")
    return tuple(found)
