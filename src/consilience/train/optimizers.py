"""First-order optimizers, whose learning rate and weight decay are data of the program."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from consilience.train.options import TrainOptions

__all__ = ["first_order"]

# Root mean square of Muon's updates: that of Adam's, so that one learning rate serves both kinds of weights. Unlike
# optax's default it does not depend on which way round a weight matrix is stored (Liu et al., arXiv 2502.16982).
_RMS = 0.2


def first_order(options: TrainOptions, learning_rate: Array, weight_decay: Array) -> optax.GradientTransformation:
    """Return the optax optimizer of the options."""
    rate = _rate(options, learning_rate)
    if options.optimizer == "muon":
        decay: Any = weight_decay if options.weight_decay else 0.0
        return optax.contrib.muon(rate, weight_decay=decay, adam_weight_decay=decay, consistent_rms=_RMS)
    decays = [optax.add_decayed_weights(weight_decay)] if options.weight_decay else []
    if options.optimizer == "sgd":
        moments = [optax.trace(options.momentum, nesterov=options.nesterov)] if options.momentum else []
        parts = [*decays, *moments]
    else:
        parts = [optax.scale_by_adam(), *decays]
    return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _rate(options: TrainOptions, learning_rate: Array) -> Any:
    """The learning rate, or a function of the number of updates made."""
    warmup = options.warmup

    def cosine(count: Any) -> Any:
        past = jnp.maximum(count - warmup, 0) if warmup else count
        return learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * past / (options.steps - warmup)))

    def constant(count: Any) -> Any:
        del count
        return learning_rate

    after = cosine if options.schedule == "cosine" else constant
    if warmup:
        return lambda count: after(count) * jnp.minimum(1.0, (count + 1) / warmup)
    return cosine if options.schedule == "cosine" else learning_rate
