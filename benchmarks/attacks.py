r"""Attacks on the same trained networks as foolbox's and torchattacks', side by side.

  python -m benchmarks.attacks --num_images=512 --epochs=5

Needs the extra "peers". foolbox runs through its own JAX backend, torchattacks on the same JAX
network, seen from torch as one function. One line for each network and attack: how strong, and how
fast. Strength is, of an attack of a fixed budget, the accuracy that is left on images that were
correct when clean; of a minimal attack, the median distance of those images, infinity for those not
broken. Both are judged here, on what each attack returns: by the prediction of the network on it,
and its norm. Lower is stronger. Seconds are those of a second run, since the first compiles (in
torch nothing but the network does; foolbox's Brendel-Bethge runs first on eight images). The tables
end with the largest excess over a peer: of accuracy in points, of a median distance as a ratio.
``--out`` is written after each attack, and keeps what it has of others, so that they can be run one
by one.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import app, flags

import freqbias as fb
from freqbias.attacks import L0, L1, L2, Linf

NUM_IMAGES = flags.DEFINE_integer("num_images", 512, "Images attacked.", lower_bound=1)
EPOCHS = flags.DEFINE_integer("epochs", 5, "Epochs of training.", lower_bound=1)
NUM_STEPS = flags.DEFINE_integer("num_steps", 40, "Gradient steps of each attack.", lower_bound=1)
QUERIES = flags.DEFINE_integer("queries", 1000, "Queries of black boxes.", lower_bound=1)


NETWORKS: dict[str, Callable[[int], Any]] = {  # side of an image -> module
    "conv": lambda side: fb.models.ConvNet(num_classes=10, kernel_size=3),
    "conv_full": lambda side: fb.models.ConvNet(num_classes=10, kernel_size=side),
    "fc": lambda side: fb.models.FullyConnected(num_classes=10),
    "locally_connected": lambda side: fb.models.LocallyConnectedNet(num_classes=10, kernel_size=3),
}
ATTACKS = flags.DEFINE_list("attacks", None, "Names of the attacks to run; all by default.")
OUT = flags.DEFINE_string(
    "out", None, "CSV file to write the table to; what else it has stays. Default: none."
)
NETS = flags.DEFINE_multi_enum("network", None, list(NETWORKS), "Networks; all by default.")


class Pair(NamedTuple):
    """One attack here and there; a new one joins `pairs`."""

    name: str
    norm: Any
    epsilon: float | None  # None: a minimal attack
    ours: Callable[[], Any]  # () -> attack
    theirs: Callable[[Any], Any] | None = None  # (foolbox) -> attack, if it has one
    in_torch: Callable[[Any, Any], Any] | None = None  # (torchattacks, model) -> attack
    warm_theirs: int | None = None  # foolbox's compiles on so many, because it takes long
    from_others: bool = False  # foolbox's starts at images of other classes


def label(norm: Any) -> str:
    """Of a norm, in the table: "l2"."""
    return type(norm).__name__.lower()


def pairs() -> list[Pair]:
    """All attacks, with the same number of steps and the same step size on both sides."""
    steps = NUM_STEPS.value

    def in_torch(peer: str, norm: Any, epsilon: float, **options: Any) -> Callable[..., Any] | None:
        if label(norm) not in ("linf", "l2"):  # its APGD and FAB in L1 raise
            return None
        options |= {"norm": type(norm).__name__, "eps": epsilon}
        return lambda torchattacks, model: getattr(torchattacks, peer)(model, **options)

    def pgd(norm: Any, epsilon: float, peer: str) -> Pair:
        def theirs(foolbox: Any) -> Any:
            kind = getattr(foolbox.attacks, peer)
            return kind(steps=steps, abs_stepsize=2.5 * epsilon / steps, random_start=True)

        return Pair(
            f"pgd_{label(norm)}",
            norm,
            epsilon,
            lambda: fb.attacks.pgd(norm, epsilon=epsilon, num_steps=steps),
            theirs,
        )

    def apgd(norm: Any, epsilon: float, name: str, **options: Any) -> Pair:
        def ours() -> Any:
            return fb.attacks.apgd(norm, epsilon=epsilon, num_steps=steps, **options)

        peer = "APGDT" if "num_targets" in options else "APGD"
        torch_attack = in_torch(peer, norm, epsilon, steps=steps)
        return Pair(f"{name}_{label(norm)}", norm, epsilon, ours, in_torch=torch_attack)

    def square(norm: Any, epsilon: float) -> Pair:
        def ours() -> Any:
            return fb.attacks.square(norm, epsilon=epsilon, num_steps=QUERIES.value)

        torch_attack = in_torch("Square", norm, epsilon, n_queries=QUERIES.value)
        return Pair(f"square_{label(norm)}", norm, epsilon, ours, in_torch=torch_attack)

    def fgsm(norm: Any, epsilon: float, peer: str) -> Pair:
        return Pair(
            f"fgsm_{label(norm)}",
            norm,
            epsilon,
            lambda: fb.attacks.fgsm(norm, epsilon=epsilon),
            lambda foolbox: getattr(foolbox.attacks, peer)(),
        )

    def momentum(norm: Any, epsilon: float, peer: str) -> Pair:
        def theirs(foolbox: Any) -> Any:
            kind = getattr(foolbox.attacks, peer)
            options = {"steps": steps, "abs_stepsize": epsilon / steps, "random_start": False}
            return kind(momentum=1.0, **options)

        return Pair(
            f"mi_fgsm_{label(norm)}",
            norm,
            epsilon,
            lambda: fb.attacks.mi_fgsm(norm, epsilon=epsilon, num_steps=steps),
            theirs,
        )

    def auto(norm: Any, epsilon: float) -> Pair:
        def ours() -> Any:
            return fb.attacks.auto_attack(norm, epsilon=epsilon)

        torch_attack = in_torch("AutoAttack", norm, epsilon, n_classes=10)

        def in_full(torchattacks: Any, model: Any) -> Any:
            attack = torch_attack(torchattacks, model)  # type: ignore[misc]
            for member in attack._autoattack.attacks:
                if hasattr(member, "steps"):
                    member.steps = 100  # the paper's; its own default is 10
            return attack

        name = f"auto_attack_{label(norm)}"
        return Pair(name, norm, epsilon, ours, in_torch=in_full if torch_attack else None)

    def fab(norm: Any) -> Pair:
        attack = fb.attacks.fab(norm)
        # Minimal there too, if its budget is the whole box.
        torch_attack = in_torch("FAB", norm, 1e3, steps=attack.num_steps, n_classes=10)
        return Pair(f"fab_{label(norm)}", norm, None, lambda: attack, in_torch=torch_attack)

    def boundary(norm: Any, peer: str) -> Pair:
        def ours() -> Any:
            return fb.attacks.brendel_bethge(norm)

        pair = minimal("brendel_bethge", norm, ours, peer, steps=100)
        # A loop over images, and a minute of compilation; its own starts may not be adversarial,
        # and then it fails.
        return pair._replace(warm_theirs=8, from_others=True)

    def minimal(name: str, norm: Any, make: Callable[[], Any], peer: str, **options: Any) -> Pair:
        return Pair(
            f"{name}_{label(norm)}",
            norm,
            None,
            make,
            lambda foolbox: getattr(foolbox.attacks, peer)(**options),
        )

    linf, l2, l1 = 0.03, 0.5, 4.0  # at which about half of the images stand
    return [
        fgsm(Linf(), linf, "LinfFastGradientAttack"),
        pgd(Linf(), linf, "LinfPGD"),
        momentum(Linf(), linf, "LinfMomentumIterativeFastGradientMethod"),
        apgd(Linf(), linf, "apgd"),
        apgd(Linf(), linf, "apgd_dlr", loss="dlr"),
        apgd(Linf(), linf, "apgd_t", loss="dlr", num_targets=9),
        square(Linf(), linf),
        auto(Linf(), linf),
        fgsm(L2(), l2, "L2FastGradientAttack"),
        pgd(L2(), l2, "L2PGD"),
        apgd(L2(), l2, "apgd"),
        apgd(L2(), l2, "apgd_dlr", loss="dlr"),
        apgd(L2(), l2, "apgd_t", loss="dlr", num_targets=9),
        square(L2(), l2),
        auto(L2(), l2),
        pgd(L1(), l1, "L1PGD"),
        apgd(L1(), l1, "apgd"),
        auto(L1(), l1),
        # Minimal attacks at the defaults here, and there with as many gradients or more.
        minimal("ddn", L2(), fb.attacks.ddn, "DDNAttack", steps=110),
        minimal("fmn", L2(), lambda: fb.attacks.fmn(L2()), "L2FMNAttack", steps=110),
        minimal("fmn", Linf(), lambda: fb.attacks.fmn(Linf()), "LInfFMNAttack", steps=110),
        minimal("fmn", L1(), lambda: fb.attacks.fmn(L1()), "L1FMNAttack", steps=110),
        minimal("fmn", L0(), lambda: fb.attacks.fmn(L0()), "L0FMNAttack", steps=110),
        minimal("deepfool", L2(), lambda: fb.attacks.deepfool(L2()), "L2DeepFoolAttack"),
        minimal("deepfool", Linf(), lambda: fb.attacks.deepfool(Linf()), "LinfDeepFoolAttack"),
        minimal(
            "carlini_wagner",
            L2(),
            fb.attacks.carlini_wagner,
            "L2CarliniWagnerAttack",
            steps=52,
            binary_search_steps=5,
        ),
        fab(L2()),
        fab(Linf()),
        fab(L1()),
        boundary(L2(), "L2BrendelBethgeAttack"),
        boundary(Linf(), "LinfinityBrendelBethgeAttack"),
        boundary(L1(), "L1BrendelBethgeAttack"),
        boundary(L0(), "L0BrendelBethgeAttack"),
    ]


class Problem(NamedTuple):
    """A trained network and the images it classifies correctly."""

    apply_fn: Any
    params: Any
    images: jax.Array
    labels: jax.Array
    num_wrong: int


def make_problem(network: str) -> Problem:
    """Trains one network of a kind; ValueError for one that has not learned."""
    data = fb.data.load("fashion_mnist_mini")
    model = NETWORKS[network](data.test.images.shape[1])
    # By default steps kernels of full width go to where no unit answers any image.
    sgd = fb.sgd(0.02, clip=1.0) if network == "conv_full" else None
    nets = fb.train(
        model, data.train, seeds=[0], epochs=EPOCHS.value, optimizer=sgd, key=jax.random.key(0)
    )
    params = jax.tree.map(lambda leaf: leaf[0], nets.params)
    images, labels = data.test.images[: NUM_IMAGES.value], data.test.labels[: NUM_IMAGES.value]
    correct = np.argmax(nets.apply_fn(params, jnp.asarray(images)), -1) == labels
    if np.mean(correct) < 0.5:
        raise ValueError(
            f"{network} classifies {np.mean(correct):.0%} of the images; expected half"
        )
    return Problem(
        nets.apply_fn,
        params,
        jnp.asarray(images[correct]),
        jnp.asarray(labels[correct], jnp.int32),
        int(np.sum(~correct)),
    )


def strength(pair: Pair, problem: Problem, delta: Any) -> float:
    """Accuracy left in percent, or median distance; of what breaks the rules, NaN."""
    returned = problem.images + jnp.asarray(delta)
    distance = np.asarray(jax.vmap(pair.norm.value)(jnp.asarray(delta)))
    if float(returned.min()) < -1e-6 or float(returned.max()) > 1 + 1e-6:
        return float("nan")
    logits = problem.apply_fn(problem.params, jnp.clip(returned, 0, 1))
    broken = np.asarray(jnp.argmax(logits, -1) != problem.labels)
    if pair.epsilon is None:
        return float(np.median(np.where(broken, distance, np.inf)))
    if distance.max() > pair.epsilon * (1 + 1e-4):
        return float("nan")
    return 100 * float(np.mean(~broken))


def timed(function: Callable[[], Any], warm: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a run and its seconds, after ``warm`` has compiled."""
    jax.block_until_ready(warm())
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def run_ours(pair: Pair, problem: Problem) -> tuple[Any, float]:
    """Perturbations [N, H, W, C] and seconds."""
    attack, key = pair.ours(), jax.random.key(0)

    def run(num: int | None = None) -> Any:
        images, labels = problem.images[:num], problem.labels[:num]
        return attack(problem.apply_fn, problem.params, images, labels, key).delta

    # What works in batches of one size is compiled by one batch.
    return timed(run, lambda: run(getattr(attack, "batch_size", None)))


def run_theirs(pair: Pair, problem: Problem) -> tuple[Any, float]:
    """Perturbations [N, H, W, C] and seconds."""
    import eagerpy  # noqa: PLC0415 (comes with foolbox)
    import foolbox  # noqa: PLC0415 (the peer is needed only here)

    network: Any = jax.jit(lambda images: problem.apply_fn(problem.params, images))
    model = foolbox.JAXModel(network, bounds=(0, 1), data_format="channels_last")
    attack = pair.theirs(foolbox)  # type: ignore[misc]

    other = jnp.argmax(problem.labels[:, None] != problem.labels[None], axis=1)
    starts = problem.images[other]

    def run(num: int | None = None) -> Any:
        images, labels = problem.images[:num], problem.labels[:num]
        inputs = eagerpy.astensor(images), eagerpy.astensor(labels)
        options = {"starting_points": eagerpy.astensor(starts[:num])} if pair.from_others else {}
        _, clipped, _ = attack(model, *inputs, epsilons=pair.epsilon, **options)
        return clipped.raw - images

    return timed(run, lambda: run(pair.warm_theirs))


def as_torch_module(problem: Problem) -> Any:
    """The JAX network as a torch module: images [N, C, H, W] -> logits, with its gradient."""
    import torch  # noqa: PLC0415 (the peer is needed only here)

    network = jax.jit(lambda images: problem.apply_fn(problem.params, images))
    pull = jax.jit(lambda images, rows: jax.vjp(network, images)[1](rows)[0])

    def here(tensor: Any) -> Any:
        return jnp.asarray(tensor.detach().permute(0, 2, 3, 1).numpy())

    def there(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    class Function(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, images: Any) -> Any:
            ctx.save_for_backward(images)
            return there(network(here(images)))

        @staticmethod
        def backward(ctx: Any, *rows: Any) -> Any:
            (images,) = ctx.saved_tensors
            return there(pull(here(images), jnp.asarray(rows[0].numpy()))).permute(0, 3, 1, 2)

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(()))  # tells the device

        def forward(self, images: Any) -> Any:
            return Function.apply(images)

    return Network().eval()


def run_in_torch(pair: Pair, problem: Problem) -> tuple[Any, float]:
    """Perturbations [N, H, W, C] and seconds."""
    import torch  # noqa: PLC0415 (the peer is needed only here)
    import torchattacks  # noqa: PLC0415

    attack = pair.in_torch(torchattacks, as_torch_module(problem))  # type: ignore[misc]
    images = torch.from_numpy(np.array(problem.images)).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(np.array(problem.labels, np.int64))

    attack.model(images.requires_grad_()).sum().backward()  # compiles the network
    images = images.detach()
    start = time.perf_counter()
    returned = attack(images, labels).detach().permute(0, 2, 3, 1).numpy()
    return jnp.asarray(returned) - problem.images, time.perf_counter() - start


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    chosen = [pair for pair in pairs() if ATTACKS.value is None or pair.name in ATTACKS.value]
    print(
        f"device {jax.devices()[0].device_kind}; {NUM_STEPS.value} steps, {QUERIES.value} queries"
    )
    rows = []
    for network in NETS.value or NETWORKS:
        problem = make_problem(network)
        count = len(problem.labels)
        print(f"\n{network}: {count} images correct when clean, {problem.num_wrong} not")
        for pair in chosen:
            delta, seconds = run_ours(pair, problem)
            row: dict[str, Any] = {"network": network, "attack": pair.name, "images": count}
            row |= {"epsilon": pair.epsilon, "ours": strength(pair, problem, delta)}
            row |= {"seconds": seconds}
            if pair.theirs is not None:
                delta, seconds = run_theirs(pair, problem)
                row |= {"foolbox": strength(pair, problem, delta), "foolbox seconds": seconds}
            if pair.in_torch is not None:
                delta, seconds = run_in_torch(pair, problem)
                row |= {"torchattacks": strength(pair, problem, delta)}
                row |= {"torchattacks seconds": seconds}
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
            if OUT.value:
                save(as_table([row]), Path(OUT.value))
        table = as_table(rows[-len(chosen) :]).drop(columns=["network", "images"])
        print(table.to_string(index=False, float_format="{:.3g}".format, na_rep="-"), flush=True)
    print(f"\n{excess(as_table(rows))}")


def as_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One line per network and attack."""
    what = ["network", "attack", "images", "epsilon"]
    who = ["ours", "foolbox", "torchattacks"]
    times = ["seconds", "foolbox seconds", "torchattacks seconds"]
    return pd.DataFrame(rows, columns=[*what, *who, *times])


def save(table: pd.DataFrame, path: Path) -> None:
    """Writes rows in place of what the file had of the same networks and attacks."""
    if path.exists():
        old = pd.read_csv(path)
        names = ["network", "attack"]
        again = pd.MultiIndex.from_frame(old[names]).isin(pd.MultiIndex.from_frame(table[names]))
        table = pd.concat([old[~again], table])
    table.to_csv(path, index=False, float_format="%.6g")


def excess(table: pd.DataFrame) -> str:
    """How far the attacks here are behind the best peer, at worst, in words."""
    compared = table.assign(best=table[["foolbox", "torchattacks"]].min(axis=1))
    compared = compared[compared["best"].notna()]
    fixed = compared[compared["epsilon"].notna()]
    minimal = compared[compared["epsilon"].isna()]
    lines = []
    for part, what in (
        (fixed.assign(by=fixed["ours"] - fixed["best"]), "points more accuracy left"),
        (minimal.assign(by=minimal["ours"] / minimal["best"]), "times the median distance"),
    ):
        if len(part):
            worst = part.loc[part["by"].idxmax()]
            lines.append(
                f"against the best peer, at worst of {len(part)}: {worst['by']:.3g} {what} "
                f"({worst['attack']}, {worst['network']})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
