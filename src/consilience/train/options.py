"""How networks are trained: the ``[train]`` table of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args, get_origin, get_type_hints

import numpy as np

from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError

__all__ = ["TrainOptions", "check_choices"]


def check_choices(options: Any) -> None:
    """Refuse a value that an option of type `Literal` does not list; pydantic does so only for study files."""
    for name, hint in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ConsilienceError(f"{name} = {value!r}: {suggestion(str(value), get_args(hint))}")


@dataclass(frozen=True)
class TrainOptions:
    """Optimizer, schedule, loss and solver of one training.

    Attributes
    ----------
    solver
        "gradient", or "exact" for linear networks with squared error: the minimum-norm least-squares map
        (`ridge` = 0) or the ridge map, in closed form.
    optimizer, learning_rate, momentum, weight_decay, schedule
        "adam" (with decoupled weight decay) or "sgd" (with heavy-ball `momentum`); `schedule` "constant", or
        "cosine" from `learning_rate` down towards zero, which it would reach one step after the last.
    steps, batch
        Number of updates and rows drawn, with replacement, for each: a batch may be larger than a small training
        set, but not than every one of the grid. ``"full"`` uses the whole training set.
    loss
        "auto": cross-entropy for classification, squared error for regression. "squared-error" on a
        classification task regresses the one-hot labels, centred by 1 / classes.
    ridge
        Penalty μ of the exact solver, which minimises ‖XW − Y‖² / n + μ‖W‖².
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    solver: Literal["gradient", "exact"] = "gradient"
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 3e-3
    schedule: Literal["constant", "cosine"] = "constant"
    momentum: float = 0.0
    weight_decay: float = 0.0
    steps: int = 3000
    batch: int | Literal["full"] = 64
    loss: Literal["auto", "cross-entropy", "squared-error"] = "auto"
    ridge: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConsilienceError(f"learning_rate = {self.learning_rate}: must be a positive number")
        for name, value in {"weight_decay": self.weight_decay, "ridge": self.ridge}.items():
            if not (np.isfinite(value) and value >= 0):
                raise ConsilienceError(f"{name} = {value}: must be zero or a positive number")
        if not 0 <= self.momentum < 1:
            raise ConsilienceError(f"momentum = {self.momentum}: must lie in [0, 1)")
        if self.momentum and self.optimizer != "sgd":
            raise ConsilienceError(f"momentum = {self.momentum}: only optimizer = 'sgd' has it; remove it")
        if self.steps < 1:
            raise ConsilienceError(f"steps = {self.steps}: at least one step is needed")
        batch = cast(object, self.batch)
        if batch != "full" and not (isinstance(batch, int) and batch >= 1):
            raise ConsilienceError(f"batch = {self.batch}: give a number of rows, 1 or more, or 'full'")
        if self.ridge and self.solver != "exact":
            raise ConsilienceError(
                f"ridge = {self.ridge}: only solver = 'exact' has it; gradient training has weight_decay"
            )
