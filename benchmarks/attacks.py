"""Attacks on the same trained networks as their peers', one at a time, to the end.

Strength is judged here, on what each attack returns, by the prediction of the network on it and by
its norm: of a fixed budget the accuracy that is left on images that were correct when clean, of a
minimal attack the median distance of those images, infinity for those not broken; of what breaks
the rules, NaN. Lower is stronger.

``attacks`` is every attack beside foolbox and torchattacks, once: the table that a test holds to
what is said of strength. ``autoattack`` and ``minimal`` are those of them that are timed, repeated.
"""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import freqbias as fb
from benchmarks import networks
from benchmarks.harness import OURS, Case, Runner, Settings, Suite, installed, interleaved
from freqbias.attacks import L0, L1, L2, Linf

MINIMAL = (
    *("ddn_l2", "fmn_l2", "fmn_linf", "fmn_l1", "fmn_l0"),
    "carlini_wagner_l2",
)
ADV_LIB: dict[str, Callable[[Any], Any]] = {  # (adv_lib.attacks) -> function, as many gradients
    "ddn_l2": lambda adv_lib: partial(adv_lib.ddn, steps=110, levels=None),
    "fmn_l2": lambda adv_lib: partial(adv_lib.fmn, norm=2, steps=110),
    "fmn_linf": lambda adv_lib: partial(adv_lib.fmn, norm=float("inf"), steps=110),
    "fmn_l1": lambda adv_lib: partial(adv_lib.fmn, norm=1, steps=110),
    "fmn_l0": lambda adv_lib: partial(adv_lib.fmn, norm=0, steps=110),
    "carlini_wagner_l2": lambda adv_lib: partial(
        adv_lib.carlini_wagner_l2, binary_search_steps=5, max_iterations=52
    ),
}
AUTO = ("auto_attack_linf", "auto_attack_l2", "auto_attack_l1")


class Pair(NamedTuple):
    """One attack here and there; a new one joins `pairs`."""

    name: str
    norm: Any
    epsilon: float | None  # None: a minimal attack
    ours: Callable[[], Any]  # () -> attack
    theirs: Callable[[Any], Any] | None = None  # (foolbox) -> attack, if it has one
    in_torch: Callable[[Any, Any], Any] | None = None  # (torchattacks, model) -> attack
    official: Callable[[Any, Any], Any] | None = None  # (pyautoattack, model) -> attack
    warm_theirs: int | None = None  # foolbox's compiles on so many, because it takes long
    from_others: bool = False  # foolbox's starts at images of other classes


def label(norm: Any) -> str:
    """Of a norm, in the table: "l2"."""
    return type(norm).__name__.lower()


def pairs(steps: int = 40, queries: int = 1000, *, short: bool = False) -> list[Pair]:
    """All attacks, with the same number of steps and the same step size on both sides.

    Args:
      steps: of gradient attacks.
      queries: of black boxes.
      short: AutoAttack is APGD and Square of these budgets, for a trial.
    """

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
            return fb.attacks.square(norm, epsilon=epsilon, num_steps=queries)

        torch_attack = in_torch("Square", norm, epsilon, n_queries=queries)
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
        options = {"epsilon": epsilon}
        members = [
            fb.attacks.apgd(norm, num_steps=steps, **options),
            fb.attacks.square(norm, num_steps=queries, **options),
        ]

        def ours() -> Any:
            return fb.attacks.auto_attack(norm, attacks=members if short else None, **options)

        torch_attack = in_torch("AutoAttack", norm, epsilon, n_classes=10)

        def in_full(torchattacks: Any, model: Any) -> Any:
            attack = torch_attack(torchattacks, model)  # type: ignore[misc]
            for member in attack._autoattack.attacks:
                if hasattr(member, "steps"):
                    member.steps = 100  # the paper's; its own default is 10
            return attack

        def official(pyautoattack: Any, model: Any) -> Any:
            named = {"norm": type(norm).__name__, "eps": epsilon, "seed": 0}
            named["device"] = networks.torch_device()
            if not short:
                return pyautoattack.AutoAttack(model, **named)
            named |= {"version": "custom", "attacks": ["apgd-ce", "square"]}
            attack = pyautoattack.AutoAttack(model, **named)
            attack.apgd.n_iter, attack.square.n_queries = steps, queries
            return attack

        in_torch_full = in_full if torch_attack and not short else None
        name = f"auto_attack_{label(norm)}"
        return Pair(name, norm, epsilon, ours, in_torch=in_torch_full, official=official)

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


def strength(pair: Pair, problem: networks.Problem, found: Any) -> dict[str, float]:
    """Accuracy left in [0, 1], or median distance, of images [N, H, W, C].

    Judged by the compiled network. Applied operation by operation it rounds otherwise, and an image
    that a minimal attack left on the boundary can fall back.
    """
    column = "distance" if pair.epsilon is None else "robust_accuracy"
    delta = jnp.asarray(found) - problem.images
    distance = np.asarray(jax.vmap(pair.norm.value)(delta))
    if float(np.min(found)) < -1e-6 or float(np.max(found)) > 1 + 1e-6:
        return {column: float("nan")}
    logits = jax.jit(problem.model.apply)(problem.params(0), jnp.clip(jnp.asarray(found), 0, 1))
    broken = np.asarray(jnp.argmax(logits, -1) != problem.labels)
    if pair.epsilon is None:
        return {column: float(np.median(np.where(broken, distance, np.inf)))}
    within = distance.max() <= pair.epsilon * (1 + 1e-4)
    return {column: float(np.mean(~broken)) if within else float("nan")}


def runners(pair: Pair, problem: networks.Problem, settings: Settings) -> list[Runner]:
    """Functions -> images [N, H, W, C], of the libraries that have the attack and are there."""

    def ours(seeds: int, steps: int) -> Any:
        del seeds, steps
        params, key = problem.params(0), jax.random.key(0)
        found = attack(problem.nets.apply_fn, params, problem.images, problem.labels, key)
        return problem.images + found.delta

    attack = pair.ours()
    found = [Runner(OURS, ours)]
    if pair.theirs is not None:
        # foolbox's Brendel-Bethge needs numba.
        runs = not pair.from_others or importlib.util.find_spec("numba") is not None
        if runs and settings.has("foolbox (JAX)"):
            found.append(_foolbox(pair, problem))
        if settings.has("foolbox (torch)") and not pair.from_others:
            found.append(Runner("foolbox (torch)", _foolbox_torch(pair, problem)))
    if pair.in_torch is not None and settings.has("torchattacks"):
        found.append(Runner("torchattacks", _torchattacks(pair, problem)))
    if pair.name in ADV_LIB and settings.has("adv-lib"):
        found.append(Runner("adv-lib", _adv_lib(pair, problem)))
    if pair.official is not None and settings.has("pyautoattack"):
        found.append(Runner("pyautoattack", _official(pair, problem)))
    return found


def _foolbox(pair: Pair, problem: networks.Problem) -> Runner:
    import eagerpy  # noqa: PLC0415 (comes with foolbox)
    import foolbox  # noqa: PLC0415 (the peer is needed only here)

    network: Any = jax.jit(partial(problem.nets.apply_fn, problem.params(0)))
    model = foolbox.JAXModel(network, bounds=(0, 1), data_format="channels_last")
    attack = pair.theirs(foolbox)  # type: ignore[misc]
    other = jnp.argmax(problem.labels[:, None] != problem.labels[None], axis=1)

    def run(num: int | None = None) -> Any:
        inputs = (eagerpy.astensor(rows[:num]) for rows in (problem.images, problem.labels))
        starts = eagerpy.astensor(problem.images[other][:num])
        options = {"starting_points": starts} if pair.from_others else {}
        with jax.numpy_rank_promotion("allow"):
            return attack(model, *inputs, epsilons=pair.epsilon, **options)[1].raw

    warm = None if pair.warm_theirs is None else partial(run, pair.warm_theirs)
    return Runner("foolbox (JAX)", lambda seeds, steps: run(), warm)


def _foolbox_torch(pair: Pair, problem: networks.Problem) -> Callable[[int, int], Any]:
    import foolbox  # noqa: PLC0415

    module, images, labels = _in_torch(problem)
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device=networks.torch_device())
    attack = pair.theirs(foolbox)  # type: ignore[misc]

    def run(seeds: int, steps: int) -> Any:
        del seeds, steps
        return networks.from_torch(attack(model, images, labels, epsilons=pair.epsilon)[1])

    return run


def _torchattacks(pair: Pair, problem: networks.Problem) -> Callable[[int, int], Any]:
    import torchattacks  # noqa: PLC0415

    module, images, labels = _in_torch(problem)
    attack = pair.in_torch(torchattacks, module)  # type: ignore[misc]
    return lambda seeds, steps: networks.from_torch(attack(images, labels))


def _adv_lib(pair: Pair, problem: networks.Problem) -> Callable[[int, int], Any]:
    with _standing_in("visdom", "torchvision"):
        import adv_lib.attacks  # noqa: PLC0415

    module, images, labels = _in_torch(problem)
    attack = ADV_LIB[pair.name](adv_lib.attacks)
    return lambda seeds, steps: networks.from_torch(attack(module, images, labels))


def _official(pair: Pair, problem: networks.Problem) -> Callable[[int, int], Any]:
    import pyautoattack  # noqa: PLC0415

    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    module, images, labels = _in_torch(problem)
    attack = pair.official(pyautoattack, module)  # type: ignore[misc]

    def run(seeds: int, steps: int) -> Any:
        del seeds, steps
        found, _ = attack.run_standard_evaluation(images, labels, batch_size=len(labels))
        return networks.from_torch(found)

    return run


def _in_torch(problem: networks.Problem) -> tuple[Any, Any, Any]:
    module = networks.as_torch(problem.model, problem.params(0), problem.images.shape[1:])
    return module, networks.to_torch(problem.images), networks.to_torch(problem.labels)


@contextmanager
def _standing_in(*names: str) -> Iterator[None]:
    """Empty modules for those not installed: adv-lib imports them for plots and for LPIPS alone."""
    missing = [name for name in names if name not in sys.modules]
    for name in missing:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].models = None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def measure(pair: Pair, make: Callable[[], networks.Problem], settings: Settings) -> list[dict]:
    """Rows of one attack on one network."""
    problem = make()
    rows = []
    judged: dict[str, dict[str, float]] = {}
    for run in interleaved(runners(pair, problem, settings), seeds=1, steps=1, settings=settings):
        if run.library not in judged:
            judged[run.library] = strength(pair, problem, run.result)
        rows.append(
            {
                "library": run.library,
                "repeat": run.repeat,
                "correct": len(problem.labels),
                "epsilon": pair.epsilon,
                "seconds": run.seconds,
                "rate": len(problem.labels) / run.seconds,
                "first_seconds": run.first_seconds,
                **judged[run.library],
            }
        )
    return rows


def cases_of(
    settings: Settings,
    names: tuple[str, ...] | None,
    default_networks: tuple[str, ...],
    num_images: int,
) -> list[Case]:
    """One for each network and attack; a network is trained once."""
    table = pairs(3, 10, short=True) if settings.smoke else pairs()
    chosen = settings.attacks or names or tuple(pair.name for pair in table)
    if unknown := set(chosen) - {pair.name for pair in table}:
        raise ValueError(f"attacks must be of benchmarks.attacks.pairs; got {sorted(unknown)}.")
    sizes: dict[str, Any] = {"num_images": num_images, "num_training": 10000, "epochs": 5}
    if settings.smoke:
        num_images, default_networks = 16, ("fc_1x16",)
        sizes = {"num_images": num_images, "num_training": 2000}
    found = []
    for name in settings.networks or default_networks:
        make = cache(partial(networks.problem, name, correct=True, **sizes))
        found += [
            Case(
                {"network": name, "attack": pair.name, "images": num_images},
                partial(measure, pair, make, settings),
            )
            for pair in table
            if pair.name in chosen
        ]
    return found


def strengths(settings: Settings) -> list[Case]:
    """Every attack once, beside foolbox's and torchattacks'."""
    libraries = tuple({OURS, "foolbox (JAX)", "torchattacks"} & set(settings.libraries))
    settings = settings._replace(repeats=1, libraries=libraries)
    nets = ("conv_3_1x8", "conv_28_1x8", "fc_1x512", "local_3_1x8")
    return cases_of(settings, ("pgd_l2", "ddn_l2") if settings.smoke else None, nets, 512)


def automatic(settings: Settings) -> list[Case]:
    """AutoAttack beside the official one, or else torchattacks'."""
    spare = {"torchattacks"} if installed("pyautoattack") else set()
    settings = settings._replace(libraries=tuple(set(settings.libraries) - spare))
    return cases_of(settings, AUTO[1:2] if settings.smoke else AUTO, ("conv_3_1x8",), 128)


def minimal_ones(settings: Settings) -> list[Case]:
    """DDN, FMN and Carlini-Wagner beside foolbox's and adv-lib's."""
    return cases_of(settings, MINIMAL[:2] if settings.smoke else MINIMAL, ("conv_3_1x8",), 256)


KEYS = "network", "attack", "images"
VALUES = "correct", "epsilon", "seconds", "rate", "first_seconds", "robust_accuracy", "distance"
AUTOATTACK = Suite(
    "autoattack", "AutoAttack: images per second", KEYS, VALUES, automatic, minutes=20
)
MINIMALS = Suite(
    "minimal", "minimal attacks: images per second", KEYS, VALUES, minimal_ones, minutes=10
)
STRENGTH = Suite(
    "attacks", "every attack once: images per second", KEYS, VALUES, strengths, minutes=100
)
