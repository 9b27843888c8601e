"""The page of the linear study: its tables, figures and words, all from rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from freqbias.report import Page, ReportFigure, Section, Table
from freqbias.report.claims import claims_by_dataset
from freqbias.report.markup import bold, counted, number, signed, words
from freqbias.report.page import Block, Whole
from freqbias.study.linear import figures, summary
from freqbias.study.linear.figures import Column
from freqbias.study.linear.summary import Results

CONV_FC = ("conv_k3_d1", "fc_d1")
CONV_FC_NAMES = ("conv K=3", "FC")
SHALLOW = (
    *("fc_d1", "conv_k3_d1", "conv_k7_d1", "conv_full_d1", "locally_connected_k3_d1"),
    *("conv_k3_d2", "conv_k3_d3"),
)
CONTRASTS = {
    "K=3 \N{MINUS SIGN} FC": CONV_FC,
    "full \N{MINUS SIGN} FC": ("conv_full_d1", "fc_d1"),
    "unshared \N{MINUS SIGN} FC": ("locally_connected_k3_d1", "fc_d1"),
    "K=3 \N{MINUS SIGN} unshared": ("conv_k3_d1", "locally_connected_k3_d1"),
    "K=3 \N{MINUS SIGN} FC, 2 layers": ("conv_k3_d2", "fc_d2"),
}
LAYERS = {
    "K=3": ("conv_k3_d1", "kernel_slack"),
    "K=7": ("conv_k7_d1", "kernel_slack"),
    "K=3, layer 1 of 2": ("conv_k3_d2", "kernel_slack"),
    "K=3, layer 2 of 2": ("conv_k3_d2", "kernel_slack_2"),
}
LOSSES = (-0.05, -0.1, -0.2, -0.3, -0.5, -0.75, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
_GAPS = (0.0, 1.3)
_FREQUENCY = "mean frequency of beta (cycles/pixel)"
_LEARNED = "mean frequency of beta \N{MINUS SIGN} beta₀ (cycles/pixel)"
_BANDS = (
    "Lines: mean over seeds, each trained on its own sample; bands: 95 % t intervals. Open "
    "markers: the step by which half of the seeds are separated."
)
_CELLS = (
    "Red: conv higher; hatched: the 95 % Welch interval over seeds includes 0 (cell by cell, not "
    "corrected for their number); white: too few seeds have a reading. One colour scale for all "
    "panels."
)


def make_page(results: Results, claims: Sequence[Mapping[str, Any]]) -> Page:
    """The page.

    Args:
      results: of a run.
      claims: the records of ``claims.json``.
    """
    rows = results.rows
    lead = (
        f"{_networks(rows):,} linear networks ({rows['arm'].nunique()} architectures, "
        f"{len(results.tasks)} binary tasks, {rows['seed'].nunique()} seeds) from initialisation "
        f"to step {results.recorded[-1]:,} of full-batch descent on the sphere. beta is the "
        "effective predictor: a linear network's L2 perturbation is parallel to it."
    )
    sections = [
        _when(results),
        _claims(results, claims),
        _sparsity(results),
        _kernels(results),
        _attacks(results),
        _numbers(results),
        _method(rows),
    ]
    return Page(
        "When do local kernels mean higher frequency?",
        [lead],
        [section for section in sections if section is not None],
    )


def _when(results: Results) -> Section:
    """The tension: curves, phase diagrams and the summary in words."""
    scales = sorted({cell.init_scale for cell in results.cells}, reverse=True)
    shown = [_curves(results, scale=scale) for scale in dict.fromkeys((scales[0], scales[-1]))]
    shown.append(_curves(results, scale=scales[0], column="learned_mean_frequency"))
    shown.append(_curves(results, scale=1.0, steps="large"))
    if not set(CONV_FC) <= set(results.present(CONV_FC)):
        return Section("when", "When", shown)
    shown += _maps(results, scales[0])
    table = Table(
        "Where the 95 % interval of conv K=3 minus FC lies, step by step (mean frequency of beta, "
        "cycles per pixel), and the difference at the last step. Computed from the rows.",
        summary.WORD_COLUMNS,
        summary.word_table(results, CONV_FC),
        folded="When, at which scale and at which N conv K=3 is above or below FC: every cell",
    )
    short = Table(
        "Readings (sample size x initial scale x recorded step) in which the 95 % interval of conv "
        "K=3 minus FC lies above 0 / below 0 / includes it, before and after half of the seeds of "
        "both are separated; of beta and of what was learned, beta minus beta₀.",
        summary.TALLY_COLUMNS,
        summary.tally_table(results, CONV_FC),
    )
    sentences = summary.sentences(results, CONV_FC, CONV_FC_NAMES)
    return Section("when", "When", [*sentences, short, table, *shown])


def _maps(results: Results, scale: float) -> list[ReportFigure]:
    """Phase diagrams of conv minus FC, and several contrasts at one scale."""
    shown = []
    steps = [float(step) for step in results.recorded]
    maps: list[tuple[str, str, str, Any]] = [
        (
            "phase_step",
            "Phase diagram: conv K=3 minus FC over training time, initial scale and sample size",
            "at equal steps. Black bar: from there half of the seeds of both are separated",
            {"clock": "step", "grid": steps},
        ),
        (
            "phase_separation",
            "The same against time since separation",
            "at equal multiples of each seed's own step of separation",
            {
                "clock": "separation",
                "grid": [0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0],
            },
        ),
        (
            "phase_loss",
            "The same at equal training loss",
            "at equal training loss, a clock that no step size sets",
            {"clock": "loss", "grid": LOSSES},
        ),
        (
            "phase_learned",
            "The same for what was learned, beta minus beta₀",
            "at equal steps, for beta minus its initial value",
            {"clock": "step", "grid": steps[1:], "column": "learned_mean_frequency"},
        ),
    ]
    for name, title, how, options in maps:
        shown.append(
            ReportFigure(
                name,
                title,
                f"Difference in mean frequency, {how}. {_CELLS}",
                "Heat maps of the difference between conv K=3 and fully connected nets, a row of "
                "panels per task and a column per sample size.",
                figures.difference_map(results, CONV_FC, **options),
            )
        )
    contrasts = {
        name: arms for name, arms in CONTRASTS.items() if len(results.present(arms)) == len(arms)
    }
    shown.append(
        ReportFigure(
            "contrasts",
            "Which ingredient: kernel size, sharing, depth",
            "Differences in mean frequency of beta between pairs of arms (columns) at initial "
            f"scale {scale:g}, small steps; 'unshared' is locally connected with 3 x 3 "
            f"windows. {_CELLS}",
            "Heat maps of differences between architectures over training step and sample size.",
            figures.contrast_map(results, contrasts, init_scale=scale),
        )
    )
    return shown


def _curves(
    results: Results,
    *,
    scale: float,
    column: str = "mean_frequency",
    steps: str = "small",
) -> ReportFigure:
    learned = column == "learned_mean_frequency"
    what = "beta minus beta₀" if learned else "beta"
    how = ", large constant steps" if steps == "large" else ""
    name = "large_steps" if steps == "large" else f"scale{scale:g}"
    missing = " Margins that were tried and not certified to 1e-3 are named in their panel."
    return ReportFigure(
        f"time_{'learned' if learned else 'beta'}_{name}",
        f"Mean frequency of {what} against training time, initial scale {scale:g}{how}",
        f"Mean frequency of {what} (cycles/pixel, zero frequency left out). {_BANDS} Dashed: "
        f"predictors of maximum margin on the sample of seed 0."
        f"{missing if results.limits else ''}",
        f"Line plots of the mean frequency of {what} by architecture, tasks by sample sizes.",
        figures.curves(
            results,
            column,
            results.present(SHALLOW),
            label=_LEARNED if learned else _FREQUENCY,
            init_scale=scale,
            steps=steps,
        ),
    )


def _claims(results: Results, claims: Sequence[Mapping[str, Any]]) -> Section:
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for claim in claims:
        by_id.setdefault(str(claim["id"]), []).append(claim)
    stated = [
        (
            bold(name),
            str(members[0]["statement"]),
            counted([str(claim["verdict"]) for claim in members]),
        )
        for name, members in by_id.items()
    ]
    content: list[Block] = [
        "Registered before the run; judged at the last step, small steps, on seeds whose "
        "sample is separated; Holm over the tasks and samples of a claim; initial scales 1 and "
        "1/2 must agree.",
        Table("What is claimed, and on how many tasks and samples with which verdict.",
              ("Claim", "Statement", "Verdicts"), stated),
        claims_by_dataset(
            claims,
            caption="Effects with 95 % intervals over seeds, and verdicts; shaded in the plots: "
            "effects within the margin, one scale per claim. What is not decided has its reason "
            "beside it.",
            folded=f"All {len(claims)} verdicts",
            title=lambda dataset: _sample_title(dataset, results),
            first="Task and sample",
        ),
        Whole(words()),
    ]  # fmt: skip
    return Section("claims", "Claims", content if claims else ["No claim was tested in this run."])


def _sample_title(dataset: str, results: Results) -> str:
    """``patches_1_2, N=128`` with the task's title."""
    name, _, size = dataset.rpartition(", N=")
    return f"{results.title(name)}, N = {size}"


def _sparsity(results: Results) -> Section:
    """C7."""
    wide = results.present(("fc_d1", "fc_d2", "conv_full_d1", "conv_full_d2"))
    arms = results.present(
        (
            *("fc_d1", "conv_k3_d1", "conv_k7_d1", "conv_full_d1", "conv_full_d2"),
            "locally_connected_k3_d1",
        )
    )
    size = _middle_sizes(results.rows)
    return Section(
        "sparsity",
        "C7: what the margin of each architecture is",
        [
            "A certificate bounds the margin of every predictor at once: gap = 1 \N{MINUS SIGN} "
            "margin / bound, 0 at the maximum margin, above 1 before separation. The bound comes "
            "from the multipliers that training leaves (the mean of the loss's weights over recent "
            "steps).",
            ReportFigure(
                "sparsity",
                "Sparsity in frequency, certified gap and stationarity over time",
                "Participation ratio and Hoyer sparsity of the DFT of beta (dotted: white noise); "
                "gap of the certificate in the arm's own norm (l2 for FC, l1 of the DFT for "
                "full-width, R_K and windows for the others, with the net's own weight cost for "
                "the norm; none is known for deeper convolutions of limited width); 1 minus the "
                "cosine of weights and descent direction. Initial scale 1, small steps. "
                f"{_BANDS}",
                "Line plots of sparsity, duality gap and stationarity residual by architecture.",
                figures.columns_over_time(
                    results,
                    (
                        Column("participation_ratio", "participation ratio"),
                        Column("hoyer", "Hoyer sparsity"),
                        Column("gap_own", "gap, own norm", limits=_GAPS),
                        Column(
                            "parameter_residual",
                            "1 \N{MINUS SIGN} cos(w, \N{MINUS SIGN}grad)",
                            log=True,
                        ),
                    ),
                    arms,
                    num_train=size,
                ),
            ),
            ReportFigure(
                "gaps",
                "Each architecture approaches its own margin",
                "Certified gaps to the maximum l2 margin and to the maximum margin in the l1 norm "
                "of the DFT; KKT residual of the arm's own problem (separated seeds only), "
                f"for fully connected and full-width nets. Initial scale 1, small steps. {_BANDS}",
                "Line plots of certified gaps in two norms, fully connected and full-width nets.",
                figures.columns_over_time(
                    results,
                    (
                        Column("gap_l2", "gap, l2", limits=_GAPS),
                        Column("gap_fourier", "gap, l1 of the DFT", limits=_GAPS),
                        Column("stationarity_residual", "KKT residual", limits=(0.0, 1.05)),
                    ),
                    wide,
                    num_train=size,
                ),
            ),
        ],
    )


def _kernels(results: Results) -> Section | None:
    """C8; nothing where no convolution of limited width was run."""
    layers = {
        title: (arm, f"{column}_change")
        for title, (arm, column) in LAYERS.items()
        if results.present([arm])
    }
    if not layers:
        return None
    arms = results.present(("conv_k3_d1", "conv_k7_d1"))
    return Section(
        "kernels",
        "C8: kernels against their bound",
        [
            "A kernel of K x K taps has a least mean frequency (an eigenvalue). Slack is how far a "
            "layer lies above it. Random kernels have a flat expected spectrum, so their slack is "
            "large; the figure shows what training does to it. The bound constrains a layer, not "
            "the network: the readout is full-width.",
            ReportFigure(
                "slack",
                "Kernel slack, trained minus initial",
                "Below 0: training moved the kernels down, towards their bound. Initial scale 1, "
                "small steps. Lines: mean over seeds; bands: 95 % t intervals.",
                "Line plots of the change in kernel slack by layer and sample size.",
                figures.slack_curves(results, layers),
            ),
            ReportFigure(
                "slack_frequency",
                "Kernel slack and the frequency of beta, seed by seed",
                "One point per seed at the last step, initial scale 1, small steps. The registered "
                "claim is the rank correlation within an architecture and sample size.",
                "Scatter plots of the mean frequency of beta against kernel slack.",
                figures.slack_scatter(results, arms),
            ),
        ],
    )


def _attacks(results: Results) -> Section:
    """The linear half of C6."""
    rows = results.rows
    last = rows[rows["final"] & rows["delta_cosine"].notna()]
    worst = float(last["delta_cosine"].min())
    boxed = last[last["boxed_delta_cosine"].notna()]
    lines = []
    for (dataset, arm), part in boxed.groupby(["dataset", "arm"], sort=False):
        shift = part["boxed_mean_frequency"] - part["mean_frequency"]
        lines.append(
            (
                results.title(str(dataset)),
                results.looks[str(arm)].label,
                f"{part['boxed_delta_cosine'].mean():.3f}",
                signed(shift.mean(), 4),
                f"{signed(shift.min(), 4)} to {signed(shift.max(), 4)}",
            )
        )
    table = Table(
        "Perturbations of L2 norm 1 within the box [0, 1], 32 test images per network, all seeds, "
        "scales and samples at the last step.",
        (
            *("task", "architecture", "cosine of delta and beta"),
            *("frequency of delta minus beta's", "range"),
        ),
        lines,
        folded="With the box",
    )
    return Section(
        "attacks",
        "C6, linear half: the perturbation is the predictor",
        [
            "Without a box the closed-form L2 perturbation of a linear network is parallel to "
            f"beta: that is algebra. The least cosine over {len(last):,} networks is {worst:.7f}. "
            "The box [0, 1] bends it, as the table shows for the tasks of real images.",
            *([table] if lines else []),
        ],
    )


def _numbers(results: Results) -> Section:
    rows = results.rows
    last = rows[rows["final"] & (rows["init_scale"] == 1.0)]
    lines = []
    keys = ["dataset", "num_train", "arm", "step_size"]
    for (dataset, num, arm, step_size), part in last.groupby(keys, sort=False):
        live = part[part["status"] == "ok"]
        lines.append(
            (
                results.title(str(dataset)),
                str(num),
                results.looks[str(arm)].label,
                "small" if step_size == results.small_step else "large",
                f"{int(part['separated'].sum())}/{len(part)}",
                *(
                    _mean(live, name, digits)
                    for name, digits in (
                        ("test_accuracy", 2),
                        ("log_loss", 1),
                        ("mean_frequency", 3),
                        ("learned_mean_frequency", 3),
                        ("learned_share", 2),
                        ("outside_share", 3),
                        ("seed_cosine", 3),
                        ("gap_own", 3),
                        ("parameter_residual", 3),
                    )
                ),
            )
        )
    solved = [
        (
            results.title(limit["task"]),
            str(limit["num_train"]),
            str(limit["norm"]),
            str(limit["status"]).replace("_", " "),
            "\N{EN DASH}" if limit["gap"] is None else f"{limit['gap']:.2g}",
            str(limit["max_iterations"]),
            number(limit["mean_frequency"]),
        )
        for limit in results.limits
    ]
    failed = int((rows.drop_duplicates(_NETWORK)["status"] != "ok").sum())
    return Section(
        "numbers",
        "Numbers and failures",
        [
            f"{failed} of {_networks(rows):,} networks diverged.",
            Table(
                "Means over seeds at the last step, initial scale 1. Outside: energy of beta "
                "outside the subspace that holds 99 % of the pool's variance. Learned share: "
                "energy of beta \N{MINUS SIGN} beta₀ over that plus the energy of beta₀.",
                (
                    *("task", "N", "architecture", "steps", "separated", "test accuracy"),
                    *("log loss", "beta", "learned", "learned share", "outside", "seed cosine"),
                    *("gap, own norm", "parameter residual"),
                ),
                lines,
                folded=f"Where training ended: {len(lines)} lines",
            ),
            Table(
                "Maximum margins on the sample of seed 0, and what certifies them. Newton steps: "
                "the most that were allowed.",
                ("task", "N", "norm", "status", "gap", "Newton steps", "mean frequency"),
                solved,
                folded="Maximum margins that were solved for",
            ),
        ],
    )


_NETWORK = ["dataset", "arm", "num_train", "init_scale", "step_size", "seed"]


def _networks(rows: pd.DataFrame) -> int:
    return len(rows[_NETWORK].drop_duplicates())


def _middle_sizes(rows: pd.DataFrame) -> dict[str, int]:
    """For each task its middle sample size, the lower of two."""
    sizes = rows.groupby("dataset", sort=False)["num_train"].unique()
    return {str(name): int(sorted(found)[(len(found) - 1) // 2]) for name, found in sizes.items()}


def _mean(rows: pd.DataFrame, column: str, digits: int) -> str:
    return number(rows[column].mean(), digits)


def _method(rows: pd.DataFrame) -> Section:
    sizes = sorted(rows["step_size"].unique())
    return Section(
        "method",
        "Method and limits",
        [
            "Tasks are binary, through the origin, standardised; samples are class-balanced and "
            "nested, drawn per seed without replacement. Labels of 'noise' are coins; the "
            "'teacher' is linear with a spectrum between 0.15 and 0.25 cycles per pixel.",
            "Training is full-batch gradient descent on the exponential loss at the real scale of "
            "the weights, in steps relative to their norm: small steps begin at "
            f"{sizes[0]:g} and decay as the inverse root of time, large ones stay at "
            f"{sizes[-1]:g}. Fully connected nets are balanced and stand for any width. "
            "Convolutions have one channel, circular borders and a full-width readout.",
            "The two step sizes matter: in steps of constant size the weights chatter around the "
            "valley, which gradient flow does not. Compare the two blocks of the phase diagram.",
            "Mean frequency: power of the DFT, zero frequency left out, normalised, times radius; "
            "per network. Intervals are over seeds (sample and initial weights), 95 %.",
            "What this is not: cross-entropy of ten classes, minibatches, momentum or several "
            "channels (see experiments.reproduce). Photographs are few, and their patches overlap.",
        ],
    )
