r"""freqbias beside its peers, on the same weights, images and steps.

  pip install ".[peers]" && python -m benchmarks
  python -m benchmarks --preset=smoke --out=/tmp/benchmarks        # a few minutes: does it work?
  python -m benchmarks --suites=pgd --networks=fc_1x64,conv_9_3x16 --repeats=5

Each suite writes, under ``--out``, in a folder named after the device, all repeats in SUITE.csv,
what they were made by and on in SUITE.json, and in SUITE.md medians and ratios to the best torch
peer. Rows are written after each case, in place of those of the same case and library; the others
stay. Peers that are not installed are left out. Minutes on two quiet cores, about:
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags
from tqdm import tqdm

from benchmarks import (
    attacks,
    convolution,
    fresh,
    harness,
    networks,
    pgd,
    scaling,
    tables,
    training,
)

SUITES = {
    suite.name: suite
    for suite in (
        pgd.SUITE,
        training.SUITE,
        scaling.SUITE,
        attacks.AUTOATTACK,
        attacks.MINIMALS,
        fresh.SUITE,
        convolution.SUITE,
        attacks.STRENGTH,
    )
}
DEFAULT = [name for name in SUITES if name not in ("attacks", "routes")]
__doc__ += "\n" + "\n".join(
    f"  {suite.name:12}{suite.minutes:4.0f}  {suite.title}"
    + ("" if suite.name in DEFAULT else " (only if asked for)")
    for suite in SUITES.values()
)

PRESET = flags.DEFINE_enum(
    "preset",
    "full",
    ["smoke", "full"],
    f"full: {sum(SUITES[name].minutes for name in DEFAULT):.0f} minutes on two cores; smoke: tiny "
    "sizes, a few minutes, whose numbers mean nothing.",
)
CHOSEN = flags.DEFINE_list("suites", DEFAULT, f"Of {', '.join(SUITES)}.")
NETS = flags.DEFINE_list(
    "networks", [], "Like fc_1x64, conv_9_3x16; of suites other than scaling; default: their own."
)
ATTACKS = flags.DEFINE_list("attacks", [], "Like ddn_l2; of suites that have them; default: all.")
LIBRARIES = flags.DEFINE_list(
    "libraries", list(harness.LIBRARIES), "Compared, if installed; freqbias always is."
)
REPEATS = flags.DEFINE_integer("repeats", 3, "Timed runs of each, interleaved.", lower_bound=1)
SECONDS = flags.DEFINE_float(
    "seconds", 5.0, "Aimed at for one run of a peer; slower ones do less.", lower_bound=0.01
)
OUT = flags.DEFINE_string("out", "benchmarks/results", "Folder of the folders of devices.")


def _names(flag: str, of: Sequence[str]) -> None:
    flags.register_validator(
        flag, lambda names: set(names) <= set(of), f"must be of {', '.join(of)}."
    )


_names("suites", list(SUITES))
_names("libraries", harness.LIBRARIES)
_names("attacks", [pair.name for pair in attacks.pairs()])


@flags.validator("networks", "must be like fc_1x64, conv_9_3x16 or local_3_1x8.")
def _are_networks(names: list[str]) -> bool:
    return all(networks.is_name(name) for name in names)


def settings() -> harness.Settings:
    """What the flags say."""
    return harness.Settings(
        repeats=REPEATS.value,
        seconds=SECONDS.value,
        smoke=PRESET.value == "smoke",
        networks=tuple(NETS.value),
        libraries=tuple({harness.OURS, *LIBRARIES.value}),
        attacks=tuple(ATTACKS.value),
    )


def main(argv: Sequence[str]) -> None:
    """Measures case by case, and prints each suite's page."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    if missing := [name for name in harness.LIBRARIES if not harness.installed(name)]:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    folder, machine = Path(OUT.value) / harness.device(), harness.machine()
    work = {name: SUITES[name].cases(settings()) for name in CHOSEN.value}
    with tqdm(total=sum(map(len, work.values())), unit="case", smoothing=0) as bar:
        for name, cases in work.items():
            page = ""
            for case in cases:
                bar.set_description(" ".join([name, *map(str, case.key.values())]))
                rows = [case.key | row for row in case.measure()]
                page = tables.write(SUITES[name], rows, folder, machine)
                jax.clear_caches()
                bar.update()
            bar.write(page, file=sys.stdout)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
