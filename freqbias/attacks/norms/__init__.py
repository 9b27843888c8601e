"""Norms: the geometries of attacks.

`L0`, `L1`, `L2`, `Linf` count pixels (lp.py), `Lp` is any between L1 and L-inf (general_lp.py);
`FourierL1`, `FourierLinf`, `WeightedFourierL2` count frequencies (fourier.py); `band_limited`
restricts a norm to some of them (band.py). What a norm is, base.py says.
"""

from freqbias.attacks.norms.band import BandLimited as BandLimited
from freqbias.attacks.norms.band import band_limited as band_limited
from freqbias.attacks.norms.base import Bounds as Bounds
from freqbias.attacks.norms.base import Line as Line
from freqbias.attacks.norms.base import Norm as Norm
from freqbias.attacks.norms.base import Plane as Plane
from freqbias.attacks.norms.base import Shortest as Shortest
from freqbias.attacks.norms.base import Windows as Windows
from freqbias.attacks.norms.base import check_norm as check_norm
from freqbias.attacks.norms.base import defines as defines
from freqbias.attacks.norms.base import reach as reach
from freqbias.attacks.norms.fourier import FourierL1 as FourierL1
from freqbias.attacks.norms.fourier import FourierLinf as FourierLinf
from freqbias.attacks.norms.fourier import WeightedFourierL2 as WeightedFourierL2
from freqbias.attacks.norms.fourier import weighted_fourier_l2 as weighted_fourier_l2
from freqbias.attacks.norms.general_lp import Lp as Lp
from freqbias.attacks.norms.l0 import L0 as L0
from freqbias.attacks.norms.lp import L1 as L1
from freqbias.attacks.norms.lp import L2 as L2
from freqbias.attacks.norms.lp import Linf as Linf
