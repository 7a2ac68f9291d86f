"""Networks trained by PyTorch in a study: noise, grid, measures, statistics and report stay Consilience's.

    python examples/pytorch_trainer.py [--steps 4000] [--members 8] [--workers 1] [--out runs/pytorch]

trains on two SNRs and three sizes of the training set of the built-in study `demo`. Options are shown with what they
are when left out. In a study file the same trainer is ``trainer = "pytorch_trainer:train"``, wherever the file lies, as
long as ``consilience run`` is started in this folder: modules are looked for where the command runs.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn

from consilience import Study


def train(training, *, hidden: int = 6, steps: int = 4000, batch: int = 32, learning_rate: float = 5e-3):
    """Train one member; return a function from inputs to every layer's activations."""
    torch.set_num_threads(1)  # small networks: threads cost more than they save
    generator = torch.Generator().manual_seed(training.seed)
    x = torch.from_numpy(training.x)
    y = torch.from_numpy(training.y)
    first, last = nn.Linear(x.shape[1], hidden), nn.Linear(hidden, training.n_outputs)
    with torch.no_grad():
        first.weight.normal_(0, (2 / x.shape[1]) ** 0.5, generator=generator)
        last.weight.normal_(0, hidden**-0.5, generator=generator)
        first.bias.zero_()
        last.bias.zero_()
    loss_of = nn.CrossEntropyLoss() if training.task == "classification" else nn.MSELoss()
    if training.task == "classification":
        y = y.long()
    optimizer = torch.optim.Adam([*first.parameters(), *last.parameters()], lr=learning_rate)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator)
        optimizer.zero_grad()
        loss_of(last(torch.relu(first(x[rows]))), y[rows]).backward()
        optimizer.step()

    @torch.no_grad()
    def layers(inputs: np.ndarray) -> dict[str, np.ndarray]:
        activations = torch.relu(first(torch.from_numpy(inputs)))
        return {"hidden_1": activations.numpy(), "output": last(activations).numpy()}

    return layers


def study(steps: int = 4000, members: int = 8) -> Study:
    """A part of `demo`, trained by PyTorch."""
    return Study(
        name="pytorch",
        data={"source": "digits", "n_test": 250, "n_probe": 250},
        noise={"process": "label-flip"},
        trainer={"function": train, "layers": ["hidden_1", "output"], "steps": steps},
        grid={"snr": [0.25, 4], "n_train": [40, 320, 1280], "members": members},
        measure={"measures": ["cka", "procrustes"]},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", default="runs/pytorch")
    options = parser.parse_args()
    run = study(options.steps, options.members).run(options.out, workers=options.workers)
    print(run["alignment"].sel(layer="hidden_1", measure="cka").mean("pair").to_pandas().round(3))
