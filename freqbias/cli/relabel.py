"""How often do the rules see a difference where there is none, and find one that is planted?

    freqbias kernel_size --kernel_sizes=3 --seeds=0-15 --out=results/seeds
    freqbias relabel --run=results/seeds

The seeds of one arm are dealt into two halves, a thousand times. Between halves there is nothing to
find, so that a verdict (supported or opposite, by the interval and the smallest margin of the run's
contrasts in mean frequency) is false: at most 5 % may be, and without a margin about 5 % are. Then
a shift of twice the margin, one margin beyond it, is planted in one half; the share of deals in
which it is found stands beside what the same rule finds among normal values of the spread of these
seeds (`inference.predicted_shift_power`).

Prints a table, one line per arm, and writes it to relabelled.csv in the folder of the run.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from absl import flags as absl_flags

from freqbias import _checks, inference, runs
from freqbias.cli import flags
from freqbias.study import finished

DEALS = absl_flags.DEFINE_integer("deals", 1000, "How often the seeds of an arm are dealt anew.")
FEWEST = 4  # seeds in a half


class Plan(NamedTuple):
    """A checked request."""

    run: Path
    rows: pd.DataFrame
    margin: float
    confidence: float
    deals: int


def prepare() -> Plan:
    """Checks the flags and reads the rows."""
    _checks.positive_int("deals", DEALS.value)
    registry = finished.registry_of(flags.RUN.value)
    margins = {
        claim.margin
        for claim in registry.claims
        if claim.statistic == "mean_frequency" and claim.kind == "contrast"
    }
    if not margins:
        raise ValueError(f"run {flags.RUN.value} must have a claim on mean_frequency; it has none.")
    rows = finished.judged_rows(flags.RUN.value)
    return Plan(Path(flags.RUN.value), rows, min(margins), registry.confidence, DEALS.value)


def execute(plan: Plan) -> None:
    """Deals, counts and prints."""
    table = relabelled(plan.rows, plan.margin, confidence=plan.confidence, deals=plan.deals)
    if table.empty:
        print(f"no arm of {plan.run} has {2 * FEWEST} live seeds")
        return
    runs.write_file(plan.run, "relabelled.csv", table.to_csv(index=False).encode())
    print(table.to_string(index=False, float_format="{:.3f}".format))
    rates = table[["false_without_margin", "false", "found", "predicted"]].mean()
    print(f"mean over {len(table)} arms:", *(f"{name} {rate:.3f}" for name, rate in rates.items()))


def relabelled(rows: pd.DataFrame, margin: float, *, confidence: float, deals: int) -> pd.DataFrame:
    """One line per data set, regime, arm, initial scale and attack, of mean frequency.

    Args:
      rows: of trained networks.
      margin: of the claim, cycles per pixel.
      confidence: of the intervals.
      deals: number of deals.

    Returns:
      The number of live seeds; the rates of false verdicts without and with the margin; the rate at
      which a shift of twice the margin is found, and the rate predicted. Arms with fewer than eight
      live seeds are left out.
    """
    names = ["dataset", "regime", "arm", "init_scale", "attack"]
    lines: list[dict[str, Any]] = []
    for key, group in rows[rows["status"] == "ok"].groupby(names, sort=False):
        values = group["mean_frequency"].dropna().to_numpy(float)
        half = len(values) // 2
        if half < FEWEST:
            continue
        halves = values[:half], values[half:]
        dealt: Any = {"seed": 0, "num": deals, "confidence": confidence}
        shift = 2 * margin
        lines.append(
            {
                **dict(zip(names, key, strict=True)),
                "seeds": len(values),
                "false_without_margin": inference.relabelling_rate(*halves, 0.0, **dealt),
                "false": inference.relabelling_rate(*halves, margin, **dealt),
                "found": inference.planted_shift_power(*halves, shift, margin, **dealt),
                "predicted": inference.predicted_shift_power(
                    float(values.std(ddof=1)),
                    (half, len(values) - half),
                    shift,
                    margin,
                    confidence=confidence,
                ),
            }
        )
    return pd.DataFrame(lines)


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=("run", "compilation_cache"))
