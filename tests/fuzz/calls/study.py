"""Calls of a study: its tables, figures, claims and files."""

import functools
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from synthetic_study import ARMS, over_steps, synthetic_study

import freqbias as fb
from calls.values import (
    SEEDS,
    Call,
    named,
)
from freqbias import (
    data,
    report,
    runs,
    schema,
    study,
)
from freqbias.study import claims, linear
from freqbias.study.claims.registry import CARO2024
from freqbias.study.measures import MEASUREMENTS


@functools.cache
def small_study():
    found = synthetic_study(datasets=("natural_patches",), regimes=("relu",), arms=ARMS[:3],
                            num_seeds=3)  # fmt: skip
    return found._replace(rows=over_steps(found.rows))


def of_study() -> dict[str, Call]:
    rows, verdicts, spectra, config, looks = small_study()
    name, stated = "natural_patches", claims.load_registry()
    figure = Figure(figsize=(1, 1))
    scale = {"init_scale": 1.0, "looks": looks}
    table = {"rows": rows} | scale
    arrays = {"spectra": spectra} | scale
    shares = fb.plotting.variance_shares(rows, looks)
    page = report.Page("A", ("B",), (report.Section("first", "First", ("Some.",)),))
    records = verdicts["claims"]
    plots = named("freqbias.plotting", fb.plotting, {
        "arm_overview": table | {"column": "mean_frequency", "label": "x"},
        "arms_of_all": {"rows": rows, "looks": looks},
        "band_curve": {
            "edges": (0.0, 0.2, 0.5), "radii": {"a": np.ones((4, 2))}, "norm": "L2",
            "looks": looks,
        },
        "box_effect": table,
        "claim_forest": {"claims": records},
        "doubling_steps": {"rows": rows, "init_scale": 1.0, "times_rate": False},
        "distance_by_band": table,
        "bridge": {"claims": []},
        "effects_by_dataset": {"claims": records, "ids": ["C1"]},
        "exact_control": arrays,
        "factors": {"shares": shares},
        "follows_the_data": table,
        "frequencies_used": table,
        "frequency_against": table | {"axis": "kernel_size"},
        "frequency_against_accuracy": table,
        "grouped_datasets": {"datasets": [name]},
        "has_exact_control": {"spectra": spectra, "init_scale": 1.0},
        "heat_maps": arrays,
        "init_scale_effect": {"rows": rows, "scales": (1.0, 0.5), "looks": looks},
        "kernels_and_predictors": arrays | {"dataset": name, "max_arms": 2},
        "main_datasets": {"rows": rows, "most": 4},
        "order_of_learning": table,
        "over_training": table,
        "pdf_bytes": {"figure": figure, "dpi": 50},
        "perturbation_gallery": arrays | {"dataset": name, "max_arms": 2},
        "png_bytes": {"figure": figure, "dpi": 50},
        "profile_groups": arrays,
        "radial_profiles": arrays | {"groups": None},
        "variance_shares": {"rows": rows, "looks": looks},
    }, runs=False)  # fmt: skip
    shown = {
        "rows": rows, "claims": verdicts, "spectra": {}, "looks": looks, "own": (),
    }  # fmt: skip
    judged = {
        "rows": rows.assign(train_loss=0.1), "registry": claims.select(stated, ["C1"]),
    }  # fmt: skip
    reports = named("freqbias.report", report, {
        "build_page": {"page": page, "config": config},
        "build_report": shown | {"config": config},
        "make_figures": shown,
    }, runs=False) | named("freqbias.schema", schema, {
        "attack_label": {"geometry_name": "l2", "method": "pgd"},
        "attack_rank": {"geometry_name": "l2", "method": "pgd"},
        "geometry": {"name": "l2"},
        "parse_array_key": {"name": "d/relu/fc_d1/1.profile"},
    }) | named("freqbias.study.claims", claims, {
        "as_content": {"registry": stated},
        "as_markdown": {"records": records, "datasets": [name]},
        "as_table": {"records": records},
        "as_text": {
            "found": {"claims": records, "independence": [], "readings": []}, "markdown": False,
            "datasets": [name],
        },
        "independence_table": {"found": [], "markdown": False},
        "judge": judged,
        "judge_independence": {"records": records, "registry": stated},
        "load_registry": {"path": CARO2024},
        "moving": {"rows": rows, "margin": 0.01, "column": "mean_frequency"},
        "parse_registry": {"content": claims.as_content(stated)},
        "readings": judged,
        "readings_table": {"found": [], "markdown": False},
        "select": {"registry": stated, "ids": ["C1"]},
        "settled": {"records": records, "read": []},
        "with_arms": {"registry": stated, "arms": {"fc": ["fc_d1"]}},
    })  # fmt: skip
    return plots | reports | of_linear_study()


def of_linear_study() -> dict[str, Call]:
    task_plan = linear.TaskPlan("noise", (4,), 8)
    task = linear.make_task(task_plan, {}, 0)
    compared = linear.Comparison((task_plan,), (study.Arm("fc", 0),))
    descent = linear.Descent(seeds=(0, 1), num_steps=1)
    design = study.Design(("digits",), (study.Arm("fc"),))
    budget = study.Budget(seeds=(0, 1), num_images=64, epochs=1, num_attacked=4, num_steps=1)
    setting = study.Setting("digits", "relu", **study.Arm("fc")._asdict(), init_scale=1.0)
    registry = claims.load_registry()
    return named("freqbias.study", study, {
        "configure": {"compilation_cache": None},
        "plan": {
            "name": "x", "designs": [design], "budget": budget, "preset": "", "datasets": None,
            "registry": registry, "measurements": MEASUREMENTS, "save_params": False,
        },
    }, runs=False) | named("freqbias.study.linear", linear, {
        "follow": {"setting": setting, "task": task, "plan": task_plan, "descent": descent},
        "make_task": {"plan": task_plan, "sources": {}, "random_key": 0},
        "plan": {
            "name": "x", "compared": compared, "descent": descent, "preset": "", "tasks": None,
            "registry": None,
        },
        "solve_limits": {
            "task": task, "plans": [linear.LimitPlan("l2", 4, 10)], "seeds": (0,), "random_key": 0,
        },
    }, runs=False)  # fmt: skip


def of_files(folder: Path) -> dict[str, Call]:
    run = runs.open_run(folder / "run", {"x": 1})
    runs.append_rows(run, "s", [{"a": 1}])
    runs.write_rows(run)
    runs.save_json(run, "j", {"x": 1})
    runs.save_arrays(run, "a", x=SEEDS)
    runs.save_params(run, "p", {"w": SEEDS})
    pictures = folder / "pictures"
    for name in ("cat", "dog"):
        (pictures / name).mkdir(parents=True)
        Image.new("L", (8, 8), 100).save(pictures / name / "0.png")
    at = {"path": run}
    page = report.Page("A", ("B",), (report.Section("first", "First", ("Some.",)),))
    return named("freqbias.runs", runs, {
        "append_rows": at | {"setting": "t", "rows": [{"a": 1}]},
        "close_run": {"path": folder / "closed"},
        "finished": at,
        "load_arrays": at | {"name": "a"},
        "load_json": at | {"name": "j"},
        "load_params": at | {"name": "p", "like": {"w": SEEDS}},
        "merge": {
            "paths": [run], "out": folder / "merged", "config": {"y": 1}, "overwrite": True,
        },
        "open_run": {
            "path": folder / "new", "config": {"x": 1}, "data_checksums": {"d": "0"},
            "device": {"kind": "cpu"}, "overwrite": True, "resume": False, "grows": (),
        },
        "read_config": at,
        "read_file": at | {"name": "j"},
        "read_rows": at,
        "save_arrays": at | {"name": "b", "x": SEEDS},
        "save_json": at | {"name": "k", "value": {"x": 1}},
        "save_params": at | {"name": "q", "params": {"w": SEEDS}},
        "write_file": at | {"name": "f.txt", "content": b"x"},
        "write_rows": at,
    }) | named("freqbias.data", data, {
        "load_pictures": {"folder": pictures, "size": 6, "num_images": 2},
    }) | named("freqbias.plotting", fb.plotting, {
        "save": {"figure": Figure(figsize=(1, 1)), "path_stem": folder / "figure", "dpi": 50},
    }) | named("freqbias.report", report, {
        "write_page": {"run_dir": run, "page": page},
    })  # fmt: skip
