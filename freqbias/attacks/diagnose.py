"""Signs that an attack failed, so that its robust accuracy means nothing: `diagnose`.

A network may stand because it is robust, or because the attack could not see where to go: its
gradients vanish, are masked or mislead. In the second case there are signs of it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.attacks.evaluate import at_epsilon, evaluate, logits_in_batches
from freqbias.attacks.gradient import fgsm
from freqbias.attacks.losses import margin
from freqbias.attacks.norms import Norm, defines
from freqbias.attacks.protocol import Attack
from freqbias.attacks.square import square
from freqbias.ensemble import Strategy
from freqbias.typing import ApplyFn, Array, ArrayLike, Keys, Params, Status

_margin = jax.jit(margin)
_SMALL = 0.01  # of epsilon: a step so short that the loss is about linear in it


class Diagnosis(NamedTuple):
    """Flags of failed attacks, bool [N]; with an ensemble, every leaf leads with [S].

    All but ``not_finite`` are False where the clean image is misclassified.

    Attributes:
      correct: predicted correctly when clean.
      no_gradient: the attack saw no gradient that is not exactly zero (status DEAD).
      not_finite: a logit or gradient was not finite (status DIVERGED), whatever the prediction: a
        network of NaNs predicts nothing correctly, and all other flags would be False.
      no_progress: the attack failed, and its perturbation does not raise the `margin`.
      no_ascent: a step of epsilon / 100 along the margin's gradient does not raise the margin.
      black_box_wins: the attack failed, and the black box succeeded.
      stands_unbounded: the attack fails even if its ball holds the whole box.
    """

    correct: np.ndarray
    no_gradient: np.ndarray
    not_finite: np.ndarray
    no_progress: np.ndarray
    no_ascent: np.ndarray
    black_box_wins: np.ndarray
    stands_unbounded: np.ndarray

    @property
    def shares(self) -> dict[str, np.ndarray]:
        """Of each flag, the share of the images that are correct when clean; scalars, or [S].

        Of ``not_finite``, the share of all images. NaN where no image is correct.
        """
        correct = self.correct.sum(-1)
        correct = np.where(correct > 0, correct, np.nan)
        counts = {name: getattr(self, name).sum(-1) / correct for name in self._fields[1:]}
        return counts | {"not_finite": self.not_finite.mean(-1)}

    def failed(self, tolerance: float = 0.01) -> tuple[str, ...]:
        """Flags raised for more than a share ``tolerance`` of the images; () is a clean bill.

        "correct" is among them if no image is correct when clean: there was nothing to diagnose.
        With an ensemble, of any network; ``shares`` says of which.
        """
        nothing = () if self.correct.any(-1).all() else ("correct",)
        raised = (name for name, share in self.shares.items() if np.any(share > tolerance))
        return nothing + tuple(raised)


@checked
def diagnose(  # noqa: PLR0917 (an attack and its arguments)
    attack: Attack,
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    key: Keys,
    *,
    black_box: Attack | None = None,
    batch_size: int = 256,
    seeds: Sequence[int] | None = None,
    strategy: Strategy = "auto",
) -> Diagnosis:
    """Looks for signs that an attack failed on a network, or on each of an ensemble.

    Costs two runs of the attack, one of the black box and one gradient. The margin is checked
    whatever loss the attack ascends.

    Args:
      attack: of a fixed budget, untargeted, with ``norm``, ``epsilon`` and ``bounds``.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network; with ``seeds``, leaves [S, ...].
      images: [N, H, W, C] within bounds.
      labels: int [N].
      key: as in `evaluate`.
      black_box: an attack without gradients; by default `square` of 500 queries in L1, L2 and
        L-inf, and none in other norms.
      batch_size: images attacked at once, of each network.
      seeds: of an ensemble, as in `evaluate`; None for one network.
      strategy: of the seed axis, see `freqbias.ensemble`.

    Returns:
      A `Diagnosis`.

    Raises:
      ValueError: the attack is targeted, has no epsilon or no bounds; or as in `evaluate`.

    Example:
      >>> import jax
      >>> from freqbias import attacks
      >>> attack = attacks.pgd(attacks.Linf(), epsilon=0.03, num_steps=5, loss="margin")
      >>> box = attacks.square(attacks.Linf(), epsilon=0.03, num_steps=10)
      >>> found = attacks.diagnose(attack, *attacks.example(), jax.random.key(0), black_box=box)
      >>> found.failed()
      ()

    Reference:
      Croce and Hein, 2003.01690, section 3; Pintor et al., 2106.09947, section 3.
    """
    _checks.floating("images", images)
    bounds = getattr(attack, "bounds", None)
    if getattr(attack, "targeted", False) or bounds is None:
        raise ValueError(f"attack must be untargeted and have bounds; got {attack}.")
    at_epsilon(attack, 1.0)  # raises where there is none
    norm, epsilon = attack.norm, attack.epsilon  # type: ignore[attr-defined]
    if black_box is None and defines(norm, "windows"):
        black_box = square(norm, epsilon=epsilon, num_steps=500, bounds=bounds)
    box = np.full(np.shape(images)[1:], bounds[1] - bounds[0], jnp.result_type(images))
    everywhere = at_epsilon(attack, float(_value(norm, box)))
    short = fgsm(norm, epsilon=_SMALL * epsilon, loss="margin", bounds=bounds)

    options: dict[str, Any] = {"batch_size": batch_size, "seeds": seeds, "strategy": strategy}
    margin_fn = _margin if seeds is None else jax.vmap(_margin, (0, None))

    def run(attack: Attack) -> Any:
        return evaluate(attack, apply_fn, params, images, labels, key, **options).perturbation

    def margins(images: np.ndarray) -> np.ndarray:
        size, axis = min(batch_size, correct.shape[-1]), None if seeds is None else strategy
        logits = logits_in_batches(apply_fn, params, images, batch_size=size, strategy=axis)
        return np.asarray(margin_fn(logits, np.asarray(labels)))

    found = run(attack)
    correct = found.clean_correct
    stands = correct & ~found.is_adversarial
    images = np.asarray(images)
    progress = margins(images + found.delta) > margins(images)
    nothing = np.zeros_like(correct)
    return Diagnosis(
        correct=correct,
        no_gradient=correct & (found.status == Status.DEAD),
        not_finite=found.status == Status.DIVERGED,
        no_progress=stands & ~progress,
        no_ascent=correct & (run(short).distance == 0),
        black_box_wins=nothing if black_box is None else stands & run(black_box).is_adversarial,
        stands_unbounded=correct & ~run(everywhere).is_adversarial,
    )


@jax.jit
def _value(norm: Norm, delta: Array) -> Array:
    return norm.value(delta)
