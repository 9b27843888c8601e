"""Training of several networks: freqbias beside a plain torch loop and a plain JAX loop.

All take steps of SGD with momentum from the same initial weights on the same batches, without an
input gradient; the peers one network after the other. The loss is that of the last batch.
"""

import copy
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import freqbias as fb
from benchmarks import networks, products
from benchmarks.harness import OURS, PRODUCTS, Case, Runner, Settings, Suite, Timed, interleaved
from benchmarks.pgd import total_loss
from freqbias._blocks import block_size
from freqbias.training import course, loop

RATE, MOMENTUM = 0.002, 0.9
BATCHES = 32, 128
STEPS_PER_EPOCH, EPOCHS = 64, 4
NETWORKS = (
    "fc_1x256",
    *(f"conv_{size}_{depth}x8" for depth in (1, 3) for size in (3, 7, 9, 15, 28)),
)


class Task:
    """Networks as initialised, images, and the order in which each network sees them."""

    def __init__(
        self, name: str, *, num_seeds: int, batch_size: int, num_steps: int, side: int = 28
    ):
        split = fb.data.load("fashion_mnist_mini").train
        steps = min(num_steps, STEPS_PER_EPOCH)
        rows = np.arange(steps * batch_size) % len(split.labels)  # so many, whatever the set has
        self.split = fb.data.Split(
            networks.images_of(split, side)[rows], np.asarray(split.labels)[rows]
        )
        self.model, self.seeds = networks.named(name), tuple(range(num_seeds))
        self.key, self.batch_size = jax.random.key(0), batch_size
        self.epochs = num_steps // steps
        self.optimizer = fb.training.sgd(RATE, MOMENTUM)

    @cached_property
    def start(self) -> Any:
        """Parameters as initialised, leaves [S, ...]."""
        shape = self.split.images.shape[1:]
        return fb.training.initial_params(self.model, shape, seeds=self.seeds, key=self.key)

    @cached_property
    def order(self) -> np.ndarray:
        """Of the images, int [S, steps, batch]."""
        total = len(self.split.labels)
        plan = course.Plan(total, total, self.batch_size, self.epochs)
        return np.asarray(course.batches_of(plan, fb.ensemble.seed_keys(self.key, self.seeds)))

    def ours(self, seeds: int, steps: int) -> Any:
        """The ensemble; always all steps."""
        del steps
        return fb.train(
            self.model,
            self.split,
            seeds=self.seeds[:seeds],
            key=self.key,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            progress=False,
        )

    def in_torch(self) -> Callable[[int, int], Any]:
        """A function (seeds, steps) -> losses [seeds]."""
        import torch  # noqa: PLC0415 (the peer is needed only here)

        images = networks.to_torch(self.split.images)
        labels = networks.to_torch(self.split.labels)
        shape = self.split.images.shape[1:]
        starts = [networks.as_torch(self.model, params, shape) for params in self._starts()]
        order = torch.from_numpy(self.order.astype(np.int64)).to(images.device)

        def one(seed: int, steps: int) -> float:
            network = copy.deepcopy(starts[seed])
            optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM)
            for batch in order[seed, :steps]:
                optimizer.zero_grad(set_to_none=True)
                loss = torch.nn.functional.cross_entropy(network(images[batch]), labels[batch])
                loss.backward()
                optimizer.step()
            return float(loss.detach())

        return lambda seeds, steps: [one(seed, steps) for seed in range(seeds)]

    def in_jax(self) -> Callable[[int, int], Any]:
        """A function (seeds, steps) -> losses [seeds]: a jitted step, driven from Python."""
        images, labels = jnp.asarray(self.split.images), jnp.asarray(self.split.labels, jnp.int32)
        optimizer, starts = optax.sgd(RATE, momentum=MOMENTUM), self._starts()
        order = jnp.asarray(self.order)

        @jax.jit
        def step(params: Any, state: Any, batch: Any) -> Any:
            def loss(params: Any) -> Any:
                logits = networks.plain_apply(self.model, params, images[batch])
                return total_loss(logits, labels[batch]) / len(batch)

            value, slope = jax.value_and_grad(loss)(params)
            update, state = optimizer.update(slope, state)
            return optax.apply_updates(params, update), state, value

        def one(seed: int, steps: int) -> float:
            params, state = starts[seed], optimizer.init(starts[seed])
            for batch in order[seed, :steps]:
                params, state, loss = step(params, state, batch)
            return float(loss)

        return lambda seeds, steps: [one(seed, steps) for seed in range(seeds)]

    def products(self) -> Callable[[int, int], Any]:
        """The matrix products alone, of as many images at a time as freqbias takes."""
        batch = self.split.images[: self.batch_size]
        apply = partial(self.model.apply, self._starts()[0])
        size = block_size(apply, batch, loop._NEAR)
        run = products.runner(products.of_step(self.model, batch.shape[1:], size, training=True))
        return lambda seeds, steps: run(seeds, steps * (self.batch_size // size))

    def _starts(self) -> list[Any]:
        return [fb.ensemble.select(self.start, seed) for seed in range(len(self.seeds))]

    def runners(self, settings: Settings) -> list[Runner]:
        """Of the libraries that are there."""
        made = {OURS: lambda: self.ours, "torch": self.in_torch, "JAX": self.in_jax}
        if products.counts(self.model):
            made[PRODUCTS] = self.products
        return [Runner(name, make()) for name, make in made.items() if settings.has(name)]


def measure(
    name: str, num_seeds: int, batch_size: int, num_steps: int, settings: Settings
) -> list[dict[str, Any]]:
    """Rows of one network."""
    task = Task(name, num_seeds=num_seeds, batch_size=batch_size, num_steps=num_steps)
    timed = interleaved(task.runners(settings), seeds=num_seeds, steps=num_steps, settings=settings)
    history = np.asarray(timed[0].result.history.loss)
    rows = []
    for run in timed:
        mine = float(history[: run.seeds, run.steps - 1].mean())
        rows.append(run.row(batch_size) | {"loss": _loss(run, mine), "loss_freqbias": mine})
    return rows


def _loss(run: Timed, mine: float) -> float:
    if run.library == PRODUCTS:
        return float("nan")
    return mine if run.library == OURS else float(np.mean(run.result))


def cases(settings: Settings) -> list[Case]:
    """One for each network and size of a batch."""
    chosen = settings.networks or (("fc_1x16", "conv_3_1x4") if settings.smoke else NETWORKS)
    steps = 4 if settings.smoke else STEPS_PER_EPOCH * EPOCHS
    batches, seeds = ((16,), 2) if settings.smoke else (BATCHES, 8)
    found = []
    for name in chosen:
        for batch in batches:
            key = {"network": name, "batch": batch, "seeds": seeds, "steps": steps}
            found.append(Case(key, partial(measure, name, seeds, batch, steps, settings)))
    return found


SUITE = Suite(
    "training",
    "training of several networks: images per second of all of them",
    ("network", "batch", "seeds", "steps"),
    ("seeds_run", "steps_run", "seconds", "rate", "loss", "loss_freqbias"),
    cases,
    minutes=25,
)
