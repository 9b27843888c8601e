"""One call from a network to perturbations, spectra, intervals and a page: `analyze`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from freqbias import _checks, interop
from freqbias._checked import checked
from freqbias.analysis.batch import NUM_EXAMPLES
from freqbias.analysis.budget import BUDGETS, BudgetName, named_attacks
from freqbias.analysis.measure import measure
from freqbias.analysis.networks import subjects
from freqbias.analysis.result import Analysis
from freqbias.attacks import Attack
from freqbias.attacks.evaluate import logits_in_batches
from freqbias.typing import ArrayLike, Key, Params


@checked
def analyze(
    network: Any,
    params: Params | None = None,
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    key: Key,
    attacks: Mapping[str, Attack] | None = None,
    budget: BudgetName = "quick",
    batch_size: int = 32,
    class_names: Sequence[str] | None = None,
    families: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Analysis:
    """Which frequencies the adversarial perturbations of a network live in, and how it is known.

    Attacks every image, measures the spectra of the perturbations (those that changed the
    prediction apart from the others) and of the input Jacobian, beside those of the images and of
    white noise; looks for signs that an attack failed; gives intervals, tables and a page.

    Of one network an interval is over images: what other images of the kind would give, with this
    network. Of an ensemble it is over seeds: what other trainings would give. An ensemble is an
    `freqbias.Ensemble`; a leading axis of ``params`` alone is never taken for seeds.

    Args:
      network: a function (params, images [N, H, W, C] in [0, 1]) -> logits [N, K], followed by its
        ``params``. Or what brings its own parameters, with images and labels by name: an
        `Ensemble`, a pair (apply_fn, params) as the adapters of `freqbias.interop` return, or a
        mapping of names to these, to compare them on the same images.
      params: of the one network.
      images: [N, H, W, C] in [0, 1]; a standardisation belongs to the network (see
        `freqbias.interop`), so that an epsilon is in units of intensity.
      labels: int [N].
      key: of the attacks; the same key gives the same result.
      attacks: name -> attack; by default `freqbias.analysis.default_attacks`: PGD in L2 and L-inf,
        and the smallest perturbation in L2. Their epsilons are printed and on the page.
      budget: "quick" (the first 128 images, few steps) or "thorough" (all images, more steps, and
        a heat map of plane waves). What it takes is said once the first network
        has been asked, and after the first batch what is left.
      batch_size: images at once; memory grows with it, not with N.
      class_names: of the labels, for the examples.
      families: of several networks, name -> family, e.g. ``{"resnet50": "CNN"}``: families are
        compared, too.
      progress: whether a bar, the epsilons and the expected time are shown on stderr.

    Returns:
      An `Analysis`: ``print`` it; ``.table()``, ``.differences()``, ``.outcomes()`` are pandas
      tables, ``.save("report.html")`` writes the page, ``.show()`` shows it in a notebook.

    Raises:
      TypeError: no network, or no mapping of attacks; a wrong dtype.
      ValueError: images, labels, logits or an option do not fit; the message says what to do.

    Example:
      >>> import jax
      >>> import freqbias as fb
      >>> apply_fn, params, images, labels = fb.attacks.example()
      >>> attack = fb.attacks.pgd(fb.attacks.L2(), epsilon=1.0, num_steps=3)
      >>> found = fb.analyze(
      ...     apply_fn, params, images, labels,
      ...     attacks={"PGD": attack}, key=jax.random.key(0), progress=False,
      ... )
      >>> table = found.table()
      >>> sorted(set(table["attack"]))
      ['PGD', 'input Jacobian', 'the images']
    """
    _checks.one_of("budget", budget, BUDGETS)
    _checks.positive_int("batch_size", batch_size)
    _checks.rank("key", key, 0)
    networks = subjects(network, params)
    for name, given in (("images", images), ("labels", labels)):
        if given is None:
            raise ValueError(
                f"{name} must be given; of a network that brings its own parameters by name: "
                "analyze(network, images=images, labels=labels, key=key)."
            )
    if families is not None and set(families) != {one.name for one in networks}:
        names = ", ".join(one.name for one in networks)
        raise ValueError(f"families must name that of each network ({names}); got {families}.")
    pictures = interop.as_images(images)
    classes = interop.as_labels(labels, len(pictures))
    num_given, spent = len(pictures), BUDGETS[budget]
    pictures, classes = pictures[: spent.num_images], classes[: spent.num_images]
    size = min(batch_size, len(pictures))
    num_classes = {}
    for one in networks:
        number = num_classes[one.name] = interop.check_network(
            one.apply_fn, one.first, pictures[:size]
        )
        _checks.labels(classes, num_examples=len(classes), num_classes=number)
        answers = logits_in_batches(one.apply_fn, one.first, pictures[:size], batch_size=size)
        interop.refuse_probabilities(answers)
    attacked = named_attacks(attacks, pictures.shape[1:], spent)
    measured = measure(
        networks, pictures, classes, attacked,
        key=key, budget=spent, batch_size=size, progress=progress,
    )  # fmt: skip
    return Analysis(
        subjects=tuple(networks),
        measured=measured,
        attacks=attacked,
        budget=budget,
        batch_size=size,
        example_images=np.asarray(pictures[: min(NUM_EXAMPLES, size)]),
        example_labels=classes[: min(NUM_EXAMPLES, size)],
        class_names=class_names,
        num_classes=num_classes,
        num_given=num_given,
        families=families,
    )
