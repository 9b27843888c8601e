"""Frozen pytrees: no class runs the program of another, however it was made."""

import copy
import dataclasses
import pickle

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import freqbias as fb
from freqbias._pytree import frozen, is_frozen, static
from freqbias.attacks import L1, L2

NUM_CLASSES = 60  # of which, under flax.struct alone, 4 to 15 ran another's program
MAKERS = {"bare": lambda cls: cls, "frozen": frozen, "flax": flax.struct.dataclass}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@frozen
class Wave:
    """Two leaves and a static field."""

    height: float
    params: dict
    order: int = static(default=1)

    def at(self, x):
        return self.height * self.params["w"] * x**self.order


def _wave(height=2.0):
    return Wave(height, {"w": jnp.arange(3.0)})


@makers
@pytest.mark.parametrize("method", ["steepest", "project"])
def test_every_subclass_of_a_norm_runs_its_own_program(make, method):
    def subclass(number):
        def steepest(self, gradient):
            return jnp.full_like(gradient, number)

        def project(self, delta, epsilon):
            return jnp.full_like(delta, number)

        body = {"steepest": steepest, "project": project}
        return make(type("Mine", (L2,), {method: body[method]}))

    @jax.jit
    def run(norm, delta):
        return norm.steepest(delta) if method == "steepest" else norm.project(delta, 1.0)

    found = [float(run(subclass(number)(), jnp.ones(3))[0]) for number in range(NUM_CLASSES)]
    assert found == list(range(NUM_CLASSES))


def test_unrelated_classes_of_equal_fields_run_their_own_programs():
    def unrelated(number):
        return frozen(type("Same", (), {"value": lambda self, x: x * number}))

    run = jax.jit(lambda one, x: one.value(x))
    found = [float(run(unrelated(number)(), 1.0)) for number in range(NUM_CLASSES)]
    assert found == list(range(NUM_CLASSES))


@makers
def test_a_subclass_of_an_attack_takes_its_own_steps(make, key):
    """Also through the host's shared steps, which are found by the method alone."""

    def subclass(sign):
        def direction(self, state, gradients):
            return sign * jnp.ones_like(gradients), state.inner

        return make(type("Mine", (fb.attacks.GradientAttack,), {"direction": direction}))

    def linear(params, images):
        return images.reshape(images.shape[0], -1) @ params

    images = jnp.full((2, 2, 2, 1), 0.5)
    params = jnp.stack([jnp.ones(4), -jnp.ones(4)], axis=1)
    for number in range(NUM_CLASSES // 2):
        sign = 1 if number % 2 else -1
        label = jnp.zeros(2, jnp.int32) if sign < 0 else jnp.ones(2, jnp.int32)
        attack = subclass(sign)(fb.attacks.Linf(), 0.1, 0.1, num_steps=1, random_start=False)
        found = attack(linear, params, images, label, key)
        np.testing.assert_allclose(found.delta, sign * 0.1, rtol=1e-6)


@makers
def test_fields_of_a_subclass_are_leaves_or_static_as_they_say(make):
    @make
    class Mine(L1):
        weight: float = 2.0
        order: int = static(default=3)
        kind: str = flax.struct.field(pytree_node=False, default="mine")

    assert is_frozen(Mine)
    assert jax.tree.leaves(Mine()) == [2.0]
    assert jax.tree.structure(Mine()) != jax.tree.structure(Mine(order=4))
    assert jax.tree.structure(Mine()) != jax.tree.structure(Mine(kind="other"))
    assert jax.tree.structure(Mine()) != jax.tree.structure(Mine(step_fraction=0.5))
    assert jax.tree.structure(Mine()) == jax.tree.structure(Mine(weight=5.0))
    assert Mine(order=4).replace(weight=1.0) == Mine(weight=1.0, order=4)


def test_a_registration_that_would_share_treedefs_is_refused():
    class Mine(L2):
        pass

    with pytest.raises(ValueError, match="Duplicate"):
        jax.tree_util.register_dataclass(Mine, data_fields=[], meta_fields=[])


def test_an_attack_of_another_decorator_is_refused(key):
    """Nothing above it is frozen, so that only a call can tell."""

    @flax.struct.dataclass
    class Mine(fb.attacks.IterativeAttack):
        norm: L2 = L2()
        targeted: bool = flax.struct.field(pytree_node=False, default=False)
        bounds: tuple | None = flax.struct.field(pytree_node=False, default=None)
        driver: str = flax.struct.field(pytree_node=False, default="auto")

    with pytest.raises(TypeError, match=r"Mine must be decorated with freqbias\.frozen"):
        Mine()(*fb.attacks.example(), key)


def test_an_instance_is_frozen_and_replaced():
    wave = _wave()
    with pytest.raises(dataclasses.FrozenInstanceError):
        wave.height = 1.0
    assert wave.replace(order=2).order == 2
    assert dataclasses.replace(wave, height=1.0).height == 1.0
    assert wave.order == 1
    assert repr(L1(step_fraction=0.5)) == "L1(step_fraction=0.5)"


def test_equal_is_of_one_class_with_equal_numbers_and_the_same_arrays():
    class Other(L2):
        pass

    assert L2() == L2() != Other()
    assert hash(L2()) == hash(L2())
    assert L1(0.5) != L1(0.25)
    wave = _wave()
    assert wave == wave.replace() == copy.copy(wave)
    assert hash(wave) == hash(wave.replace())
    assert wave not in (wave.replace(height=3.0), wave.replace(order=2))
    assert wave != wave.replace(params={"w": jnp.arange(3.0)})  # another array
    assert {L2(): 1}[L2()] == 1


@makers
def test_own_comparisons_are_kept(make):
    class Root:  # noqa: PLW1641 (that is the point)
        def __eq__(self, other):
            return True

    class Mine(make(frozen(Root))):
        pass

    assert Mine() == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(Mine())


@pytest.mark.parametrize(
    "clone",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_are_of_the_same_treedef(clone):
    wave = _wave()
    other = clone(wave)
    assert jax.tree.structure(other) == jax.tree.structure(wave)
    np.testing.assert_array_equal(other.at(2.0), wave.at(2.0))
    attack = fb.attacks.pgd(L2(), epsilon=0.5)
    assert clone(attack) == attack


def test_trees_map_and_vmap():
    doubled = jax.tree.map(lambda leaf: 2 * leaf, _wave())
    assert doubled.height == 4.0
    np.testing.assert_array_equal(doubled.at(1.0), 4 * np.arange(3) * 2.0)
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), _wave(1.0), _wave(3.0))
    np.testing.assert_array_equal(
        jax.vmap(Wave.at, (0, None))(many, 1.0), np.outer([1.0, 3.0], np.arange(3.0))
    )
    axes = Wave(0, None)
    shared = many.replace(params=_wave().params)
    np.testing.assert_array_equal(
        jax.vmap(Wave.at, (axes, None))(shared, 1.0), np.outer([1.0, 3.0], np.arange(3.0))
    )
    slopes = jax.grad(lambda wave: wave.at(1.0).sum())(_wave())
    assert isinstance(slopes, Wave)
    assert slopes.height == 3.0
    _, last = jax.lax.scan(lambda wave, _: (wave, wave.height), _wave(), length=2)
    assert last.shape == (2,)


def test_paths_name_the_fields():
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(_wave())]
    assert paths == [".height", ".params['w']"]


def test_numbers_are_traced_and_statics_compile_anew():
    traces = []

    @jax.jit
    def run(wave):
        traces.append(wave.order)
        return wave.at(1.0)

    for wave in (_wave(1.0), _wave(2.0), _wave().replace(order=2), _wave(3.0)):
        run(wave)
    assert traces == [1, 2]


def test_a_root_with_a_hook_of_its_own_keeps_it():
    seen = []

    class Base:
        def __init_subclass__(cls, **options):
            super().__init_subclass__(**options)
            seen.append(cls.__name__)

    @frozen
    class Root(Base):
        def __init_subclass__(cls, *, tag, **options):
            super().__init_subclass__(**options)
            cls.tag = tag

    class Leaf(Root, tag="leaf"):
        size: float = 1.0

    assert seen == ["Root", "Leaf"]
    assert Leaf.tag == "leaf"
    assert jax.tree.leaves(Leaf()) == [1.0]


def test_all_classes_of_the_package_are_frozen():
    """Those that are pytrees by a registration of their own."""
    classes = [
        value
        for room in (fb.attacks, fb.ensemble, fb.training, fb.theory, fb.ops, fb.models)
        for value in vars(room).values()
        if isinstance(value, type) and "_flax_dataclass" in value.__dict__
    ]
    assert fb.attacks.L2 in classes
    assert fb.Ensemble in classes
    assert [cls for cls in classes if not is_frozen(cls)] == []
