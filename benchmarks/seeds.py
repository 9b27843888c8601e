r"""One attack on many networks at once, and as foolbox would: one network after the other.

  python -m benchmarks.seeds --seeds=1,8,64

Time per network, image and step of PGD in L-inf, in microseconds, the best of several runs, by
every strategy of `freqbias.ensemble.map_seeds`; "chosen" is what "auto" takes on this machine.
foolbox runs on the same networks through its own JAX backend (extra "peers"; without it the column
is left out), with the parameters as an argument of one compiled function, so that it compiles once,
not once a network. The networks are as initialised: the time of a step does not depend on what they
learned.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from absl import app, flags

import freqbias as fb

SEEDS = flags.DEFINE_list("seeds", ["1", "8", "64"], "Numbers of networks attacked.")
flags.register_validator(
    "seeds", lambda counts: all(x.isdigit() and int(x) for x in counts), "must be like 1,8,64."
)
NUM_IMAGES = flags.DEFINE_integer("num_images", 128, "Images per network.", lower_bound=1)
NUM_STEPS = flags.DEFINE_integer("num_steps", 20, "Steps of PGD.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 3, "Timed runs of each.", lower_bound=1)
STRATEGIES = flags.DEFINE_list(
    "strategies", ["vmap", "sequential", "threads"], "Of `freqbias.ensemble`, timed."
)
flags.register_validator(
    "strategies",
    lambda names: set(names) <= set(fb.ensemble.STRATEGIES),
    f"must be of {', '.join(fb.ensemble.STRATEGIES)}.",
)
EPSILON = 0.03

NETWORKS: dict[str, Any] = {
    "fc": fb.models.FullyConnected(num_classes=10),
    "conv_3": fb.models.ConvNet(num_classes=10, kernel_size=3),
    "conv_3_depth_3": fb.models.ConvNet(num_classes=10, kernel_size=3, depth=3),
    "conv_full": fb.models.ConvNet(num_classes=10, kernel_size=28),
}
NETS = flags.DEFINE_multi_enum("network", None, list(NETWORKS), "Networks; all by default.")


def untrained(model: Any, count: int, image_shape: tuple[int, ...], key: Any) -> fb.Ensemble:
    """Networks as initialised."""
    seeds = tuple(range(count))
    params = fb.training.initial_params(model, image_shape, seeds=seeds, key=key)
    return fb.Ensemble(params, jnp.zeros(count, jnp.int32), None, seeds, model.apply)


def best_seconds(run: Callable[[], Any]) -> float:
    """The fastest of several runs, compiled beforehand."""
    jax.block_until_ready(run())
    times = []
    for _ in range(REPEATS.value):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return min(times)


def foolbox_run(nets: fb.Ensemble, images: jax.Array, labels: jax.Array) -> Callable[[], Any]:
    """PGD by foolbox, on one network after the other."""
    import eagerpy  # noqa: PLC0415 (comes with foolbox)
    import foolbox  # noqa: PLC0415 (the peer is needed only here)

    steps = NUM_STEPS.value
    attack = foolbox.attacks.LinfPGD(
        steps=steps, abs_stepsize=2.5 * EPSILON / steps, random_start=True
    )
    network = jax.jit(nets.apply_fn)
    inputs = eagerpy.astensor(images), eagerpy.astensor(labels)

    def run() -> Any:
        found = []
        for index in range(len(nets.seeds)):
            one: Any = partial(network, fb.ensemble.select(nets.params, index))
            model = foolbox.JAXModel(one, bounds=(0, 1), data_format="channels_last")
            found.append(attack(model, *inputs, epsilons=EPSILON)[1].raw)
        return found

    return run


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    data = fb.data.load("fashion_mnist_mini")
    images = jnp.asarray(data.test.images[: NUM_IMAGES.value])
    labels = jnp.asarray(data.test.labels[: NUM_IMAGES.value], jnp.int32)
    attack = fb.attacks.pgd(fb.attacks.Linf(), epsilon=EPSILON, num_steps=NUM_STEPS.value)
    peer = importlib.util.find_spec("foolbox") is not None
    key = jax.random.key(0)
    rows = []
    for name in NETS.value or NETWORKS:
        model = NETWORKS[name]
        for count in map(int, SEEDS.value):
            nets = untrained(model, count, images.shape[1:], key)
            unit = 1e6 / (count * len(images) * NUM_STEPS.value)
            row: dict[str, Any] = {"network": name, "seeds": count}
            for strategy in STRATEGIES.value:
                run = partial(nets.attack, attack, images, labels, key=key, strategy=strategy)
                row[strategy] = unit * best_seconds(run)
            if peer:
                row["foolbox"] = unit * best_seconds(foolbox_run(nets, images, labels))
                row["foolbox / best"] = row["foolbox"] / min(row[s] for s in STRATEGIES.value)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    print(
        f"device {jax.devices()[0].device_kind}, chosen {fb.ensemble.choose_strategy()}; "
        f"{len(images)} images 28 x 28, {NUM_STEPS.value} steps; us per network, image and step"
    )
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    app.run(main)
