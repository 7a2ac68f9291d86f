"""Networks of a study: Equinox modules that return the activations of every layer by name."""

from consilience.train.networks.base import (
    NARROW,
    NETWORKS,
    Dense,
    Network,
    NetworkOptions,
    Passing,
    Sizes,
    count_parameters,
    layer_widths,
    register_network,
)
from consilience.train.networks.convolution import CNN, ResNet
from consilience.train.networks.custom import CustomNetwork
from consilience.train.networks.dense import MLP, Linear
from consilience.train.networks.transformer import Transformer

__all__ = [
    "CNN",
    "MLP",
    "NARROW",
    "NETWORKS",
    "CustomNetwork",
    "Dense",
    "Linear",
    "Network",
    "NetworkOptions",
    "Passing",
    "ResNet",
    "Sizes",
    "Transformer",
    "count_parameters",
    "layer_widths",
    "register_network",
]
