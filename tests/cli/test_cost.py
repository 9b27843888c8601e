"""What a preset costs, against counts by hand."""

import dataclasses
import re

import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias import models
from freqbias.cli import cost
from freqbias.study import measures
from freqbias.study.setting import Asked, Budget, Setting

SHAPE = (8, 8, 1)
BUDGET = Budget(
    seeds=(0, 1, 2), num_images=100, epochs=2, num_tested=30, num_attacked=10, num_steps=5
)
ONE = cost.Pass(forward=1.0, train=100.0, attack=10_000.0, num_parameters=7, kept=1e3)


def test_matrix_products_are_counted():
    """2 multiply-adds per weight; a gradient of the parameters takes three passes but the first."""
    model = models.FullyConnected(num_classes=100, depth=2, width=200)
    one = cost.per_image(model, SHAPE)
    weights = 64 * 200, 200 * 200, 200 * 100
    assert one.num_parameters == sum(weights) + 200 + 200 + 100
    assert one.forward == pytest.approx(2 * sum(weights), rel=0.05)
    assert one.train == pytest.approx(2 * (3 * sum(weights) - weights[0]), rel=0.05)
    assert one.attack == pytest.approx(2 * 2 * sum(weights), rel=0.05)
    assert one.kept >= 4 * (64 + 200 + 200 + 100)


@pytest.mark.parametrize(
    ("asked", "gradients", "forwards"),
    [
        (Asked(), 6, 30),
        (Asked(second_attack=True, other_box=True), 18, 30),
        (Asked(minimal=True), 6 + measures.MINIMAL_STEPS, 30),
        (Asked(checkpoints=2), 6 + 2 * 5, 30),
        (Asked(checkpoints=2, minimal_in_training=True), 6 + 2 * (5 + measures.MINIMAL_STEPS), 30),
        (Asked(filtered=True), 6, 30 + 6 * 30),
        (Asked(heat_map=True), 6, 30 + 10 * 32),
    ],
)
def test_passes_are_those_of_the_budget(asked, gradients, forwards):
    spent = cost.operations(ONE, Setting("any", "relu", "fc", 1), asked, BUDGET, SHAPE)
    assert spent == 3 * (200 * 100.0 + gradients * 10 * 10_000.0 + forwards)
    long = cost.operations(
        ONE,
        Setting("any", "relu", "fc", 1),
        asked._replace(long_attack=True),
        dataclasses.replace(BUDGET, long_attacked=20, long_steps=50, steps=11),
        SHAPE,
    )
    assert long == spent + 3 * ((11 * 32 - 200) * 100.0 + 52 * 20 * 10_000.0)
    closed = cost.operations(ONE, Setting("any", "linear", "fc", 1), Asked(), BUDGET, SHAPE)
    assert closed == 3 * (200 * 100.0 + 30)


def test_memory_is_that_of_the_larger_pass():
    few = cost.memory(ONE, BUDGET, SHAPE)
    assert few == 64 * 130 + 8 * 3 * 7 + 3 * 32 * 1e3  # a batch of all seeds
    many = cost.memory(ONE, Budget(seeds=(0,), num_images=100, num_tested=30), SHAPE)
    assert many == 64 * 130 + 8 * 7 + 64 * 1e3  # all attacked images of one


def test_kernels_larger_than_the_image_are_left_out():
    with flagsaver.flagsaver():
        flags.FLAGS(["cost", "--preset=standard", "--image_shape=8,8,1"])
        plan = cost.prepare()
    assert {setting.kernel for setting in plan.cells} == {"", "3", "5", "7", "full"}


def test_flags_of_the_study_are_counted():
    def planned(*given):
        with flagsaver.flagsaver():
            flags.FLAGS(["cost", "--preset=authors", *given])
            return cost.prepare()

    plan = planned("--parts=authors", "--datasets=fashion_mnist", "--seeds=0-2", "--num_steps=7")
    assert {setting.protocol for setting in plan.cells} == {"authors"}
    assert {setting.dataset for setting in plan.cells} == {"fashion_mnist"}
    assert plan.budget.seeds == (0, 1, 2) and plan.budget.num_steps == 7
    assert len(plan.cells) < len(planned().cells)


def test_linear_networks_are_trained_through_their_predictor():
    """A step: the classes through the layers, and 2 x 2 operations per weight of beta and image."""
    model = models.FullyConnected(num_classes=10, depth=1, width=200, activation="none")
    dataset = cost._like(SHAPE, 10)
    budget = dataclasses.replace(BUDGET, batch_size=50)
    one = cost.through_predictor(cost.per_image(model, SHAPE), budget, dataset)
    layers = 2 * (2 * 64 * 200 + 3 * 200 * 10)
    assert one.train == pytest.approx(10 / 50 * layers + 4 * 64 * 10, rel=0.05)
    assert cost.through_predictor(ONE, dataclasses.replace(budget, batch_size=9), dataset) == ONE


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--parts=none_such", "parts must be one of"),
        ("--seeds=a", "seeds must be ints"),
        ("--image_shape=32,32", "image_shape must be height,width,channels; got (32, 32)"),
        ("--classes=0", "classes must be at least 1; got 0"),
        ("--tflops=0", "tflops must be positive"),
        ("--preset=huge", "preset must be one of"),
    ],
)
def test_bad_input_is_named(flag, message):
    with flagsaver.flagsaver():
        flags.FLAGS(["cost", flag])
        with pytest.raises(ValueError, match=re.escape(message)):
            cost.prepare()
