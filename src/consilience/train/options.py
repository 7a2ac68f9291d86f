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
    """Optimizer, schedule, loss, stopping and solver of one training.

    Attributes
    ----------
    solver
        "gradient", or "exact" for linear networks with squared error: the minimum-norm least-squares map
        (`ridge` = 0) or the ridge map, in closed form.
    optimizer
        First order, on batches: "adam" or "adamw", two names of one update, Adam with decoupled weight decay
        (Loshchilov & Hutter, arXiv 1711.05101), zero unless `weight_decay` is given; "sgd"; "muon", which
        orthogonalises the momentum of weight matrices and leaves the rest to Adam, with updates scaled to the
        size of Adam's so that learning rates carry over (Liu et al., arXiv 2502.16982).
        Second order, on the whole training set (``batch = "full"``), for small networks: "levenberg-marquardt", damped
        Gauss-Newton for squared error (Marquardt 1963; damping by Nielsen, IMM-REP-1999-05) up to 5000 parameters, and
        "lbfgs" with a line search (Liu & Nocedal 1989) for any loss. They reach the fit that first-order
        methods approach, have no learning rate, and stop by themselves where float32 allows no further decrease.
    learning_rate, momentum, nesterov, weight_decay, schedule, warmup
        `momentum` (heavy-ball, or Nesterov's where `nesterov`) is that of "sgd", where weight decay is part of the
        gradient. `schedule` is "constant", or "cosine" from `learning_rate` down towards zero, which it would reach
        one step after the last. Over the first `warmup` steps the rate rises linearly, step t (from 1) taking
        t / warmup of it; a cosine begins after them.
    steps, batch
        Number of updates (iterations of second-order optimizers) and rows drawn, with replacement, for each: a batch
        may be larger than a small training set, but, other than the default, not than every one of the grid.
        ``"full"`` uses the whole training set.
    loss
        "auto": cross-entropy for classification, squared error for regression. "squared-error" on a
        classification task regresses the one-hot labels, centred by 1 / classes.
    stop_loss
        A member stops when the loss on its noisy training set is at most this; 0 never stops it.
    validation, patience
        Early stopping: this share of the member's noisy training set, its last rows, is held out (0: none). A member
        stops when the loss on them has not improved for `patience` checks, and keeps the weights at which it
        was lowest, also where it never stops. Training loss and error are then over the rows trained on.
        Both kinds of stopping are checked every 32 steps, or as often as the training set has been gone through once
        where that takes longer, and after each second-order iteration.
    ridge
        Penalty μ of the exact solver, which minimises ‖XW − Y‖² / n + μ‖W‖².
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    solver: Literal["gradient", "exact"] = "gradient"
    optimizer: Literal["adam", "adamw", "sgd", "muon", "lbfgs", "levenberg-marquardt"] = "adam"
    learning_rate: float = 3e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    steps: int = 3000
    batch: int | Literal["full"] = 64
    loss: Literal["auto", "cross-entropy", "squared-error"] = "auto"
    stop_loss: float = 0.0
    validation: float = 0.0
    patience: int = 10
    ridge: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConsilienceError(f"learning_rate = {self.learning_rate}: must be a positive number")
        for name in ("weight_decay", "ridge", "stop_loss"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ConsilienceError(f"{name} = {value}: must be zero or a positive number")
        if not 1 <= self.steps < 2**31:
            raise ConsilienceError(f"steps = {self.steps}: at least one step is needed, and fewer than 2³¹")
        batch = cast(object, self.batch)
        if batch != "full" and not (isinstance(batch, int) and batch >= 1):
            raise ConsilienceError(f"batch = {self.batch}: give a number of rows, 1 or more, or 'full'")
        if self.ridge and self.solver != "exact":
            raise ConsilienceError(
                f"ridge = {self.ridge}: only solver = 'exact' has it; gradient training has weight_decay"
            )
        self._check_momentum()
        self._check_stopping()
        if not 0 <= self.warmup < self.steps:
            raise ConsilienceError(f"warmup = {self.warmup}: give a number of steps, less than steps = {self.steps}")
        if self.second_order and self.solver == "gradient":
            self._check_second_order()

    @property
    def second_order(self) -> bool:
        """Whether steps are iterations over the whole training set with curvature."""
        return self.optimizer in ("lbfgs", "levenberg-marquardt")

    @property
    def may_stop(self) -> bool:
        """Whether a member may end before its last step."""
        return self.solver == "gradient" and (self.second_order or self.stop_loss > 0 or self.validation > 0)

    def held_out(self, n_train: int) -> int:
        """Return how many of a member's training samples are held out to stop by: the nearest number, 1 or more.

        Examples
        --------
        >>> [TrainOptions(validation=0.2).held_out(n) for n in (2, 4, 10, 100)]
        [1, 1, 2, 20]
        """
        return max(1, round(self.validation * n_train)) if self.validation else 0

    def _check_momentum(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConsilienceError(f"momentum = {self.momentum}: must lie in [0, 1)")
        if self.momentum and self.optimizer != "sgd":
            raise ConsilienceError(f"momentum = {self.momentum}: only optimizer = 'sgd' has it; remove it")
        if self.nesterov and not self.momentum:
            raise ConsilienceError("nesterov = true: a kind of momentum; set momentum too, such as 0.9, with 'sgd'")

    def _check_stopping(self) -> None:
        if not 0 <= self.validation < 1:
            raise ConsilienceError(f"validation = {self.validation}: a share of the training set, must lie in [0, 1)")
        if self.patience < 1:
            raise ConsilienceError(f"patience = {self.patience}: at least one check is needed")
        for name, instead in {"stop_loss": "", "validation": "", "weight_decay": ", or give a ridge"}.items():
            if getattr(self, name) and self.solver == "exact":
                raise ConsilienceError(
                    f"{name} = {getattr(self, name)}: solver = 'exact' takes no steps; remove it{instead}"
                )

    def _check_second_order(self) -> None:
        if self.batch != "full":
            raise ConsilienceError(
                f"batch = {self.batch}: optimizer = {self.optimizer!r} uses the whole training set; set batch = 'full'"
            )
        for name, unused in {"schedule": "constant", "warmup": 0, "weight_decay": 0}.items():
            if getattr(self, name) != unused:
                raise ConsilienceError(
                    f"{name} = {getattr(self, name)!r}: optimizer = {self.optimizer!r} has none; remove it"
                )
