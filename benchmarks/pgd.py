"""L2 PGD on an ensemble: freqbias beside torch, torchattacks, foolbox and plain JAX.

All start at the clean image and take the same steps of the same length on the same weights, the
peers one network after the other. The loss is the mean cross-entropy of what each returns (of
freqbias the best iterate, of the others the last one).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import freqbias as fb
from benchmarks import networks, products
from benchmarks.harness import OURS, PRODUCTS, Case, Runner, Settings, Suite, interleaved
from freqbias._blocks import equal_blocks
from freqbias.attacks import driver

EPSILON = 0.5
NETWORKS = {  # name -> (networks, images, steps), as in the table of targets
    "fc_1x64": (16, 64, 40),
    **{f"conv_{size}_3x16": (4, 128, 20) for size in (3, 7, 9, 15, 28)},
}
SMOKE = {"fc_1x16": (2, 8, 3), "conv_3_1x4": (2, 8, 3)}


def attack(steps: int, length: float) -> Any:
    """What all do."""
    norm = fb.attacks.L2()
    return fb.attacks.pgd(
        norm, epsilon=EPSILON, step_size=length, num_steps=steps, random_start=False
    )


def runners(problem: networks.Problem, length: float, settings: Settings) -> list[Runner]:
    """Functions (seeds, steps) -> images [seeds, N, H, W, C], of the libraries that are there."""
    images, labels = problem.images, problem.labels

    def ours(seeds: int, steps: int) -> Any:
        nets = problem.nets[:seeds] if seeds < len(problem.nets) else problem.nets
        found = nets.attack(attack(steps, length), images, labels, key=jax.random.key(0))
        return images[None] + found.delta

    made = {OURS: lambda: ours}
    for name, make in _PEERS.items():
        made[name] = partial(make, problem, length)
    if products.counts(problem.model):
        made[PRODUCTS] = partial(_products, problem)
    return [Runner(name, make()) for name, make in made.items() if settings.has(name)]


def _products(problem: networks.Problem) -> Callable[[int, int], Any]:
    """The matrix products alone, of as many images at a time as freqbias takes."""
    shape = problem.images.shape[1:]
    apply = partial(problem.model.apply, problem.params(0))
    number, size = equal_blocks(apply, problem.images, driver._NEAR)
    run = products.runner(products.of_step(problem.model, shape, size, training=False))
    return lambda seeds, steps: run(seeds, steps * number)


def _torch(problem: networks.Problem, length: float) -> Callable[[int, int], Any]:
    """A loop as one writes it."""
    import torch  # noqa: PLC0415 (the peer is needed only here)

    modules, images, labels = _modules(problem)

    def size(delta: Any) -> Any:
        return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    def one(module: Any, steps: int) -> np.ndarray:
        x = images
        for _ in range(steps):
            x = x.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(module(x), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, x)
            delta = x.detach() + length * slope / (size(slope) + 1e-12) - images
            delta = delta * (EPSILON / (size(delta) + 1e-12)).clamp(max=1)
            x = (images + delta).clamp(0, 1)
        return networks.from_torch(x)

    return lambda seeds, steps: np.stack([one(module, steps) for module in modules[:seeds]])


def _torchattacks(problem: networks.Problem, length: float) -> Callable[[int, int], Any]:
    import torchattacks  # noqa: PLC0415

    modules, images, labels = _modules(problem)

    def one(module: Any, steps: int) -> np.ndarray:
        peer = torchattacks.PGDL2(
            module, eps=EPSILON, alpha=length, steps=steps, random_start=False
        )
        return networks.from_torch(peer(images, labels))

    return lambda seeds, steps: np.stack([one(module, steps) for module in modules[:seeds]])


def _foolbox_torch(problem: networks.Problem, length: float) -> Callable[[int, int], Any]:
    import foolbox  # noqa: PLC0415

    modules, images, labels = _modules(problem)

    def one(module: Any, steps: int) -> np.ndarray:
        model = foolbox.PyTorchModel(module, bounds=(0, 1), device=networks.torch_device())
        peer = foolbox.attacks.L2PGD(steps=steps, abs_stepsize=length, random_start=False)
        return networks.from_torch(peer(model, images, labels, epsilons=EPSILON)[1])

    return lambda seeds, steps: np.stack([one(module, steps) for module in modules[:seeds]])


def _foolbox_jax(problem: networks.Problem, length: float) -> Callable[[int, int], Any]:
    import eagerpy  # noqa: PLC0415 (comes with foolbox)
    import foolbox  # noqa: PLC0415

    # With the parameters as an argument it compiles once, not once a network.
    network = jax.jit(partial(networks.plain_apply, problem.model))
    inputs = eagerpy.astensor(problem.images), eagerpy.astensor(problem.labels)

    def one(params: Any, steps: int) -> jax.Array:
        apply: Any = partial(network, params)
        model = foolbox.JAXModel(apply, bounds=(0, 1), data_format="channels_last")
        peer = foolbox.attacks.L2PGD(steps=steps, abs_stepsize=length, random_start=False)
        with jax.numpy_rank_promotion("allow"):
            return peer(model, *inputs, epsilons=EPSILON)[1].raw

    return lambda seeds, steps: jnp.stack([one(problem.params(s), steps) for s in range(seeds)])


def _jax(problem: networks.Problem, length: float) -> Callable[[int, int], Any]:
    """A jitted step with XLA's convolution, driven from Python."""
    images, labels = problem.images, problem.labels

    def size(delta: Any) -> Any:
        return jnp.sqrt(jnp.sum(delta**2, axis=(1, 2, 3), keepdims=True)) + 1e-12

    def loss(x: Any, params: Any) -> Any:
        return total_loss(networks.plain_apply(problem.model, params, x), labels)

    @jax.jit
    def step(x: Any, params: Any) -> Any:
        slope = jax.grad(loss)(x, params)
        delta = x + length * slope / size(slope) - images
        delta = delta * jnp.minimum(EPSILON / size(delta), 1)
        return jnp.clip(images + delta, 0, 1)

    def one(params: Any, steps: int) -> jax.Array:
        x = images
        for _ in range(steps):
            x = step(x, params)
        return x

    return lambda seeds, steps: jnp.stack([one(problem.params(s), steps) for s in range(seeds)])


_PEERS = {
    "torch": _torch,
    "torchattacks": _torchattacks,
    "foolbox (torch)": _foolbox_torch,
    "foolbox (JAX)": _foolbox_jax,
    "JAX": _jax,
}


def total_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sum of the cross-entropies."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -jnp.sum(chosen)


def measure(
    name: str, num_seeds: int, num_images: int, steps: int, settings: Settings
) -> list[dict[str, Any]]:
    """Rows of one network."""
    sizes = {"num_training": 256} if settings.smoke else {}
    problem = networks.problem(name, num_seeds=num_seeds, num_images=num_images, **sizes)
    length = 2.5 * EPSILON / steps
    candidates = runners(problem, length, settings)
    timed = interleaved(candidates, seeds=num_seeds, steps=steps, settings=settings)
    judge = jax.jit(problem.model.apply)

    def quality(found: Any) -> tuple[float, float]:
        logits = [judge(problem.params(s), jnp.asarray(x)) for s, x in enumerate(found)]
        loss = [float(total_loss(rows, problem.labels)) / num_images for rows in logits]
        right = [float(jnp.mean(jnp.argmax(rows, -1) == problem.labels)) for rows in logits]
        return float(np.mean(loss)), float(np.mean(right))

    # What freqbias reaches on as many networks in as many steps; what a peer did last.
    shares = {(run.seeds, run.steps) for run in timed}
    mine = {share: quality(candidates[0].run(*share)) for share in shares}
    theirs = {
        run.library: quality(run.result) if run.library != PRODUCTS else (np.nan, np.nan)
        for run in timed
        if run.repeat == 0
    }
    rows = []
    for run in timed:
        loss, accuracy = theirs[run.library]
        loss_ours, accuracy_ours = mine[run.seeds, run.steps]
        rows.append(
            run.row(num_images)
            | {
                "loss": loss,
                "loss_freqbias": loss_ours,
                "robust_accuracy": accuracy,
                "robust_accuracy_freqbias": accuracy_ours,
            }
        )
    return rows


def cases(settings: Settings) -> list[Case]:
    """One for each network."""
    table = SMOKE if settings.smoke else NETWORKS
    chosen = {name: table.get(name, (4, 128, 20)) for name in settings.networks or table}
    found = []
    for name, sizes in chosen.items():
        key = dict(zip(("network", "seeds", "images", "steps"), (name, *sizes), strict=True))
        found.append(Case(key, partial(measure, name, *sizes, settings)))
    return found


def _modules(problem: networks.Problem) -> tuple[list[Any], Any, Any]:
    shape = problem.images.shape[1:]
    modules = [
        networks.as_torch(problem.model, problem.params(seed), shape)
        for seed in range(len(problem.nets))
    ]
    return modules, networks.to_torch(problem.images), networks.to_torch(problem.labels)


SUITE = Suite(
    "pgd",
    "L2 PGD on several networks: image-steps per second",
    ("network", "seeds", "images", "steps"),
    (
        *("seeds_run", "steps_run", "seconds", "rate", "loss", "loss_freqbias"),
        *("robust_accuracy", "robust_accuracy_freqbias"),
    ),
    cases,
    minutes=15,
)
