"""Closed trajectories against an ODE solver and against the network itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from freqbias.theory import dynamics, predictor

# Taps from the corner: DFTs without a phase.
CORNER = [np.stack(np.mgrid[:3, :4], -1).reshape(-1, 2)]


def solve(times, initial, correlation, power, depth):
    num_layers = depth + 1

    def slope(_, b):
        return num_layers * b ** (2 - 2 / num_layers) * (correlation - power * b)

    return scipy.integrate.solve_ivp(
        slope, (0, times[-1]), [initial], t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853"
    ).y[0]


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 5])
def test_trajectory_solves_the_flow(depth):
    times = np.linspace(0, 5, 21)
    got = dynamics.amplitude_trajectory(times, 0.05, 1.3, 0.7, depth=depth)
    np.testing.assert_allclose(got, solve(times, 0.05, 1.3, 0.7, depth), rtol=1e-8)


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_the_target_is_reached_and_kept(depth):
    got = dynamics.amplitude_trajectory([0.0, 1e3, 1e6], 0.05, 1.3, 0.7, depth=depth)
    np.testing.assert_allclose(got, [0.05, 1.3 / 0.7, 1.3 / 0.7], rtol=1e-9)


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_learning_time_inverts_the_trajectory(depth):
    initial, correlation, power = np.array([0.01, 0.3]), np.array([1.0, 2.0]), np.array([0.5, 1.5])
    final = 0.9 * correlation / power
    times = dynamics.learning_time(initial, final, correlation, power, depth=depth)
    for i in range(2):
        got = dynamics.amplitude_trajectory(
            times[i : i + 1], initial[i], correlation[i], power[i], depth=depth
        )
        np.testing.assert_allclose(got, final[i], rtol=1e-9)


def test_half_time_of_the_sigmoid():
    got = dynamics.learning_time(0.01, 1.0, 1.0, 0.5, depth=1)
    np.testing.assert_allclose(got, np.log(1 / (0.5 * 0.01) - 1) / 2, rtol=1e-12)


def test_shallow_nets_follow_the_power_and_deep_ones_the_correlation():
    """Depth 0 learns at rate lambda; with depth the order is that of s, and waits grow."""
    power, correlation = np.array([1.0, 0.1]), np.array([0.2, 0.5])
    final = 0.5 * correlation / power

    def times(depth):
        return dynamics.learning_time(1e-3, final, correlation, power, depth=depth)

    assert times(0)[0] < times(0)[1]
    assert times(1)[0] > times(1)[1]
    assert np.all(times(2) > times(1))


def network(depth, seed=0):
    """A stationary problem and a balanced net in phase with its teacher, all in float64."""
    rng = np.random.default_rng(seed)
    shape = (3, 4)
    base = rng.standard_normal((4, *shape, 1)) / 2
    shifts = [np.roll(base, (a, b), (1, 2)) for a in range(3) for b in range(4)]
    images, teacher = np.concatenate(shifts), rng.standard_normal((*shape, 1))
    phase = np.exp(1j * np.angle(np.fft.fft2(teacher[..., 0])))
    initial = 0.3
    share = np.fft.ifft2(np.full(shape, initial ** (1 / (depth + 1))), norm="ortho").real
    readout = np.fft.ifft2(initial ** (1 / (depth + 1)) * phase, norm="ortho").real
    params = [share[..., None, None]] * depth + [readout[..., None, None]]
    return images, teacher, initial, phase, [jnp.asarray(p) for p in params]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_discrete_descent_is_the_network_s_own(depth, x64):
    """Gradient descent on the layers of the network, by autodiff, against the scalar recursion."""
    images, teacher, initial, phase, params = network(depth)
    problem = dynamics.fourier_problem(images, teacher)
    num_pixels, step_size, num_steps = 12, 0.05, 40

    def loss(params):
        beta = predictor.conv_predictor(params[:-1], params[-1], offsets=CORNER * depth)[..., 0]
        residual = beta / num_pixels ** (depth / 2) - teacher
        return 0.5 * jnp.mean(jnp.einsum("nhwc,hwc->n", images, residual) ** 2)

    @jax.jit
    def train(params):
        def step(_, params):
            return [p - step_size * g for p, g in zip(params, jax.grad(loss)(params), strict=True)]

        return jax.lax.fori_loop(0, num_steps, step, params)

    after = train(params)
    beta = predictor.conv_predictor(after[:-1], after[-1], offsets=CORNER * depth)[..., 0, 0]
    spectrum = np.fft.fft2(np.asarray(beta) / num_pixels ** (depth / 2), norm="ortho")
    expected = dynamics.gradient_descent_amplitude(
        num_steps, initial, problem.correlation, problem.power, step_size=step_size, depth=depth
    )[-1]
    np.testing.assert_allclose(spectrum, expected * phase, atol=1e-12)
    if depth == 0:
        target = problem.correlation / problem.power
        closed = target + (initial - target) * (1 - step_size * problem.power) ** num_steps
        np.testing.assert_allclose(expected, closed, rtol=1e-12)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_small_steps_follow_the_flow_to_one_per_cent(depth):
    step_size, num_steps = 1e-3, 4000
    times = step_size * np.arange(num_steps + 1)
    descent = dynamics.gradient_descent_amplitude(
        num_steps, 0.05, 1.3, 0.7, step_size=step_size, depth=depth
    )
    flow = dynamics.amplitude_trajectory(times, 0.05, 1.3, 0.7, depth=depth)
    np.testing.assert_allclose(descent, flow, rtol=1e-2)


def test_all_shifts_make_the_covariance_circulant():
    images, teacher, *_ = network(1)
    flat = images.reshape(len(images), -1)
    covariance = flat.T @ flat / len(flat)
    values = np.sort(np.linalg.eigvalsh(covariance))
    problem = dynamics.fourier_problem(images, teacher)
    np.testing.assert_allclose(values, np.sort(problem.power.ravel()), atol=1e-12)


def test_bad_arguments_say_what_was_expected():
    with pytest.raises(ValueError, match="initial and final"):
        dynamics.learning_time(0.1, 3.0, 1.0, 0.5, depth=1)
    with pytest.raises(ValueError, match="power must be positive"):
        dynamics.amplitude_trajectory([1.0], 0.1, 1.0, 0.0, depth=1)
    with pytest.raises(ValueError, match="below correlation / power"):
        dynamics.amplitude_trajectory([1.0], 3.0, 1.0, 0.5, depth=2)
    with pytest.raises(ValueError, match="hidden layers"):
        dynamics.amplitude_trajectory([1.0], 0.1, 1.0, 0.5, depth=-1)
    with pytest.raises(ValueError, match=r"images must be \[N, H, W, 1\]"):
        dynamics.fourier_problem(np.zeros((2, 3, 3, 2)), np.zeros((3, 3, 2)))
