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
        ({"nesterov": True}, "nesterov = true: a kind of momentum"),
        ({"warmup": -1}, "warmup = -1: give a number of steps"),
        ({"warmup": 10, "steps": 10}, "warmup = 10: give a number of steps, less than steps = 10"),
        ({"stop_loss": -1.0}, "stop_loss = -1.0: must be zero or a positive number"),
        ({"stop_loss": np.nan}, "stop_loss = nan"),
        ({"stop_loss": 0.1, "solver": "exact"}, "stop_loss = 0.1: solver = 'exact' takes no steps"),
        ({"validation": 1.0}, r"validation = 1.0: a share of the training set, must lie in \[0, 1\)"),
        ({"validation": 0.2, "solver": "exact"}, "validation = 0.2: solver = 'exact' takes no steps"),
        ({"patience": 0}, "patience = 0: at least one check"),
        ({"optimizer": "lbfgs"}, "batch = 64: optimizer = 'lbfgs' uses the whole training set; set batch = 'full'"),
        ({"optimizer": "levenberg-marquardt", "batch": 8}, "batch = 8: optimizer = 'levenberg-marquardt' uses"),
        ({"optimizer": "lbfgs", "batch": "full", "weight_decay": 0.1}, "weight_decay = 0.1: optimizer = 'lbfgs' has"),
        ({"optimizer": "lbfgs", "batch": "full", "schedule": "cosine"}, "schedule = 'cosine': optimizer"),
        ({"optimizer": "lbfgs", "batch": "full", "warmup": 5}, "warmup = 5: optimizer = 'lbfgs' has none"),
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
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "warmup": 100},
        {"optimizer": "muon", "weight_decay": 0.1},
        {"optimizer": "levenberg-marquardt", "batch": "full", "stop_loss": 1e-6},
        {"validation": 0.2, "patience": 1},
        {"solver": "exact", "ridge": 0.0},
        {"solver": "exact", "ridge": 1e-3},
    ],
)
def test_accepted_and_usable_as_a_key(options):
    assert {TrainOptions(**options): 1}[TrainOptions(**options)] == 1
