"""Training of ensembles in JAX: many small networks in one compiled program."""

from consilience.train.cost import Cost, training_cost
from consilience.train.devices import devices, n_cores
from consilience.train.engine import Cell, Ensemble, bytes_per_network, compile_program, train
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
from consilience.train.spec import Trained, Trajectory
from consilience.train.tangent import tangent_kernel
from consilience.train.trainer import Foreign, TrainingSet, layers_of_trainer
from consilience.train.workers import WORKER_BYTES, Workers

__all__ = [
    "CNN",
    "MLP",
    "NETWORKS",
    "WORKER_BYTES",
    "Cell",
    "Cost",
    "CustomNetwork",
    "Ensemble",
    "Foreign",
    "Linear",
    "Network",
    "NetworkOptions",
    "ResNet",
    "Sizes",
    "TrainOptions",
    "Trained",
    "TrainingSet",
    "Trajectory",
    "Transformer",
    "Workers",
    "bytes_per_network",
    "compile_program",
    "count_parameters",
    "devices",
    "layer_widths",
    "layers_of_trainer",
    "n_cores",
    "tangent_kernel",
    "train",
    "training_cost",
]
