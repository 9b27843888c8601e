"""Strict JAX for every test: implicit rank promotion raises, and products are of full precision.

Compiled fast rather than well. Examples of hypothesis are the same at every run, so that a red test
is a change's doing; new ones are sought by `--hypothesis-profile=default`.
"""

import gc
import importlib.util
import os
import warnings

import hypothesis
import jax
import numpy as np
import pytest

# With optimisations off, compiling takes half as long by XLA's older emitters, and a sixth less by
# one thread, since the cores have tests of their own. Read at first use.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )
)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # GPUs keep 10 bits by default
jax.config.update("jax_disable_most_optimizations", True)  # tests spend their time compiling
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # of the programs that tests start

gc.set_threshold(50_000, 20, 100)  # of the graphs of programs few are garbage: 3 % of the time

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Compiled programs of one file of tests are of no use to the next."""
    yield
    jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    """The key of a test."""
    return jax.random.key(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """The numbers of a test that need no key: drawn by NumPy, they compile nothing."""
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """Float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def torch_with_timm():
    """torch, with torchvision and timm loaded."""
    torch = pytest.importorskip("torch")
    for package in ("torchvision", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns that it cannot read image files
        try:
            import torchvision  # noqa: PLC0415
        except RuntimeError:
            # Its compiled operators are those of another build of torch (the one for CPU beside
            # torchvision for CUDA). Networks do without, but for two declarations.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
            import torchvision  # noqa: F401, PLC0415
        import timm  # noqa: F401, PLC0415
    yield torch  # and keep what was declared
