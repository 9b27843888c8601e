r"""Training of several networks by freqbias and by a plain torch loop, side by side.

  pip install ".[peers]" && python -m benchmarks.training

Both take the same number of steps of SGD with momentum from the same initial weights, on the same
batches, without an input gradient; torch one network after the other, on all cores. Runs are
interleaved and compiled beforehand; a line has the median over repeats of images per second, of all
networks together, and of their ratio, with its smallest and largest value. ``first_s`` is what the
first call of freqbias takes, compilation included; the losses are means of the last batches.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import app, flags

import freqbias as fb
from freqbias.training import course

NUM_SEEDS = flags.DEFINE_integer("num_seeds", 8, "Networks trained.", lower_bound=1)
BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["32", "128"], "Images a step.")
NUM_STEPS = flags.DEFINE_integer("num_steps", 64, "Steps of freqbias.", lower_bound=1)
SECONDS = flags.DEFINE_float(
    "seconds", 3.0, "Aimed at for one run of torch: slow networks take fewer steps there."
)
REPEATS = flags.DEFINE_integer("repeats", 3, "Timed runs of each.", lower_bound=1)

CONV = {"num_classes": 10, "channels": 8}
NETWORKS: dict[str, Any] = {
    "fc_256": fb.models.FullyConnected(num_classes=10, depth=1, width=256),
    **{
        f"conv_{size}_depth_{depth}": fb.models.ConvNet(kernel_size=size, depth=depth, **CONV)
        for depth in (1, 3)
        for size in (3, 7, 9, 15, 28)
    },
}
NETS = flags.DEFINE_multi_enum("network", None, list(NETWORKS), "Networks; all by default.")
RATE, MOMENTUM = 0.01, 0.9


def in_torch(model: Any, params: Any, images: Any, labels: Any) -> Callable[[np.ndarray], float]:
    """A function that trains one network on the batches given, and returns the last loss."""
    import torch  # noqa: PLC0415 (the peer is needed only here)
    from torch import nn  # noqa: PLC0415

    class Conv(nn.Module):  # type: ignore[misc]
        def __init__(self, kernel: np.ndarray, bias: np.ndarray):
            super().__init__()
            size = kernel.shape[0]
            before = (size - 1) // 2
            self.margins = (before, size - 1 - before) * 2
            self.weight = nn.Parameter(torch.tensor(kernel.transpose(3, 2, 0, 1).copy()))
            self.bias = nn.Parameter(torch.tensor(bias))

        def forward(self, x: Any) -> Any:
            padded = nn.functional.pad(x, self.margins, mode="circular")
            return nn.functional.conv2d(padded, self.weight, self.bias)

    def dense(layer: Any) -> Any:
        out = nn.Linear(*layer["kernel"].shape)
        out.weight.data = torch.tensor(np.array(layer["kernel"]).T.copy())
        out.bias.data = torch.tensor(np.array(layer["bias"]))
        return out

    named = jax.tree.map(np.array, params["params"])
    head = dense(named["head"]["readout"])
    if isinstance(model, fb.models.ConvNet):
        side = images.shape[1]
        # Torch has channels first; the weights of the readout follow.
        kernel = named["head"]["readout"]["kernel"].reshape(side, side, model.channels, -1)
        head.weight.data = torch.tensor(
            kernel.transpose(3, 2, 0, 1).reshape(model.num_classes, -1).copy()
        )
        hidden = [Conv(named[f"kernel_{i}"], named[f"bias_{i}"]) for i in range(model.depth)]
        inputs = torch.tensor(np.array(images).transpose(0, 3, 1, 2).copy())
    else:
        hidden = [dense(named[f"dense_{i}"]) for i in range(model.depth)]
        inputs = torch.tensor(np.array(images).reshape(len(images), -1))
    layers = [layer for one in hidden for layer in (one, nn.ReLU())]
    network = nn.Sequential(*layers, nn.Flatten(), head)
    targets = torch.tensor(np.array(labels, np.int64))
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM)

    def run(batches: np.ndarray) -> float:
        for batch in torch.tensor(batches.astype(np.int64)):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(network(inputs[batch]), targets[batch])
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    return run


def compare(name: str, batch_size: int, split: Any) -> dict[str, Any]:
    """One line of the table."""
    model, key = NETWORKS[name], jax.random.key(0)
    seeds, num_steps = tuple(range(NUM_SEEDS.value)), NUM_STEPS.value
    images, labels = split.images[: num_steps * batch_size], split.labels[: num_steps * batch_size]
    if len(images) < num_steps * batch_size:
        repeats = -(-num_steps * batch_size // len(images))
        images, labels = np.tile(images, (repeats, 1, 1, 1)), np.tile(labels, repeats)
        images, labels = images[: num_steps * batch_size], labels[: num_steps * batch_size]
    data = fb.data.Split(images, labels)
    optimizer = fb.training.sgd(RATE, MOMENTUM)

    def ours() -> Any:
        nets = fb.train(
            model,
            data,
            seeds=seeds,
            key=key,
            epochs=1,
            batch_size=batch_size,
            optimizer=optimizer,
            progress=False,
        )
        return jax.block_until_ready(nets)

    first, nets = seconds(ours)
    start = fb.training.initial_params(model, images.shape[1:], seeds=seeds, key=key)
    plan = course.Plan(len(images), len(images), batch_size, 1)
    order = np.asarray(course.batches_of(plan, fb.ensemble.seed_keys(key, seeds)))
    one = fb.ensemble.select(start, 0)
    took, _ = seconds(lambda: in_torch(model, one, images, labels)(order[0][:2]))
    steps = int(np.clip(SECONDS.value / (took / 2 * len(seeds)), 2, num_steps))
    rates, losses = [], ()
    for _ in range(REPEATS.value):
        took, nets = seconds(ours)
        peers = [
            in_torch(model, fb.ensemble.select(start, i), images, labels) for i in range(len(seeds))
        ]
        took_torch, found = seconds(
            lambda peers=peers: [
                peer(batches[:steps]) for peer, batches in zip(peers, order, strict=True)
            ]
        )
        rates.append((num_steps / took, steps / took_torch))
        losses = (float(jnp.mean(nets.history.loss[:, steps - 1])), float(np.mean(found)))
    unit = batch_size * len(seeds)
    here, there = unit * np.array(rates).T
    return {
        "network": name,
        "batch": batch_size,
        "freqbias": np.median(here),
        "torch": np.median(there),
        "ratio": np.median(here / there),
        "lowest": (here / there).min(),
        "highest": (here / there).max(),
        "first_s": first,
        "loss": losses[0],
        "loss_torch": losses[1],
    }


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """How long it took, and what it gave."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    split = fb.data.load("fashion_mnist_mini").train
    rows = []
    for name in NETS.value or NETWORKS:
        for batch_size in map(int, BATCH_SIZES.value):
            rows.append(compare(name, batch_size, split))
            print(rows[-1], file=sys.stderr, flush=True)
    print(
        f"device {jax.devices()[0].device_kind}; {NUM_SEEDS.value} networks, images 28 x 28; "
        "images per second of all networks"
    )
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    app.run(main)
