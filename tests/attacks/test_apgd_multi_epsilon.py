"""Whether APGD in L1 gains by searching larger balls first, at equal gradients: it does not."""

import jax
import numpy as np
import pytest

import freqbias as fb
from freqbias.attacks import L1, apgd

NETWORKS = {
    "fc": fb.models.FullyConnected(num_classes=10),
    "conv": fb.models.ConvNet(num_classes=10, kernel_size=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("network", NETWORKS)
def test_larger_balls_make_little_difference(network, seed, key):
    """The measurement behind the default; ``-s`` prints it."""
    data = fb.data.load("fashion_mnist_mini")
    images, labels = data.test.images[:256], data.test.labels[:256]
    sgd = fb.sgd(0.02, clip=1.0)
    nets = fb.train(
        NETWORKS[network], data.train, seeds=[seed], epochs=5, optimizer=sgd, key=jax.random.key(0)
    )
    params = jax.tree.map(lambda leaf: leaf[0], nets.params)
    for epsilon in (4.0, 8.0):
        for num_steps in (40, 100):
            left = []
            for multi_epsilon in (False, True):
                attack = apgd(
                    L1(), epsilon=epsilon, num_steps=num_steps, multi_epsilon=multi_epsilon
                )
                found = attack(nets.apply_fn, params, images, labels, jax.random.key(1))
                left.append(100 * float(np.mean(~np.asarray(found.is_adversarial))))
            print(
                f"{network} seed {seed}, epsilon {epsilon:g}, {num_steps} steps: "
                f"{left[0]:.1f} % left, with larger balls first {left[1]:.1f} %"
            )
            assert abs(left[1] - left[0]) <= 3
