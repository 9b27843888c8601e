"""Binary tasks for linear networks: synthetic ones, and pairs of classes of real images."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from freqbias import _checks, data, spectral
from freqbias._checked import check_fields, checked
from freqbias.data import Dataset

SIDE = 28  # pixels; larger images are cropped to it, so that all tasks share their compilations
SHAPE = (SIDE, SIDE, 1)
SYNTHETIC = ("noise", "teacher")
DATASETS = {"fashion": "fashion_mnist_mini", "patches": "natural_patches", "digits": "digits"}
TEACHER_BAND = (0.15, 0.25)  # cycles per pixel
NUM_TEST = 512


class TaskPlan(NamedTuple):
    """A binary task by name, and the samples drawn of it."""

    name: str  # "noise", "teacher", or e.g. "fashion_0_6", "patches_even_odd"
    num_train: tuple[int, ...]  # sample sizes
    pool: int  # images that the samples are drawn from


@dataclasses.dataclass(frozen=True, eq=False)
class BinaryTask:
    """Two classes of images, standardised over the pool that samples are drawn from."""

    name: str
    title: str
    images: np.ndarray  # float32 [P, 28, 28, 1], of mean 0 and standard deviation 1
    labels: np.ndarray  # int32 [P], 0 or 1
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: float  # pixels are std * images + mean
    std: float
    boxed: bool  # whether pixels lie in [0, 1]

    def __post_init__(self) -> None:
        check_fields(self)


def check_names(names: Sequence[str], own: Sequence[str] = ()) -> None:
    """Raises ValueError unless every name is a task's or one of your ``own``, and none repeats."""
    for name in names:
        if name not in own:
            dataset_of(name)
    if len(set(names)) != len(names):
        raise ValueError(f"tasks must not repeat; got {list(names)}.")
    if not names:
        raise ValueError("tasks must not be empty.")


def check_samples(plan: TaskPlan, labels: np.ndarray) -> None:
    """Raises ValueError unless every sample can be drawn, half of it from either class."""
    if not plan.num_train:
        raise ValueError(f"num_train of task {plan.name} must not be empty.")
    most = max(plan.num_train)
    if not most <= plan.pool <= len(labels):
        raise ValueError(
            f"task {plan.name} has {len(labels)} images, for a pool of {plan.pool} and samples of "
            f"up to {most}."
        )
    fewest = min(int(np.sum(labels == label)) for label in (0, 1))
    if most // 2 > fewest:
        raise ValueError(
            f"task {plan.name} must have {most // 2} images of either class, for samples of "
            f"{most}; one has {fewest}."
        )


def load_sources(names: Sequence[str]) -> dict[str, Dataset]:
    """The data sets that tasks are made of, by their names in ``freqbias.data``."""
    wanted = dict.fromkeys(filter(None, map(dataset_of, names)))
    return {name: data.load(name) for name in wanted}


def dataset_of(name: str) -> str | None:
    """The data set that a task is made of, by its name in ``freqbias.data``; None if synthetic.

    Raises:
      ValueError: no such task.
    """
    prefix, _, classes = name.partition("_")
    first, _, second = classes.partition("_")
    pair = first.isdigit() and second.isdigit() and int(first) != int(second)
    if prefix in DATASETS and (classes == "even_odd" or pair):
        return DATASETS[prefix]
    if name not in SYNTHETIC:
        raise ValueError(
            f"tasks must be {', '.join(SYNTHETIC)}, or one of {', '.join(DATASETS)} with two "
            f"classes (fashion_0_6) or with even_odd (patches_even_odd); got the name {name!r}."
        )
    return None


@checked
def make_task(plan: TaskPlan, sources: Mapping[str, Dataset], random_key: int) -> BinaryTask:
    """The pool and the test images of a task.

    ``noise``: white images, labels by coin. ``teacher``: images of amplitude 1/f, labelled by a
    linear teacher whose spectrum lies in ``TEACHER_BAND``. Otherwise two classes of a data set, or
    its even against its odd classes; colour is averaged, and images are cropped to 28 x 28.

    Args:
      plan: its name and the samples drawn of it.
      sources: the data sets, from `load_sources`.
      random_key: the root of what is drawn.

    Raises:
      ValueError: a class does not exist, the images are too small, or there are too few.
    """
    check_fields(plan)
    _checks.positive_int("pool", plan.pool)
    _checks.seeds([random_key], "random_key")
    source = dataset_of(plan.name)
    task = (
        _pair(plan, sources[source])
        if source
        else _synthetic(plan, np.random.default_rng([random_key, zlib.crc32(plan.name.encode())]))
    )
    check_samples(plan, task.labels)
    return task


def _pair(plan: TaskPlan, dataset: Dataset) -> BinaryTask:
    """Two classes of a data set, or its even against its odd ones."""
    classes = plan.name.partition("_")[2]
    chosen = []
    for split, limit in ((dataset.train, plan.pool), (dataset.test, NUM_TEST)):
        if classes == "even_odd":
            images, labels = split.images, split.labels % 2
            title = "even against odd classes"
        else:
            pair = [int(text) for text in classes.split("_")]
            if max(pair) >= dataset.num_classes:
                raise ValueError(
                    f"tasks must name classes below {dataset.num_classes}; got {plan.name!r}."
                )
            here = np.isin(split.labels, pair)
            images, labels = split.images[here], split.labels[here] == pair[1]
            title = " against ".join(dataset.class_names[k].replace("_", " ") for k in pair)
        chosen.append((_grey(images[:limit]), labels[:limit].astype(np.int32)))
    (images, labels), (test_images, test_labels) = chosen
    what = {"fashion": "Fashion-MNIST", "patches": "Photographs"}.get(plan.name.partition("_")[0])
    mean, std = float(images.mean()), float(images.std())
    return BinaryTask(
        name=plan.name,
        title=f"{what or dataset.name}, {title}",
        images=((images - mean) / std).astype(np.float32),
        labels=labels,
        test_images=((test_images - mean) / std).astype(np.float32),
        test_labels=test_labels,
        mean=mean,
        std=std,
        boxed=True,
    )


def members_of(
    task: BinaryTask, num_train: Sequence[int], seeds: Sequence[int], random_key: int
) -> np.ndarray:
    """Who trains on what, bool [len(num_train), S, P]: nested, class-balanced, per seed.

    Sampled without replacement, so seeds overlap only by chance.
    """
    out = np.zeros((len(num_train), len(seeds), len(task.labels)), bool)
    for s, seed in enumerate(seeds):
        rng = np.random.default_rng([random_key, zlib.crc32(task.name.encode()), seed])
        for label in (0, 1):
            order = rng.permutation(np.flatnonzero(task.labels == label))
            for n, num in enumerate(num_train):
                out[n, s, order[: num // 2]] = True
    return out


def _grey(images: np.ndarray) -> np.ndarray:
    """Centre 28 x 28 of images [N, H, W, C], mean over channels, [N, 28, 28, 1]."""
    height, width = images.shape[1:3]
    if min(height, width) < SIDE:
        raise ValueError(f"images must be at least {SIDE} x {SIDE}; got {height} x {width}.")
    y, x = (height - SIDE) // 2, (width - SIDE) // 2
    return images[:, y : y + SIDE, x : x + SIDE].mean(axis=-1, keepdims=True)


def _synthetic(plan: TaskPlan, rng: np.random.Generator) -> BinaryTask:
    """``noise`` and ``teacher``."""
    num = plan.pool + NUM_TEST
    images = rng.standard_normal((num, SIDE, SIDE))
    if plan.name == "noise":
        labels, title = np.arange(num) % 2, "White noise, labels by coin"
    else:
        radius = spectral.radius_grid(SHAPE[:2])
        slope = 1 / np.where(radius > 0, radius, 1 / SIDE)
        band = (radius > TEACHER_BAND[0]) & (radius <= TEACHER_BAND[1])
        teacher = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * band).real
        images = np.fft.ifft2(np.fft.fft2(images) * slope).real
        outputs = np.tensordot(images, teacher, 2)
        labels = (outputs > np.median(outputs)).astype(int)
        title = "1/f images, band-limited teacher"
    images = images[..., None].astype(np.float32)
    mean, std = float(images[: plan.pool].mean()), float(images[: plan.pool].std())
    images, labels = (images - mean) / std, labels.astype(np.int32)
    return BinaryTask(
        name=plan.name,
        title=title,
        images=images[: plan.pool],
        labels=labels[: plan.pool],
        test_images=images[plan.pool :],
        test_labels=labels[plan.pool :],
        mean=mean,
        std=std,
        boxed=False,
    )
