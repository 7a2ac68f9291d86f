"""Training options: what is refused, and how the refusal reads."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.train import TrainOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be a positive number"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0"),
        ({"learning_rate": np.nan}, "learning_rate = nan"),
        ({"learning_rate": np.inf}, "learning_rate = inf"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1: must be zero or a positive number"),
        ({"weight_decay": np.nan}, "weight_decay = nan"),
        ({"ridge": -0.1, "solver": "exact"}, "ridge = -0.1: must be zero or a positive number"),
        ({"ridge": 0.1}, "ridge = 0.1: only solver = 'exact' has it"),
        ({"momentum": 1.0, "optimizer": "sgd"}, r"momentum = 1.0: must lie in \[0, 1\)"),
        ({"momentum": -0.1, "optimizer": "sgd"}, "momentum = -0.1"),
        ({"momentum": np.nan, "optimizer": "sgd"}, "momentum = nan"),
        ({"momentum": 0.9}, "momentum = 0.9: only optimizer = 'sgd' has it"),
        ({"steps": 0}, "steps = 0: at least one step"),
        ({"batch": 0}, "batch = 0: give a number of rows, 1 or more, or 'full'"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ConsilienceError, match=message):
        TrainOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.0, "steps": 1, "batch": 1},
        {"optimizer": "sgd", "momentum": 0.0, "batch": "full"},
        {"optimizer": "sgd", "momentum": 0.99, "schedule": "cosine", "weight_decay": 1e-4},
        {"solver": "exact", "ridge": 0.0},
        {"solver": "exact", "ridge": 1e-3},
    ],
)
def test_accepted_and_usable_as_a_key(options):
    assert {TrainOptions(**options): 1}[TrainOptions(**options)] == 1
