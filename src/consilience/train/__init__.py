"""Training of ensembles in JAX: many small networks in one compiled program."""

from consilience.train.devices import devices, n_cores
from consilience.train.engine import Cell, Ensemble, bytes_per_network, compile_program, seconds_per_network, train
from consilience.train.networks import (
    CNN,
    MLP,
    NETWORKS,
    CustomNetwork,
    Linear,
    Network,
    NetworkOptions,
    ResNet,
    Sizes,
    Transformer,
    count_parameters,
    layer_widths,
)
from consilience.train.options import TrainOptions
from consilience.train.spec import Trained
from consilience.train.tangent import tangent_kernel

__all__ = [
    "CNN",
    "MLP",
    "NETWORKS",
    "Cell",
    "CustomNetwork",
    "Ensemble",
    "Linear",
    "Network",
    "NetworkOptions",
    "ResNet",
    "Sizes",
    "TrainOptions",
    "Trained",
    "Transformer",
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
