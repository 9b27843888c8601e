"""A program for tests: computes over all devices there are and compares with one of them.

    python seed_axis_program.py WHAT NUM_SEEDS,... [COORDINATOR PROCESS_ID OUT]

With a coordinator it is one of two processes, and saves under OUT what it found.
"""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import attacks, distributed, ensemble, models, training


def draw(x, key, shared):
    """A number, an index, a flag and a key of one seed."""
    noise = jax.random.normal(key, x.shape)
    found = jnp.fft.rfft2(x).real.sum() + shared + noise
    return {"found": found, "index": jnp.argmax(noise), "flag": found > 0, "key": key}


def draw_each(num_seeds, strategy):
    keys = ensemble.seed_keys(jax.random.key(1), range(num_seeds))
    x = jax.random.normal(jax.random.key(0), (num_seeds, 5, 4))
    found = ensemble.map_seeds(draw, (x, keys), (jnp.float32(2),), strategy=strategy)
    again = ensemble.map_seeds(draw, (found["found"], found.pop("key")), (x[0],), strategy=strategy)
    return found, again["index"]


def train_and_attack(num_seeds, strategy):
    rng, key = np.random.default_rng(0), jax.random.key(0)
    images, labels = rng.random((24, 4, 4, 1), np.float32), rng.integers(0, 3, 24)
    split = types.SimpleNamespace(images=images, labels=labels)
    nets = training.train(
        models.FullyConnected(num_classes=3, width=6), split, seeds=range(num_seeds), key=key,
        epochs=2, batch_size=8, checkpoint_steps=(2,), strategy=strategy,
    )  # fmt: skip
    attack = attacks.pgd(attacks.L2(), epsilon=0.3, num_steps=3)
    return nets, nets.attack(attack, images[:5], labels[:5], key=key, strategy=strategy)


def main(what, num_seeds, coordinator=None, process_id=None, out=None):
    if coordinator is not None:
        distributed.initialize(coordinator, num_processes=2, process_id=int(process_id))
        assert ensemble.choose_strategy() == "sharded"
        assert distributed.is_first() == (process_id == "0")
    assert jax.device_count() == 8, jax.devices()
    run = {"draw": draw_each, "train": train_and_attack}[what]
    for number in map(int, num_seeds.split(",")):
        found = [jax.tree.leaves(run(number, strategy)) for strategy in ("sharded", "sequential")]
        for one, other in zip(*found, strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
        if out is not None:
            np.savez(f"{out}_{number}.npz", *found[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
