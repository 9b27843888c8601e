"""The table of the fuzz: one valid call of every public function, small and quick."""

from pathlib import Path

from calls.arrays import of_arrays, of_statistics
from calls.attacks import of_attacks
from calls.networks import of_data, of_networks
from calls.study import of_files, of_study
from calls.theory import of_theory
from calls.values import Call, Reached

__all__ = ["LEFT_OUT", "PUBLIC", "Call", "Reached", "calls"]

PUBLIC = (
    *("freqbias", "freqbias.analysis", "freqbias.attacks", "freqbias.data"),
    *("freqbias.distributed", "freqbias.ensemble", "freqbias.inference", "freqbias.interop"),
    *("freqbias.models", "freqbias.ops", "freqbias.plotting", "freqbias.report", "freqbias.runs"),
    *("freqbias.schema", "freqbias.spectral", "freqbias.study", "freqbias.study.claims"),
    *("freqbias.study.linear", "freqbias.theory", "freqbias.training"),
)


LEFT_OUT = {
    "freqbias.frozen": "of a class",
    "freqbias.static": "of a class",
    "freqbias.data.load_idx": "tests/data/test_idx.py",
    "freqbias.data.load_tfds": "needs tensorflow-datasets",
    "freqbias.data.stream_tfds": "needs tensorflow-datasets",
    "freqbias.distributed.from_first": "several processes: tests/test_distributed.py",
    "freqbias.distributed.initialize": "several processes: tests/test_distributed.py",
    "freqbias.interop.from_equinox": "needs Equinox",
    "freqbias.interop.from_haiku": "needs Haiku",
    "freqbias.interop.from_torch": "needs torch",
    "freqbias.interop.from_timm": "needs timm",
    "freqbias.interop.imagenet_labels": "needs timm",
    "freqbias.interop.load_weights": "files of weights: tests/interop",
    "freqbias.interop.read_weights": "files of weights: tests/interop",
    "freqbias.report.write_report": "of a finished study: tests/report",
    "freqbias.study.finish": "of a finished study: tests/study",
    "freqbias.study.load_networks": "of a finished study: tests/study",
    "freqbias.study.register": "changes the table of all",
    "freqbias.study.run_setting": "trains: tests/study",
    "freqbias.study.run": "trains: what a command gives it is in test_flags.py",
    "freqbias.study.linear.finish": "of a finished study: tests/study/linear",
    "freqbias.study.linear.join": "of a finished study: tests/study/linear",
    "freqbias.study.linear.judged_rows": "of a finished study: tests/study/linear",
    "freqbias.study.linear.run": "trains: what a command gives it is in test_flags.py",
    "freqbias.study.linear.verdicts": "of a finished study: tests/study/linear",
}
"""Public functions without a call here, and why."""


def calls(folder: Path) -> dict[str, Call]:
    """All of the table, by module and name; files lie in ``folder``."""
    found = {}
    for make in (of_arrays, of_statistics, of_networks, of_attacks, of_theory, of_data, of_study):
        found |= make()
    return found | of_files(folder)
