"""The smallest radius at which an attack of a fixed budget succeeds: `bisect`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks import auto
from freqbias.attacks.evaluate import at_epsilon
from freqbias.attacks.norms import Bounds, Norm
from freqbias.attacks.protocol import Attack, CheckedAttack, Perturbation, image_keys, on_device
from freqbias.ensemble import perturb_fn
from freqbias.typing import ApplyFn, Array, Key, Keys, Params


@frozen
class Bisection(CheckedAttack):
    """A budget attack as a minimal one: bisection over epsilon, for each image; made by `bisect`.

    The attack is run at its own epsilon, and then ``num_bisections`` times at the middle of each
    image's bracket [low, high]: ``high`` is the smallest distance found so far, at first epsilon,
    ``low`` the largest radius below it at which the attack failed, at first 0. Since each image has
    its own epsilon, images are attacked singly, under vmap.

    Attributes:
      attack: of a fixed budget; its epsilon is the largest radius tried, and its step size changes
        with the radius.
      num_bisections: how often the bracket is halved.
    """

    attack: Attack
    num_bisections: int = static(default=10)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        _checks.positive_int("num_bisections", self.num_bisections)
        at_epsilon(self.attack, 1.0)
        if not hasattr(self.attack, "norm"):
            raise ValueError(f"attack must have a norm; got {self.attack}.")

    @property
    def targeted(self) -> bool:  # type: ignore[override]
        """As the attack."""
        return getattr(self.attack, "targeted", False)

    @property
    def bounds(self) -> Bounds | None:  # type: ignore[override]
        """As the attack."""
        return getattr(self.attack, "bounds", None)

    def find(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
        key: Key,
    ) -> Perturbation:
        """The nearest found; the distance is infinity where none was, 0 where none is needed."""
        keys = image_keys(key, images.shape[0])
        attack = jax.tree.map(lambda leaf: on_device(leaf, images.dtype), self)
        return _bisect(attack, apply_fn, params, images, labels, keys, targets)


@checked
def bisect(attack: Attack, *, num_bisections: int = 10) -> Bisection:
    """Turns an attack of a fixed budget into a minimal one, by bisection over epsilon per image.

    Args:
      attack: e.g. of `pgd` or `apgd`; its epsilon is the largest radius to look at.
      num_bisections: each costs one run of the attack, and halves the bracket.

    Returns:
      The attack. If there is, for an image, a radius below which ``attack`` fails and from which on
      it succeeds, the distance found exceeds it by at most epsilon / 2^num_bisections.

    Raises:
      TypeError: ``num_bisections`` is no int.
      ValueError: the attack has no epsilon or no norm, or ``num_bisections`` < 1.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> budget = attacks.pgd(attacks.L2(), epsilon=4.0, num_steps=5)
      >>> attack = attacks.bisect(budget, num_bisections=3)
      >>> found = attack(*attacks.example(), jax.random.key(0))
      >>> bool((found.distance < 4).all())
      True
    """
    minimal = Bisection(attack, num_bisections)
    minimal.check()
    return minimal


@partial(jax.jit, static_argnums=1)
def _bisect(  # noqa: PLR0917 (the arguments of a call)
    minimal: Bisection,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    keys: Keys,
    targets: Array | None,
) -> Perturbation:
    norm: Norm = minimal.attack.norm  # type: ignore[attr-defined]

    def attack_one(
        epsilon: Array, image: Array, label: Array, key: Key, target: Array | None
    ) -> Perturbation:
        attack = at_epsilon(minimal.attack, epsilon)
        target = None if target is None else target[None]
        found = perturb_fn(attack)(
            apply_fn, params, image[None], label[None], key[None], targets=target
        )
        return jax.tree.map(lambda leaf: leaf[0], found)

    def attack_all(epsilons: Array) -> Perturbation:
        return jax.vmap(attack_one)(epsilons, images, labels, keys, targets)

    def halve(state: tuple[Array, Array, Perturbation], _: None) -> tuple[Any, None]:
        low, high, best = state
        radius = (low + high) / 2
        found = attack_all(jnp.where(radius > 0, radius, largest))  # 0 if clean was enough
        low = jnp.where(found.is_adversarial, low, radius)
        high = jnp.where(found.is_adversarial, jnp.minimum(found.distance, high), high)
        return (low, high, auto.worst_case([best, found])), None

    largest = jnp.full(images.shape[0], minimal.attack.epsilon, images.dtype)  # type: ignore[attr-defined]
    clean = auto.clean(norm, apply_fn, params, images, labels, keys, targets=targets)
    best = auto.worst_case([clean, attack_all(largest)])
    high = jnp.where(best.is_adversarial, best.distance, largest)
    start = (jnp.zeros_like(high), high, best)
    (_, _, best), _ = jax.lax.scan(halve, start, length=minimal.num_bisections)
    return best._replace(distance=jnp.where(best.is_adversarial, best.distance, jnp.inf))
