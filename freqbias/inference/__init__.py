"""From numbers per seed to an effect, an interval over seeds and a verdict on a claim.

The unit of replication is the seed: each number that enters here is one trained network's, the
mean over its images (``images``, which leaves out and counts what has no value). Means,
differences, trends, main effects and interactions are all contrasts of independent arm means with
Welch-Satterthwaite degrees of freedom (`contrast_interval`). NumPy in float64; takes any array.
``estimates`` has the intervals, ``verdicts`` the words and Holm's correction, ``heterogeneity``
the comparison of data sets, ``power`` what the rules find, ``factors`` the variance over networks
shared out between what was varied.
"""

from freqbias.inference.estimates import (
    Estimate,
    Population,
    contrast_interval,
    crossed_interval,
    difference_interval,
    mean_interval,
    rank_association,
    trend_interval,
)
from freqbias.inference.factors import (
    INTERACTIONS,
    SEEDS,
    VarianceShare,
    confounded,
    variance_shares,
)
from freqbias.inference.heterogeneity import Heterogeneity, heterogeneity
from freqbias.inference.images import ImageMeans, image_means
from freqbias.inference.jackknife import own_minus_others
from freqbias.inference.power import (
    detectable_effect,
    planted_shift_power,
    predicted_shift_power,
    relabelling_rate,
)
from freqbias.inference.sources import EffectRange, effect_range
from freqbias.inference.verdicts import (
    Decision,
    Direction,
    Fitness,
    Verdict,
    decide,
    holm,
    verdicts,
)

__all__ = [
    "INTERACTIONS",
    "SEEDS",
    "Decision",
    "Direction",
    "EffectRange",
    "Estimate",
    "Fitness",
    "Heterogeneity",
    "ImageMeans",
    "Population",
    "VarianceShare",
    "Verdict",
    "confounded",
    "contrast_interval",
    "crossed_interval",
    "decide",
    "detectable_effect",
    "difference_interval",
    "effect_range",
    "heterogeneity",
    "holm",
    "image_means",
    "mean_interval",
    "own_minus_others",
    "planted_shift_power",
    "predicted_shift_power",
    "rank_association",
    "relabelling_rate",
    "trend_interval",
    "variance_shares",
    "verdicts",
]
