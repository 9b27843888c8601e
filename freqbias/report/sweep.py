"""The report of a study of attacks on trained networks, from the contents of its run."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from freqbias import inference, plotting, runs, schema
from freqbias._checked import checked
from freqbias.data import titles
from freqbias.plotting import UNKNOWN, Drawn
from freqbias.plotting.style import regime_name
from freqbias.report.bridge import bridge, split
from freqbias.report.claims import (
    Panel,
    all_deviations,
    all_tests,
    claims_by_dataset,
    claims_table,
    independence_table,
    panel_head,
    readings_table,
    tally,
)
from freqbias.report.ends import ends
from freqbias.report.figures import (
    BY_BAND,
    COURSE,
    EFFECTS_BY_DATASET,
    FACTORS,
    ORDER,
    OwnFigure,
    ReportFigure,
    check_rows,
    make_figures,
)
from freqbias.report.findings import findings
from freqbias.report.markup import bold, joined, link, percent, signed, soft, tag, words
from freqbias.report.page import (
    Block,
    Bullets,
    Heading,
    Page,
    Section,
    Table,
    Whole,
    build_page,
    write_page,
)
from freqbias.report.why import why
from freqbias.schema import Rows


@checked
def build_report(
    rows: Rows,
    claims: Mapping[str, Any],
    spectra: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    looks: Drawn = UNKNOWN,
    own: Sequence[OwnFigure] = (),
) -> str:
    """The report of a study as one self-contained HTML page.

    Args:
      rows: one row per seed, setting and attack (`freqbias.plotting` names the columns).
      claims: the contents of ``claims.json``: ``{"claims": [...]}``.
      spectra: the arrays of ``spectra.npz``.
      config: the contents of ``config.json``.
      looks: how the arms are drawn, and what they differ in.
      own: measurements that have a figure of their own.

    Returns:
      The page. The same inputs give the same page.

    Raises:
      ValueError: ``rows`` is empty or lacks a column that the report needs.
    """
    return build_page(make_page(rows, claims, spectra, looks=looks, own=own), config)


@checked
def write_report(run_dir: str | os.PathLike) -> Path:
    """Writes ``figures/*.png``, ``figures/*.pdf`` and ``report.html`` into a run's folder.

    Args:
      run_dir: a run (`freqbias.runs`) that holds rows, ``claims.json``, ``spectra.npz`` and
        ``study.json``: a mapping with "drawn", how the arms are drawn (`Drawn.as_json`), and
        "figures", the fields of each `OwnFigure`.

    Returns:
      The path of ``report.html``.

    Raises:
      FileNotFoundError: ``run_dir`` holds no run, or the run lacks one of these.
      FileExistsError: a file that the run did not write is in the way.
      ValueError: the rows lack a column that the report needs, or ``study.json`` a part.
    """
    claims = runs.load_json(run_dir, "claims.json")
    study = runs.load_json(run_dir, "study.json")
    missing = [name for name in ("drawn", "figures") if name not in study]
    if missing:
        raise ValueError(f"study.json must have 'drawn' and 'figures'; missing: {missing}.")
    page = make_page(
        runs.read_rows(run_dir),
        claims,
        runs.load_arrays(run_dir, "spectra"),
        looks=Drawn.from_json(study["drawn"]),
        own=[OwnFigure(*figure) for figure in study["figures"]],
    )
    return write_page(run_dir, page)


def make_page(
    rows: pd.DataFrame,
    claims: Mapping[str, Any],
    spectra: Mapping[str, np.ndarray],
    *,
    looks: Drawn = UNKNOWN,
    own: Sequence[OwnFigure] = (),
) -> Page:
    """What the report says; arguments as those of `build_report`."""
    check_rows(rows)
    looks = looks.with_arms(rows["arm"])
    whole, (rows, claims, staged) = rows, split(rows, claims)
    if staged:
        spectra = _of_arms(spectra, set(rows["arm"]))
    figures = make_figures(rows, claims, spectra, looks, own)
    recorded, rows = rows, rows[rows["final"]]
    main = plotting.main_datasets(rows)
    minor = plotting.grouped_datasets([d for d in rows["dataset"] if d not in main])
    shown = rows[rows["dataset"].isin(main)]
    sections = [
        _found(claims, minor, figures),
        _claims(rows, claims, (main, minor), figures),
        bridge(whole, staged, looks),
        ends(whole, looks),
        why(recorded[recorded["dataset"].isin(main)], spectra, looks, figures),
        _figures(figures, main, minor),
        _factors(rows, figures, looks),
        _networks(shown, minor, looks),
        _method(rows),
        _limits(rows, looks),
        _numbers(rows, claims),
    ]
    return Page(
        "Frequency bias of adversarial perturbations",
        _lead(rows, main, minor),
        [section for section in sections if section is not None],
        attacks=_attacks(shown, rows[rows["dataset"].isin(minor)], minor),
        numbers=Markup(
            "<code>rows.csv</code> (one row per network and attack), <code>claims.json</code>, "
            "<code>spectra.npz</code>"
        ),
    )


def _of_arms(spectra: Mapping[str, np.ndarray], arms: set[str]) -> dict[str, np.ndarray]:
    """The arrays of some arms, and those of no arm."""
    keys = {name: schema.parse_array_key(name) for name in spectra}
    return {name: spectra[name] for name, key in keys.items() if key is None or key.arm in arms}


def _lead(rows: pd.DataFrame, main: Sequence[str], minor: Sequence[str]) -> list[str]:
    networks = _one_row_per_network(rows)
    images = sorted(set(rows["num_images"].dropna().astype(int)))
    scales = sorted(set(rows["init_scale"]), reverse=True)
    regimes = [regime_name(regime) for regime in dict.fromkeys(rows["regime"])]
    names = " and ".join(map(titles.title, main))
    further = f", and some of them on {len(minor)} further data sets" if minor else ""
    lead: list[str] = [
        f"{len(networks)} networks ({_num_live(networks)} live): {rows['arm'].nunique()} "
        f"architectures, {' and '.join(regimes)}, on {names}{further}; {rows['seed'].nunique()} "
        f"seeds each, init scale {', '.join(f'{scale:.3g}' for scale in scales)}; "
        f"{' or '.join(map(str, images))} test images attacked per network."
    ]
    if minor:
        places = link("#by-data-set", "by data set"), link("#numbers", "all numbers")
        lead.append(
            Markup(
                "Figures and tables with a panel per data set show {} only; the other sets stand "
                "{}, their numbers under {} and in {}."
            ).format(names, *places, link("rows.csv", "rows.csv"))
        )
    return lead


# --- Sections -------------------------------------------------------------------------------------


def _found(
    claims: Mapping[str, Any], minor: Sequence[str], figures: Sequence[ReportFigure]
) -> Section | None:
    """Where each claim holds, in sentences; how it came about, in one figure."""
    said = findings(claims.get("claims", ()), claims.get("readings", ()), minor=minor)
    course = [figure for figure in figures if figure.name == COURSE]
    if not said.items:
        return None
    return Section("found", "What was found", [said, *course], short="Findings")


def _claims(
    rows: pd.DataFrame,
    claims: Mapping[str, Any],
    datasets: tuple[Sequence[str], Sequence[str]],
    figures: Sequence[ReportFigure],
) -> Section:
    """The verdicts; ``datasets`` are the main ones, and the others."""
    main, minor = datasets
    listed = list(claims.get("claims", ()))
    tables = [claim for claim in listed if claim["dataset"] not in minor]
    # Some claims are about all data sets.
    tested = [(str(claim["dataset"]), str(claim["regime"])) for claim in tables]
    panels = list(dict.fromkeys([*_panels(rows[rows["dataset"].isin(main)]), *tested]))
    content: list[Block] = ["No claim was tested in this run."]
    if tables:
        content = [tally(tables), claims_table(tables, panels, others=bool(minor)), Whole(words())]
    by_dataset: list[Block] = [f for f in figures if f.name == EFFECTS_BY_DATASET]
    if few := _on_minor(listed, rows, minor):
        by_dataset.append(
            claims_by_dataset(
                few,
                caption="Claims on the data sets on which few arms were run, L2 attack; shaded in "
                "the plots: effects within the margin, one scale per claim and regime. What is not "
                "decided has its reason beside it.",
            )
        )
    if independence := list(claims.get("independence", ())):
        by_dataset.append(independence_table(independence))
    if read := list(claims.get("readings", ())):
        content += [Heading("In the course of training", "readings"), readings_table(read)]
    if by_dataset:
        content += [Heading("By data set", "by-data-set"), *by_dataset]
    return Section("claims", "Claims", content)


def _on_minor(
    claims: Sequence[Mapping[str, Any]], rows: pd.DataFrame, minor: Sequence[str]
) -> list[Mapping[str, Any]]:
    """The tests on minor data sets (L2), where all arms of the claim were run."""
    there = {tuple(found) for found in rows[["dataset", "regime", "arm"]].drop_duplicates().values}
    found = [
        claim
        for claim in claims
        if claim["dataset"] in minor
        and schema.geometry(claim["attack"]).role == "primary"
        and all((claim["dataset"], claim["regime"], a) in there for a in claim.get("arms") or ())
    ]
    return sorted(found, key=lambda claim: minor.index(claim["dataset"]))


_ELSEWHERE = (COURSE, ORDER, BY_BAND, FACTORS, EFFECTS_BY_DATASET)


def _figures(figures: Sequence[ReportFigure], main: Sequence[str], minor: Sequence[str]) -> Section:
    content: list[Block] = []
    if minor:
        also = ""
        if any(figure.name == "follows_the_data" for figure in figures):
            also = joined([" and ", link("#figure-follows_the_data", "against the data")])
        content.append(
            Markup(
                "Panels: {}. Left out, since few arms were run on them: {}. These are in the "
                "figures {}{}."
            ).format(
                " and ".join(map(titles.title, main)),
                "; ".join(map(titles.title, minor)),
                link("#by-data-set", "by data set"),
                also,
            )
        )
    content += [f for f in figures if f.name not in _ELSEWHERE]
    return Section("figures", "Figures", content)


def _factors(rows: pd.DataFrame, figures: Sequence[ReportFigure], looks: Drawn) -> Section | None:
    """Shares of the variance by factor and panel, the largest mean share first."""
    drawn = [figure for figure in figures if figure.name == FACTORS]
    if not drawn:
        return None
    shares = plotting.variance_shares(rows, looks)
    by_name: dict[str, dict[Panel, Any]] = {}
    for panel, parts in shares.items():
        for part in parts:
            by_name.setdefault(part.name, {})[panel] = part
    rest = (inference.INTERACTIONS, inference.SEEDS)

    def rank(name: str) -> tuple[int, float, str]:
        mean = float(np.mean([part.share for part in by_name[name].values()]))
        return (rest.index(name) + 1 if name in rest else 0, -mean, name)

    def cell(part: Any) -> str:
        if part is None:
            return soft("not varied")
        within = f"[{percent(part.low, 1)}, {percent(part.high, 1)}]"
        text: list[Any] = [bold(percent(part.share, 1)), " ", soft(within, "ci")]
        if part.name not in rest:
            levels = " → ".join(map(_level, (part.lowest, part.highest)))
            text.append(soft(f"{signed(part.spread)}: {levels}", "live"))
        return joined(text)

    table = Table(
        "Share of the variance of mean frequency over networks, with its 95 % interval over seeds. "
        "Below: the largest difference between two levels of the factor, all else equal "
        "(cycles/pixel), and from which level to which it rises.",
        ["Factor", *(panel_head(*panel) for panel in shares)],
        [
            (name, *(cell(by_name[name].get(panel)) for panel in shares))
            for name in sorted(by_name, key=rank)
        ],
    )
    title = "Which factor moves the frequency most"
    return Section("factors", title, [*drawn, table], short="Factors")


def _level(level: Any) -> str:
    """A level of a factor in words."""
    return f"{level:g}" if isinstance(level, int | float) else str(level)


def _networks(rows: pd.DataFrame, minor: Sequence[str], looks: Drawn) -> Section:
    """Per arm and panel, at the largest init scale: accuracies, parameters, live seeds."""
    scale = float(rows["init_scale"].max())
    at_scale = rows[rows["init_scale"] == scale]
    panels = _panels(rows)
    lines = []
    for arm in looks.in_order(at_scale["arm"]):
        of_arm = at_scale[at_scale["arm"] == arm]
        style = looks[arm]
        dot = tag("span", class_="dot", style=f"background: {style.color}")
        cells = [
            _network_cell(of_arm[(of_arm["dataset"] == dataset) & (of_arm["regime"] == regime)])
            for dataset, regime in panels
        ]
        lines.append((joined([dot, style.label]), *cells))
    caption: list[Any] = [
        f"Test accuracy at init scale {scale:g}: mean over live seeds (smallest to largest). "
        "Below: accuracy under the L2 attack, and live seeds."
    ]
    if minor:
        caption += [" Main data sets only; the others: ", link("rows.csv", "rows.csv"), "."]
    heads = ["Architecture", *(panel_head(*panel) for panel in panels)]
    return Section("networks", "Networks", [Table(joined(caption), heads, lines)])


def _network_cell(rows: pd.DataFrame) -> str:
    """Of one arm on one panel."""
    if rows.empty:
        return soft("not run")
    networks = _one_row_per_network(rows)
    live = networks[networks["status"] == "ok"]
    primary = rows["geometry"].map(lambda name: schema.geometry(name).role).eq("primary")
    test = live["test_accuracy"].dropna()
    robust = rows[primary & rows["status"].eq("ok")].get("robust_accuracy", pd.Series()).dropna()
    below: list[Any] = [f"attacked {percent(robust.mean())} · "] if len(robust) else []
    said = f"{len(live)}/{len(networks)} live"
    below.append(tag("span", said, class_="" if len(live) == len(networks) else "warn"))
    if "num_parameters" in rows and (parameters := int(rows["num_parameters"].iloc[0])):
        below.append(f" · {parameters:,} parameters")
    if test.empty:
        above = bold("no live network")
    else:
        ends = f"({percent(test.min())} to {percent(test.max())})"
        above = joined([bold(percent(test.mean())), " ", soft(ends, "ci")])
    return joined([above, "\n", soft(joined(below), "live")])


def _method(rows: pd.DataFrame) -> Section:
    points = {
        "Networks.": f"Per arm, {rows['seed'].nunique()} seeds are trained, each on its own "
        "subsample of the training images, so that seeds differ in data, order and initial "
        "weights.",
        "Perturbation.": "The raw difference between attacked and clean image, colour channels "
        "kept; not greyed, not taken absolute, not rescaled. Every attacked image enters, flipped "
        "or not; the number flipped is given under Settings.",
        "Mean frequency.": "Per image, the power |DFT(δ)|² is summed over channels, normalised to "
        "total 1 without the zero frequency, and the radius is averaged with it, in cycles per "
        "pixel. Then the mean over images: one number per network.",
        "White noise.": "The same statistic for independent pixels of the same shape. “Higher than "
        "the fully connected net”, “above white” and “above the images” are three statements; the "
        "figures show all three.",
        "Intervals.": "95 % t intervals over seeds; Welch\u2019s degrees of freedom for "
        "differences, trends and interactions of independent arms. They speak of new seeds on this "
        "data, not of new data sets.",
        "Verdicts.": "Computed from the rows by rules registered before the run: the effect "
        "against its margin, Holm\u2019s correction over the claim\u2019s family, the same at "
        "other init scales, live seeds and accuracy floors. L2 is the primary geometry.",
    }
    items = [joined([bold(name), " ", text]) for name, text in points.items()]
    return Section("method", "Method", [Bullets(items)])


def _limits(rows: pd.DataFrame, looks: Drawn) -> Section:
    networks = _one_row_per_network(rows)
    live = bold(f"{_num_live(networks)} of {len(networks)}")
    failed = _failures(networks, looks)
    return Section(
        "limits",
        "Limits and failures",
        [
            joined([live, " networks are live. Dead (zero input gradient) and diverged ones have "
                          "no spectrum; they are counted, never replaced."]),
            failed if failed.rows else "No network died or diverged.",
            Bullets(
                [
                    "An L∞ attack on a linear margin returns the sign of the gradient, which alone "
                    "whitens the spectrum. It is a second opinion, never the only evidence.",
                    "Where the data have no variance, weights without sharing keep their white "
                    "initial values. An effect that changes with the init scale says something of "
                    "the initialisation, not only of what was learned.",
                    "A box [0, 1] rectifies perturbations at saturated pixels. Settings says which "
                    "attacks had one.",
                    "Corners of the frequency plane (radius beyond ½ cycle/pixel) hold 22 % of "
                    "white noise\u2019s power; circular convolution on images that do not wrap "
                    "adds power along the axes.",
                    "Small networks, few epochs and few images: the order of architectures can "
                    "change with training time past separation, sample size and loss.",
                ]
            ),
        ],
    )  # fmt: skip


def _failures(networks: pd.DataFrame, looks: Drawn) -> Table:
    """Every arm with a network that is not ``ok``, with the number of each status."""
    rows = []
    keys = ["dataset", "regime", "arm", "init_scale"]
    for (dataset, regime, arm, scale), group in networks.groupby(keys, sort=False):
        counts = Counter(group["status"])
        if set(counts) != {"ok"}:
            rows.append(
                (
                    _panel(str(dataset), str(regime)),
                    looks[str(arm)].label,
                    f"{scale:g}",
                    f"{counts['ok']}/{len(group)}",
                    ", ".join(f"{n} {status}" for status, n in counts.items() if status != "ok"),
                )
            )
    heads = ("Data, regime", "Architecture", "Init scale", "Live", "Failed")
    return Table("Arms with networks that are not live.", heads, rows)


def _numbers(rows: pd.DataFrame, claims: Mapping[str, Any]) -> Section | None:
    listed = list(claims.get("claims", ()))
    if not listed:
        return None
    datasets = plotting.grouped_datasets(list(rows["dataset"]))
    more = all_deviations(list(claims.get("independence", ())), datasets)
    return Section("numbers", "All numbers", [*all_tests(listed), *more])


def _attacks(shown: pd.DataFrame, others: pd.DataFrame, minor: Sequence[str]) -> list[Block]:
    """The attacks on main data sets, and, folded away, on the others."""
    heads = ("Data, regime", "Attack", "ε", "Box", "Images", "Flipped")
    caption = (
        "Attacks. ε in pixel units (images lie in [0, 1]); flipped: images of those attacked whose "
        "correct prediction changed, smallest to largest over networks."
    )
    out: list[Block] = [Table(caption, heads, _attack_rows(shown))]
    if minor:
        line = f"Attacks on {len(minor)} further data sets"
        out.append(Table("", heads, _attack_rows(others), folded=line))
    return out


def _attack_rows(rows: pd.DataFrame) -> Sequence[Sequence[str]]:
    """Per data set, regime and attack: budget, box, images and how many flipped."""
    out = []
    names = ["dataset", "regime", "geometry", "method"]
    for (dataset, regime, geometry, method), group in rows.groupby(names, sort=False):
        box = set(group["box"].astype(bool)) if "box" in group else set()
        live = group[group["status"] == "ok"]
        flipped = ""
        if "num_flipped" in live and live["num_flipped"].notna().any():
            low, high = live["num_flipped"].min(), live["num_flipped"].max()
            flipped = f"{low:.0f} to {high:.0f}" if low != high else f"{low:.0f}"
        epsilons = sorted(set(group["epsilon"].dropna())) if "epsilon" in group else []
        images = sorted(set(group["num_images"].dropna().astype(int)))
        out.append(
            (
                _panel(str(dataset), str(regime)),
                schema.attack_label(str(geometry), str(method)),
                ", ".join(f"{e:.4g}" for e in epsilons) or "\N{EN DASH}",
                " and ".join({True: "[0, 1]", False: "none"}[b] for b in sorted(box)),
                ", ".join(map(str, images)),
                flipped or "\N{EN DASH}",
            )
        )
    return out


# --- Parts ----------------------------------------------------------------------------------------


def _one_row_per_network(rows: pd.DataFrame) -> pd.DataFrame:
    """A network's worst row: one attack that failed makes the network count as failed."""
    ordered = rows.assign(_ok=rows["status"] == "ok").sort_values("_ok", kind="stable")
    return ordered.drop_duplicates(list(schema.NETWORK)).sort_index()


def _num_live(networks: pd.DataFrame) -> int:
    return int((networks["status"] == "ok").sum())


def _panels(rows: pd.DataFrame) -> list[Panel]:
    return list(dict.fromkeys(zip(rows["dataset"], rows["regime"], strict=True)))


def _panel(dataset: str, regime: str) -> str:
    return f"{titles.title(dataset)}, {regime_name(regime)}"
