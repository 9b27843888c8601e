"""Networks as newcomers bring them: each kind in ten lines, from its package to a page.

Numbers are compared with the package's own on the same images, and gradients with JAX's on the same
weights. What does not fit says what to do.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import freqbias as fb
from freqbias import attacks, interop

KEY = jax.random.key(0)
IMAGES = np.asarray(jax.random.uniform(jax.random.key(1), (5, 6, 6, 3)))
LABELS = np.array([0, 1, 2, 1, 0])
STEP = {"FGSM": attacks.fgsm(attacks.L2(), epsilon=0.1, bounds=None)}


def page_of(network):
    """What a newcomer does next, on few steps; the attack moves every image by epsilon."""
    found = fb.analyze(
        *network, IMAGES, LABELS, attacks=STEP, key=KEY, batch_size=5, progress=False
    )
    distance = found.measured.found["network"]["FGSM"].distance
    np.testing.assert_allclose(distance, 0.1, rtol=1e-3)
    assert (found.table()["statistic"] == "mean_frequency").any()
    return found.page()


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x))
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(3)(x.mean((1, 2)))


def test_linen_with_batch_statistics_and_dropout_off():
    module = LinenNet()
    variables = module.init(KEY, IMAGES, train=False)
    statistics = variables["batch_stats"]["BatchNorm_0"]
    statistics |= {"mean": jnp.arange(4.0), "var": jnp.full(4, 2.0)}
    network = interop.from_linen(module, variables)
    expected = module.apply(variables, IMAGES, train=False)
    np.testing.assert_allclose(network.apply_fn(network.params, IMAGES), expected, rtol=1e-5)
    assert "What was found" in page_of(network)


def test_linen_in_training_mode_says_what_to_do():
    module = LinenNet()
    variables = module.init(KEY, IMAGES, train=False)
    network = interop.from_linen(module, variables, arguments={"train": True})
    with pytest.raises(interop.UnfitError, match="changes its batch statistics"):
        network.apply_fn(network.params, IMAGES)
    noisy = nn.Dropout(0.5, deterministic=False)
    network = interop.from_linen(noisy, {"params": {}}, arguments={"deterministic": None})
    with pytest.raises(interop.UnfitError, match="draws random numbers"):
        network.apply_fn(network.params, IMAGES)
    alone = interop.from_linen(module, variables["params"])
    with pytest.raises(interop.UnfitError, match="variables must hold all collections"):
        alone.apply_fn(alone.params, IMAGES)
    for bare in (partial(module.apply, train=True), noisy.apply):  # without an adapter
        with pytest.raises(interop.UnfitError, match=r"It is in training mode: .*from_linen"):
            interop.check_network(bare, variables, IMAGES)
    with pytest.raises(TypeError, match="module must be a flax"):
        interop.from_linen(lambda x: x, {})


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.norm(self.conv(x)))).mean((1, 2)))


def test_nnx_in_evaluation_mode():
    model = NnxNet(nnx.Rngs(0))
    with pytest.raises(interop.UnfitError, match=r"model\.eval\(\) first.* drop, norm"):
        interop.from_nnx(model)
    model.eval()
    network = interop.from_nnx(model)
    np.testing.assert_allclose(
        network.apply_fn(network.params, IMAGES), model(jnp.asarray(IMAGES)), rtol=1e-5
    )
    assert "What was found" in page_of(network)
    with pytest.raises(TypeError, match="model must be a flax"):
        interop.from_nnx(LinenNet())


@pytest.mark.peers
def test_equinox_images_channels_first_and_inference_mode():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(KEY)
    model = eqx.nn.Sequential([
        eqx.nn.Conv2d(3, 4, 3, key=keys[0]), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Dropout(0.5),
        eqx.nn.Lambda(lambda x: x.mean((1, 2))), eqx.nn.Linear(4, 3, key=keys[1]),
    ])  # fmt: skip
    with pytest.raises(interop.UnfitError, match=r"inference mode.*Dropout"):
        interop.from_equinox(model)
    model = eqx.nn.inference_mode(model)
    network = interop.from_equinox(model)
    expected = jax.vmap(model)(IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(network.apply_fn(network.params, IMAGES), expected, rtol=1e-5)
    assert "What was found" in page_of(network)
    with pytest.raises(TypeError, match="model must be an equinox"):
        interop.from_equinox(lambda x: x)


@pytest.mark.peers
def test_equinox_with_state():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        norm: eqx.nn.BatchNorm
        out: eqx.nn.Linear

        def __call__(self, x, state):
            x, state = self.norm(x, state)
            return self.out(x.mean((1, 2))), state

    make = lambda: Net(  # noqa: E731
        eqx.nn.BatchNorm(3, "batch", mode="ema"), eqx.nn.Linear(3, 3, key=KEY)
    )
    model, state = eqx.nn.make_with_state(make)()
    network = interop.from_equinox(eqx.nn.inference_mode(model), state)
    logits = network.apply_fn(network.params, IMAGES)
    alone = network.apply_fn(network.params, IMAGES[:1])  # no statistics of the batch
    np.testing.assert_allclose(logits[:1], alone, rtol=1e-5)


@pytest.mark.peers
def test_haiku_with_and_without_state():
    hk = pytest.importorskip("haiku")

    def forward(images, is_training=False):
        x = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(4, 3)(images), is_training)
        return hk.Linear(3)(jax.nn.relu(x).mean((1, 2)))

    stateful = hk.transform_with_state(forward)
    params, state = stateful.init(KEY, IMAGES, True)
    network = interop.from_haiku(stateful, params, state)
    expected, _ = stateful.apply(params, state, None, IMAGES)
    np.testing.assert_allclose(network.apply_fn(network.params, IMAGES), expected, rtol=1e-5)
    assert "What was found" in page_of(network)
    with pytest.raises(interop.UnfitError, match="state must be given"):
        interop.from_haiku(stateful, params)

    def noisy(images):
        return hk.Linear(3)(hk.dropout(hk.next_rng_key(), 0.5, images.mean((1, 2))))

    plain = hk.transform(noisy)
    network = interop.from_haiku(plain, plain.init(KEY, IMAGES))
    with pytest.raises(interop.UnfitError, match="draws random numbers"):
        network.apply_fn(network.params, IMAGES)
    with pytest.raises(TypeError, match="must be made by hk"):
        interop.from_haiku(noisy, {})


def test_a_plain_function_and_what_it_expects_of_its_images():
    def fn(weights, images):  # [N, C, H, W], 0..255, standardised
        return jnp.einsum("nchw,ck->nk", images, weights)

    weights = jax.random.normal(KEY, (3, 3))
    means, stds = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)
    network = interop.from_function(
        fn, weights, mean=means, std=stds, pixel_max=255, channels_first=True
    )
    seen = ((IMAGES * 255 - np.array(means)) / np.array(stds)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        network.apply_fn(weights, IMAGES), fn(weights, seen.astype(np.float32)), rtol=2e-4
    )
    # The perturbation is in units of the images: one step of the gradient's sign is epsilon.
    found = attacks.fgsm(attacks.Linf(), epsilon=0.02, bounds=None)(*network, IMAGES, LABELS, KEY)
    np.testing.assert_allclose(np.abs(found.delta), 0.02, rtol=1e-4)


def test_resized_images_are_attacked_at_their_own_size():
    network = interop.from_function(
        lambda weights, x: x.reshape(x.shape[0], -1) @ weights,
        jax.random.normal(KEY, (4 * 4 * 3, 3)),
        resize=(4, 4),
    )
    found = attacks.fgsm(attacks.L2(), epsilon=0.1, bounds=None)(*network, IMAGES, LABELS, KEY)
    assert found.delta.shape == IMAGES.shape
    flat = np.full((1, 6, 6, 3), 0.3, np.float32)
    np.testing.assert_allclose(interop.preprocessing(resize=(4, 5))(flat), 0.3, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": 0.5, "pixel_max": 255}, "or a mean like 127.5"),
        ({"std": 0.0}, "std must be positive"),
        ({"std": (1.0, 2.0)}, "one for each of the 3 channels of the images; got 2"),
        ({"mean": float("nan")}, "mean must be a number"),
        ({"pixel_max": -1}, "pixel_max must be positive"),
        ({"resize": 32.0}, "resize"),
        ({"resize": (0, 3)}, "resize must be at least 1"),
        ({"output": lambda x: x[None]}, r"got shape \(1, 5, 3\)"),
        ({"output": lambda x: {"logits": x}}, r"got a dict\. .*out\['logits'\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        network = interop.from_function(
            lambda weights, x: x.mean((1, 2)) @ weights, jnp.eye(3), **options
        )
        network.apply_fn(network.params, IMAGES)


def test_what_was_not_adapted_is_told_how():
    module = LinenNet()
    with pytest.raises(TypeError, match=r"adapted first: freqbias\.interop\.from_linen"):
        fb.analyze({"net": module}, images=IMAGES, labels=LABELS, key=KEY)
    with pytest.raises(TypeError, match=r"adapted first: freqbias\.interop\.from_linen"):
        fb.analyze(module, {"params": {}}, IMAGES, LABELS, key=KEY)
    with pytest.raises(TypeError, match="fn must be a function"):
        interop.from_function(3, ())


def test_a_broken_trace_names_the_shape_it_was_given():
    network = interop.from_function(lambda weights, x: x @ weights, jnp.eye(7))
    with pytest.raises(interop.UnfitError, match=r"\(5, 6, 6, 3\), \[N, H, W, C\].*it raised"):
        interop.check_network(*network, IMAGES)
