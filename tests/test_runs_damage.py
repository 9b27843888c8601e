"""Damage is named and computed again; two processes and a full disk lose nothing."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from run_checks import CONFIG, contents, rows

from freqbias import runs


@pytest.fixture
def run(tmp_path):
    """A fresh run."""
    return runs.open_run(tmp_path / "run", CONFIG)


def finished_run(folder):
    """Two settings with their arrays, and what is made of them."""
    run = runs.open_run(folder, CONFIG, resume=True)
    for setting, table in {"fc": rows("fc", 0.07), "conv": rows("conv", 1 / 3)}.items():
        if setting not in runs.finished(run):
            runs.save_arrays(run, f"arrays/{setting}", power=np.arange(3.0))
            runs.append_rows(run, setting, table)
    runs.save_json(run, "claims.json", {"claims": []})
    runs.write_rows(run)
    return run


DAMAGES = {
    "edited": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"0",
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("settings/conv.csv", runs.read_rows),
        ("columns.json", runs.read_rows),
        ("arrays/conv.npz", lambda run: runs.load_arrays(run, "arrays/conv")),
        ("claims.json", lambda run: runs.load_json(run, "claims.json")),
        ("config.json", runs.read_config),
    ],
)
def test_what_was_damaged_is_named_when_it_is_read(tmp_path, name, read, how):
    run = finished_run(tmp_path / "run")
    content = (run / name).read_bytes()
    (run / name).write_bytes(DAMAGES[how](content))
    with pytest.raises(ValueError, match=f"damaged file, {name}: .*(bytes|content)"):
        read(run)
    (run / name).write_bytes(content)
    read(run)


@pytest.mark.parametrize("how", [*DAMAGES, "missing"])
@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("settings/conv.csv", {"conv"}),
        ("arrays/conv.npz", {"conv"}),
        ("columns.json", {"conv"}),  # the first setting writes them anew
        ("claims.json", set()),
        ("rows.csv", set()),
    ],
)
def test_what_was_damaged_is_computed_again_when_the_run_is_resumed(tmp_path, name, again, how):
    expected = contents(finished_run(tmp_path / "whole"))
    run = finished_run(tmp_path / "run")
    if how == "missing":
        (run / name).unlink()
    else:
        (run / name).write_bytes(DAMAGES[how]((run / name).read_bytes()))
    with pytest.warns(UserWarning, match=f"computed again: {name}: "):
        runs.open_run(run, CONFIG, resume=True)
    assert runs.finished(run) == {"conv", "fc"} - again
    found = contents(finished_run(run))
    for made in expected.keys() - {"config.json", ".freqbias-run"}:  # they hold times
        assert found[made] == expected[made]


def test_a_run_with_a_damaged_config_is_not_resumed(tmp_path):
    run = finished_run(tmp_path / "run")
    (run / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"damaged file, config\.json"):
        runs.open_run(run, CONFIG, resume=True)
    runs.open_run(run, CONFIG, overwrite=True)


def test_shards_are_not_merged_with_damage(tmp_path):
    run = finished_run(tmp_path / "run")
    file = run / "settings" / "conv.csv"
    file.write_bytes(DAMAGES["edited"](file.read_bytes()))
    with pytest.raises(ValueError, match=r"damaged file, settings/conv\.csv"):
        runs.merge([run], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_run_without_checksums_is_read_as_before(tmp_path):
    run = finished_run(tmp_path / "run")
    manifest = run / ".freqbias-run"
    header, *lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *(line.split(" ")[-1] for line in lines)]) + "\n")
    assert len(runs.read_rows(run)) == 4
    runs.open_run(run, CONFIG, resume=True)


def test_untrusted_arrays_run_no_code(run):
    """A pickle in an .npz is refused, also where no checksum was kept."""
    runs.write_file(run, "arrays/bad.npz", lambda file: np.savez(file, x=np.array([print])))
    with pytest.raises(ValueError, match=r"arrays/bad\.npz: it holds no arrays"):
        runs.load_arrays(run, "arrays/bad")


def _other_process(folder, stay):
    """A process that opens a run, says so, and waits for its input to end."""
    program = f"""
        import sys
        from freqbias import runs
        try:
            runs.open_run(sys.argv[1], {CONFIG!r}, resume=True)
        except BlockingIOError as error:
            sys.exit(str(error))
        print("open", flush=True)
        {"sys.stdin.read()" if stay else ""}
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2])},
    )


def test_two_processes_refuse_each_other_and_a_dead_one_holds_nothing(tmp_path):
    folder = tmp_path / "run"
    with _other_process(folder, stay=True) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(BlockingIOError, match="in use by another process"):
            runs.open_run(folder, CONFIG, resume=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    runs.open_run(folder, CONFIG, resume=True)
    runs.open_run(folder, CONFIG, resume=True)  # one's own is no other
    with _other_process(folder, stay=False) as process:
        assert "in use by another process" in process.communicate()[1]
    runs.close_run(folder)
    with _other_process(folder, stay=False) as process:
        assert process.communicate()[0] == "open\n"


def test_a_folder_that_took_the_place_of_another_is_locked_anew(tmp_path):
    folder = tmp_path / "run"
    runs.open_run(folder, CONFIG)
    shutil.rmtree(folder)
    runs.open_run(folder, CONFIG)
    with _other_process(folder, stay=False) as process:
        assert "in use by another process" in process.communicate()[1]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch, call):
    run = runs.open_run(tmp_path / "run", CONFIG)
    runs.append_rows(run, "fc", rows("fc", 0.07))
    before = contents(run)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(runs.WriteError, match=r"cannot be written: No space left.*resume"):
            runs.append_rows(run, "conv", rows("conv", 0.1))
    assert contents(run).items() >= before.items() - {(".freqbias-run", before[".freqbias-run"])}
    runs.open_run(run, CONFIG, resume=True)
    assert runs.finished(run) == {"fc"}
    finished_run(run)
    assert runs.finished(run) == {"conv", "fc"}
