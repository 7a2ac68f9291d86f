"""scikit-learn's MLPs in a study, of two widths, compared with each other.

python examples/sklearn_trainer.py [--members 4] [--out runs/sklearn]
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from consilience import Study
from consilience.facts import best_layers


def train(training, *, hidden: int = 16, iterations: int = 100):
    """Fit one member; return a function from inputs to every layer's activations."""
    network = MLPClassifier((hidden,), max_iter=iterations, random_state=training.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether the training set is fitted is in `converged`
        network.fit(training.x, training.y)
    (first, second), (bias, last_bias) = network.coefs_, network.intercepts_

    def layers(inputs: np.ndarray) -> dict[str, np.ndarray]:
        activations = np.maximum(inputs @ first + bias, 0)
        scores = activations @ second + last_bias
        if len(network.classes_) == 2:  # one score, the log odds of the second class
            scores = np.concatenate([-scores, scores], axis=1) / 2
        # A small training set may lack a class, and scikit-learn then has no output for it.
        output = np.full((len(inputs), training.n_outputs), -30.0)
        output[:, network.classes_] = scores
        return {"hidden_1": activations, "output": output}

    return layers


def study(members: int = 4, n_train: tuple[int, ...] = (50, 200, 800)) -> Study:
    """Two widths, compared across."""
    return Study(
        name="sklearn",
        data={"source": "digits", "n_test": 250, "n_probe": 250},
        noise={"process": "label-flip"},
        trainer={"function": train, "layers": ["hidden_1", "output"]},
        grid={"snr": [1, 4], "n_train": list(n_train), "members": members, "trainer.hidden": [4, 64]},
        measure={"measures": ["cka"]},
        pairs={"across": ["trainer.hidden"]},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--out", default="runs/sklearn")
    options = parser.parse_args()
    for found in best_layers(study(options.members).run(options.out)):
        place = ", ".join(f"{name} {value:g}" for name, value in found.at.items())
        print(f"{place}: {found.variant_a} and {found.variant_b} units {found.mean:.2f} ± {found.se:.2f}")
