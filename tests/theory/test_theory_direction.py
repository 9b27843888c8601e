"""Training in direction ends where theory says; the steps are gradient descent in another time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias.theory import direction, margins, predictor, regularizers, stationarity
from freqbias.theory.certificate import certificate
from freqbias.typing import Status

LINE = (1, 16, 1)
IMAGES = np.random.default_rng(0).standard_normal((8, *LINE))
LABELS = np.arange(8, dtype=np.int32) % 2
FOURIER = regularizers.fourier_regularizer()
KERNEL = regularizers.kernel_regularizer((1, 3))
NETS = {
    "dense 0": direction.dense_net(LINE, 0),
    "dense 2": direction.dense_net(LINE, 2),
    "dense 1, width 6": direction.dense_net(LINE, 1, width=6),
    "full 1": direction.conv_net(LINE, 1, kernel_size=(1, 16)),
    "full 2": direction.conv_net(LINE, 2, kernel_size=(1, 16)),
    "full 3": direction.conv_net(LINE, 3, kernel_size=(1, 16)),
    "K=3": direction.conv_net(LINE, 1, kernel_size=(1, 3)),
    "K=3, 4 channels": direction.conv_net(LINE, 1, kernel_size=(1, 3), channels=4),
}


@functools.cache
def trained(name, loss="exponential", num_steps=100_000):
    """Beta [S, 1, 16, 1] and dual weights [S, 8] in float64, deep in the separable regime."""
    with jax.enable_x64(True):
        state = direction.init_direction(
            NETS[name], jax.random.split(jax.random.key(0), 3), 8, dtype=jnp.float64
        )
        state = direction.train_direction(
            NETS[name], state, IMAGES, LABELS, num_steps=num_steps, loss=loss
        )
        read = direction.read_direction(NETS[name], state, IMAGES, LABELS, loss=loss)
        assert np.all(np.asarray(read.status) == Status.OK)
        return np.asarray(read.beta), np.asarray(state.dual_weights)


def one_minus_cosine(beta, other):
    return 1 - np.sum(beta * other) / (np.linalg.norm(beta) * np.linalg.norm(other))


def assert_is_the_solution(betas, dual_weights, solution, regularizer):
    for beta, weights in zip(betas, dual_weights, strict=True):
        assert one_minus_cosine(beta, solution.weights) < 1e-4
        assert certificate(beta, IMAGES, LABELS, regularizer, dual_weights=weights).gap < 5e-3


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "dense 2",
        pytest.param("dense 0", marks=slow),
        pytest.param("dense 1, width 6", marks=slow),
    ],
)
def test_fully_connected_nets_of_any_depth_become_the_support_vector_machine(name):
    solution = margins.support_vector_machine(IMAGES, LABELS)
    assert_is_the_solution(*trained(name), solution, regularizers.l2_regularizer())


@pytest.mark.parametrize("loss", ["exponential", pytest.param("logistic", marks=slow)])
def test_two_full_width_layers_become_the_l1_solution_of_the_dft(loss):
    solution = margins.max_margin(IMAGES, LABELS, FOURIER)
    assert_is_the_solution(*trained("full 1", loss), solution, FOURIER)


@pytest.mark.parametrize("name", ["K=3", pytest.param("K=3, 4 channels", marks=slow)])
def test_two_layers_of_three_taps_become_the_r_3_solution_at_any_channels(name):
    solution = margins.max_margin(IMAGES, LABELS, KERNEL)
    assert_is_the_solution(*trained(name), solution, KERNEL)


@pytest.mark.parametrize("name", ["full 3", pytest.param("full 2", marks=slow)])
def test_deeper_full_width_nets_become_stationary_and_seeds_disagree(name):
    depth = int(name[-1])
    betas, _ = trained(name)
    costs = []
    for beta in betas:
        found = stationarity.fourier_stationarity(beta, IMAGES, LABELS, depth=depth)
        assert found.residual < 1e-3
        least = ((2 * LABELS - 1) * np.tensordot(IMAGES, beta, 3)).min()
        costs.append(regularizers.conv_cost(beta / least, depth))
    if depth == 3:
        assert max(costs) / min(costs) > 1.02  # stationary, not minimal: no solver to compare with


def test_deeper_nets_of_few_taps_end_with_weights_along_their_gradient(x64):
    """No norm of beta is known for them; the condition is on the weights themselves."""
    net = direction.conv_net(LINE, 2, kernel_size=(1, 3))
    keys = jax.random.split(jax.random.key(0), 3)
    start = direction.init_direction(net, keys, 8, dtype=jnp.float64)
    end = direction.train_direction(net, start, IMAGES, LABELS, num_steps=20_000)

    @jax.jit
    @jax.vmap
    def residual(params, dual_weights):
        combined = jnp.einsum("n,nhwc->hwc", dual_weights * (2.0 * LABELS - 1), IMAGES)
        return stationarity.parameter_stationarity(
            lambda p: -jnp.sum(net.predictor(p) * combined), params
        )

    assert np.all(np.asarray(residual(start.params, start.dual_weights)) > 0.3)
    assert np.all(np.asarray(residual(end.params, end.dual_weights)) < 1e-3)


def test_full_width_and_kernel_nets_do_not_find_each_other_s_solution():
    full = margins.max_margin(IMAGES, LABELS, FOURIER)
    kernel = margins.max_margin(IMAGES, LABELS, KERNEL)
    assert one_minus_cosine(trained("K=3")[0][0], full.weights) > 1e-2
    assert one_minus_cosine(trained("full 1")[0][0], kernel.weights) > 1e-2


def flattened(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize(
    "name, loss",
    [("dense 2", "exponential"), ("K=3, 4 channels", "logistic")],
)
def test_a_step_is_a_gradient_step_on_the_loss_at_the_real_scale(name, loss, x64):
    net = NETS[name]
    state = direction.init_direction(
        net, jax.random.split(jax.random.key(1), 2), 8, init_scale=0.7, dtype=jnp.float64
    )
    after = direction.train_direction(
        net, state, IMAGES, LABELS, num_steps=1, step_size=1e-3, loss=loss
    )
    sign = 2 * LABELS - 1.0

    def total_loss(params):
        values = sign * jnp.einsum("nhwc,hwc->n", IMAGES, net.predictor(params))
        terms = jnp.exp(-values) if loss == "exponential" else jax.nn.softplus(-values)
        return jnp.sum(terms)

    slope_at = jax.jit(jax.grad(total_loss))
    state, after = jax.device_get((state, after))
    for seed in range(2):
        real = jax.tree.map(lambda x: x[seed] * np.exp(state.log_scale[seed]), state.params)  # noqa: B023
        flat, slope = flattened(real), flattened(slope_at(real))
        size = np.linalg.norm(flat)
        np.testing.assert_allclose(size, np.exp(state.log_scale[seed]), rtol=1e-12)
        expected = flat - 1e-3 * size * slope / np.linalg.norm(slope)
        got = jax.tree.map(lambda x: x[seed] * np.exp(after.log_scale[seed]), after.params)  # noqa: B023
        np.testing.assert_allclose(flattened(got), expected, rtol=1e-9, atol=1e-12)


def test_width_one_is_the_end_to_end_flow_of_a_balanced_network(x64):
    """A wide net started balanced and of rank one stays with the net of width one."""
    depth, width = 2, 5
    thin = direction.dense_net(LINE, depth)
    wide = direction.dense_net(LINE, depth, width=width)
    first = direction.init_direction(
        thin, jax.random.split(jax.random.key(2), 1), 8, dtype=jnp.float64
    )
    rng = np.random.default_rng(0)
    units = [u / np.linalg.norm(u) for u in rng.standard_normal((depth, width))]
    w, *scalars = [np.asarray(leaf[0]) for leaf in first.params]
    params = [
        w * units[0],
        scalars[0][0, 0] * np.outer(units[0], units[1]),
        scalars[1][0, 0] * units[1][:, None],
    ]
    second = first._replace(params=[jnp.asarray(p)[None] for p in params])
    betas = []
    for net, start in [(thin, first), (wide, second)]:
        state = direction.train_direction(net, start, IMAGES, LABELS, num_steps=200, step_size=1e-3)
        betas.append(direction.read_direction(net, state, IMAGES, LABELS).beta)
    np.testing.assert_allclose(betas[0], betas[1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, (4, 2)])
def test_predictors_agree_with_the_product_of_dfts(kernel_size, x64):
    net = direction.conv_net((6, 5, 2), 2, kernel_size=kernel_size, channels=3)
    params = jax.jit(net.init)(jax.random.key(0))
    expected = jax.jit(predictor.conv_predictor)(params["kernels"], params["readout"][..., None])
    found = jax.jit(net.predictor)(params)
    np.testing.assert_allclose(found, np.asarray(expected)[..., 0], atol=1e-12)


def test_large_kernels_by_fft_agree_too(x64):
    net = direction.conv_net((10, 9, 1), 1, kernel_size=9, channels=2)
    params = jax.jit(net.init)(jax.random.key(0))
    expected = jax.jit(predictor.conv_predictor)(params["kernels"], params["readout"][..., None])
    found = jax.jit(net.predictor)(params)
    np.testing.assert_allclose(found, np.asarray(expected)[..., 0], atol=1e-12)


NETS_2D = {
    "dense": direction.dense_net((6, 6, 1), 2),
    "conv": direction.conv_net((6, 6, 1), 2, kernel_size=3, channels=2),
    "locally connected": direction.locally_connected_net((6, 6, 1), 1, kernel_size=3),
}


@pytest.mark.parametrize("name", NETS_2D)
def test_ensembles_train_in_float32_resume_and_never_overflow(name):
    net = NETS_2D[name]
    images = np.random.default_rng(1).uniform(size=(10, 6, 6, 1)).astype(np.float32) - 0.5
    labels = np.arange(10) % 2
    keys = jax.random.split(jax.random.key(3), 4)
    params = jax.device_get(jax.jit(net.init)(keys[0]))
    predict = jax.jit(net.predictor)
    twice = predict(jax.tree.map(lambda leaf: 2 * leaf, params))
    np.testing.assert_allclose(twice, 2**net.degree * np.asarray(predict(params)), rtol=1e-5)
    start = direction.init_direction(net, keys, 10)
    once = direction.train_direction(net, start, images, labels, num_steps=300)
    half = direction.train_direction(net, start, images, labels, num_steps=100)
    twice = direction.train_direction(net, half, images, labels, num_steps=200)
    np.testing.assert_allclose(once.log_scale, twice.log_scale, rtol=1e-5)
    late = direction.train_direction(net, twice, images, labels, num_steps=700)
    read = jax.device_get(direction.read_direction(net, late, images, labels))
    assert np.all(np.isfinite(read.beta)) and np.all(read.status == Status.OK)
    assert np.all(read.log_loss < -20)
    assert read.beta.dtype == jnp.float32


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_members_train_as_if_the_other_images_did_not_exist(loss, x64):
    """Samples of different sizes in one ensemble, against each seed alone on its own images."""
    net, keys = NETS_2D["dense"], jax.random.split(jax.random.key(9), 2)
    rng = np.random.default_rng(9)
    pool, labels = rng.standard_normal((20, 6, 6, 1)), rng.permutation(np.arange(20) % 2)
    members = np.zeros((2, 20), bool)
    members[0, :6], members[1, 4:19] = True, True
    start = direction.init_direction(net, keys, 20, dtype=jnp.float64)
    options = {"loss": loss, "members": members}
    state = direction.train_direction(net, start, pool, labels, num_steps=60, **options)
    read, state = jax.device_get(
        (direction.read_direction(net, state, pool, labels, **options), state)
    )
    assert np.all(np.asarray(state.dual_weights)[~members] == 0)
    for seed, own in enumerate(members):
        alone = direction.init_direction(
            net, keys[seed : seed + 1], int(own.sum()), dtype=jnp.float64
        )
        alone = direction.train_direction(
            net, alone, pool[own], labels[own], num_steps=60, loss=loss
        )
        expected = direction.read_direction(net, alone, pool[own], labels[own], loss=loss)
        expected, alone = jax.device_get((expected, alone))
        for name in ("beta", "log_factor", "margin", "log_loss"):
            got = getattr(read, name)[seed]
            np.testing.assert_allclose(got, getattr(expected, name)[0], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(
            state.dual_weights[seed, own], alone.dual_weights[0], rtol=1e-6, atol=1e-12
        )


def test_init_scale_moves_the_log_scale_only():
    net, keys = NETS_2D["conv"], jax.random.split(jax.random.key(4), 2)
    one = direction.init_direction(net, keys, 10)
    small = direction.init_direction(net, keys, 10, init_scale=0.1)
    np.testing.assert_allclose(
        small.log_scale, np.asarray(one.log_scale) + np.log(0.1) / net.degree, rtol=1e-5
    )
    jax.tree.map(np.testing.assert_array_equal, one.params, small.params)


def test_statuses_tell_apart_unseparated_and_not_finite():
    net, keys = NETS_2D["dense"], jax.random.split(jax.random.key(5), 3)
    images = np.random.default_rng(6).standard_normal((100, 6, 6, 1)).astype(np.float32)
    labels = np.arange(100) % 2
    state = direction.init_direction(net, keys, 100)
    broken = [np.array(leaf) for leaf in state.params]
    for leaf in broken:
        leaf[1] = np.nan
    state = direction.train_direction(
        net, state._replace(params=broken), images, labels, num_steps=50
    )
    read = direction.read_direction(net, state, images, labels)
    expected = [Status.NOT_CONVERGED, Status.DIVERGED, Status.NOT_CONVERGED]
    np.testing.assert_array_equal(read.status, expected)


def test_another_number_of_steps_does_not_recompile():
    net, keys = NETS_2D["dense"], jax.random.split(jax.random.key(7), 2)
    images = np.random.default_rng(8).standard_normal((10, 6, 6, 1)).astype(np.float32)
    state = direction.init_direction(net, keys, 10)
    args = (net, state, images, np.arange(10) % 2)
    direction.train_direction(*args, num_steps=1)
    before = direction._train._cache_size()
    direction.train_direction(*args, num_steps=2, step_size=0.01)
    assert direction._train._cache_size() == before


def test_bad_arguments_say_what_was_expected():
    net = NETS_2D["dense"]
    state = direction.init_direction(net, jax.random.split(jax.random.key(0), 2), 8)
    images, labels = np.zeros((10, 6, 6, 1), np.float32), np.arange(10) % 2
    with pytest.raises(ValueError, match="images must be the 8"):
        direction.train_direction(net, state, images, labels, num_steps=1)
    eight = (net, state, images[:8], labels[:8])
    with pytest.raises(ValueError, match=r"members must be bool \[2, 8\]; got int"):
        direction.train_direction(*eight, num_steps=1, members=np.ones((2, 8), int))
    with pytest.raises(ValueError, match="some row is all False"):
        direction.read_direction(*eight, members=np.zeros((2, 8), bool))
    with pytest.raises(ValueError, match="loss must be one of"):
        direction.train_direction(net, state, images, labels, num_steps=1, loss="hinge")
    with pytest.raises(ValueError, match="kernel_size must be"):
        direction.conv_net((6, 6, 1), 1, kernel_size=7)
    with pytest.raises(ValueError, match="depth must be"):
        direction.dense_net((6, 6, 1), -1)
