"""What a linear network must learn, exactly, and how far a trained one is from it.

``predictor`` reads a network as one linear functional; ``regularizers`` has the norms that
architectures minimise; ``margins`` solves for the predictor of greatest margin in any of them,
and ``certificate`` bounds it; ``likelihood`` has the end of cross-entropy where nothing separates;
``direction`` trains ensembles of linear networks to where they go and ``stationarity`` tests
whether they are there; ``localization`` says what a kernel of K taps can do in frequency;
``dynamics`` says when each frequency is learnt.
"""

from freqbias.theory.certificate import (
    Certificate,
    certificate,
)
from freqbias.theory.direction import (
    DirectionReading,
    DirectionState,
    LinearNet,
    conv_net,
    dense_net,
    init_direction,
    locally_connected_net,
    read_direction,
    train_direction,
)
from freqbias.theory.dynamics import (
    FourierProblem,
    amplitude_trajectory,
    fourier_problem,
    gradient_descent_amplitude,
    learning_time,
)
from freqbias.theory.likelihood import (
    MaximumLikelihood,
    maximum_likelihood,
)
from freqbias.theory.localization import (
    HarperBound,
    RandomPrediction,
    SpectralRange,
    band_energy_range,
    contiguous_bound,
    cosine_spread,
    donoho_stark_bound,
    harper_bound,
    kernel_mean_frequency,
    kernel_slack,
    massar_spindel_slack,
    mean_frequency_range,
    random_kernel_mean_frequency,
    random_kernel_power,
    random_net_power_moment,
    rms_frequency_bound,
    spectral_range,
)
from freqbias.theory.margins import (
    MaxMargin,
    max_margin,
    support_vector_machine,
)
from freqbias.theory.predictor import (
    check_affine,
    conv_predictor,
    dense_predictor,
    kernel_response,
    locally_connected_predictor,
    margin_gradient,
    pair_margin,
)
from freqbias.theory.regularizers import (
    CertifiedNorm,
    Regularizer,
    conv_cost,
    dense_cost,
    dual_norm,
    fourier_regularizer,
    kernel_norm,
    kernel_regularizer,
    l2_regularizer,
    locally_connected_norm,
    locally_connected_regularizer,
    nuclear_regularizer,
)
from freqbias.theory.stationarity import (
    Stationarity,
    fourier_stationarity,
    layer_balance,
    parameter_stationarity,
)

__all__ = [
    "Certificate",
    "CertifiedNorm",
    "DirectionReading",
    "DirectionState",
    "FourierProblem",
    "HarperBound",
    "LinearNet",
    "MaxMargin",
    "MaximumLikelihood",
    "RandomPrediction",
    "Regularizer",
    "SpectralRange",
    "Stationarity",
    "amplitude_trajectory",
    "band_energy_range",
    "certificate",
    "check_affine",
    "contiguous_bound",
    "conv_cost",
    "conv_net",
    "conv_predictor",
    "cosine_spread",
    "dense_cost",
    "dense_net",
    "dense_predictor",
    "donoho_stark_bound",
    "dual_norm",
    "fourier_problem",
    "fourier_regularizer",
    "fourier_stationarity",
    "gradient_descent_amplitude",
    "harper_bound",
    "init_direction",
    "kernel_mean_frequency",
    "kernel_norm",
    "kernel_regularizer",
    "kernel_response",
    "kernel_slack",
    "l2_regularizer",
    "layer_balance",
    "learning_time",
    "locally_connected_net",
    "locally_connected_norm",
    "locally_connected_predictor",
    "locally_connected_regularizer",
    "margin_gradient",
    "massar_spindel_slack",
    "max_margin",
    "maximum_likelihood",
    "mean_frequency_range",
    "nuclear_regularizer",
    "pair_margin",
    "parameter_stationarity",
    "random_kernel_mean_frequency",
    "random_kernel_power",
    "random_net_power_moment",
    "read_direction",
    "rms_frequency_bound",
    "spectral_range",
    "support_vector_machine",
    "train_direction",
]
