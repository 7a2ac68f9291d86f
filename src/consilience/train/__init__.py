"""Training of ensembles in JAX: many small networks in one compiled program."""

from consilience.train.devices import devices, n_cores
from consilience.train.engine import Cell, Ensemble, bytes_per_network, compile_program, seconds_per_network, train
from consilience.train.networks import (
    MLP,
    NETWORKS,
    Linear,
    Network,
    NetworkOptions,
    count_parameters,
    layer_widths,
)
from consilience.train.options import TrainOptions
from consilience.train.spec import Trained, Trajectory
from consilience.train.tangent import tangent_kernel

__all__ = [
    "MLP",
    "NETWORKS",
    "Cell",
    "Ensemble",
    "Linear",
    "Network",
    "NetworkOptions",
    "TrainOptions",
    "Trained",
    "Trajectory",
    "bytes_per_network",
    "compile_program",
    "count_parameters",
    "devices",
    "layer_widths",
    "n_cores",
    "seconds_per_network",
    "tangent_kernel",
    "train",
]
