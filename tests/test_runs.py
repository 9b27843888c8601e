"""A run can be killed at any moment, resumed, repeated and merged, and harms nobody's files."""

import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_checks import CONFIG, contents, rows

from freqbias import runs
from freqbias.typing import Status


@pytest.fixture
def run(tmp_path):
    """A fresh run."""
    return runs.open_run(tmp_path / "run", CONFIG)


# --- Config ---------------------------------------------------------------------------------------


def test_config_records_settings_versions_device_and_data(tmp_path):
    run = runs.open_run(tmp_path / "a" / "b", CONFIG, data_checksums={"digits": "abc"})
    config = runs.read_config(run)
    assert config["config"] == CONFIG
    assert config["data"] == {"digits": "abc"}
    assert config["versions"]["jax"] == jax.__version__
    assert config["versions"]["python"] == platform.python_version()
    assert set(config["versions"]) >= {"freqbias", "flax", "optax", "numpy"}
    assert config["device"]["platform"] == jax.devices()[0].platform
    assert config["started"].endswith("+00:00")


def test_config_names_neither_folders_nor_host(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", [str(tmp_path / "reproduce.py"), f"--out={tmp_path}/x", str(tmp_path / "y")]
    )
    run = runs.open_run(tmp_path / "run", {"out": tmp_path / "x", "idx": f"{tmp_path}/p,q"})
    text = (run / "config.json").read_text()
    assert str(tmp_path) not in text
    assert not platform.node() or f'"{platform.node()}"' not in text
    config = runs.read_config(run)
    assert config["command"] == ["reproduce.py", "--out=x", "y"]
    assert config["config"] == {"out": "x", "idx": "p,q"}


def test_config_takes_scalars_of_numpy_and_jax_and_nothing_else(tmp_path):
    run = runs.open_run(tmp_path / "run", {"a": np.float64(0.5), "b": jnp.int32(3), "c": (1, 2)})
    assert runs.read_config(run)["config"] == {"a": 0.5, "b": 3, "c": [1, 2]}
    with pytest.raises(TypeError, match=r"config\['model'\] must be a JSON value; got object"):
        runs.open_run(tmp_path / "other", {"model": object()})
    with pytest.raises(ValueError, match=r"config\['epsilon'\] must be finite"):
        runs.open_run(tmp_path / "other", {"epsilon": float("inf")})
    assert not (tmp_path / "other").exists()


# --- Another run's folder -------------------------------------------------------------------------


def test_a_folder_with_results_is_refused_and_untouched(run):
    runs.append_rows(run, "conv", rows())
    before = contents(run)
    with pytest.raises(FileExistsError, match="holds the results of another run, started 20"):
        runs.open_run(run, CONFIG)
    assert contents(run) == before


def test_overwrite_removes_what_the_run_wrote_and_nothing_else(run):
    runs.append_rows(run, "conv", rows())
    runs.write_rows(run)
    runs.save_arrays(run, "spectra", power=np.ones(3))
    runs.write_file(run, "figures/profile.png", b"png")
    runs.save_params(run, "params/conv", {"w": jnp.ones(3)})
    mine = {
        "notes.txt": b"mine",
        "settings/mine.csv": b"mine",
        "figures/mine.png": b"mine",
        "params/mine": b"mine",
        "other.npz": b"mine",
    }
    for name, content in mine.items():
        (run / name).write_bytes(content)
    runs.open_run(run, {"preset": "quick"}, overwrite=True)
    left = contents(run)
    assert {name: left.pop(name) for name in mine} == mine
    assert sorted(left) == [".freqbias-run", "config.json"]
    assert runs.finished(run) == frozenset()


def test_overwrite_checks_the_new_config_before_it_removes_anything(run):
    runs.append_rows(run, "conv", rows())
    before = contents(run)
    with pytest.raises(TypeError, match="JSON value"):
        runs.open_run(run, {"model": object()}, overwrite=True)
    assert contents(run) == before


def test_a_manifest_that_points_outside_removes_nothing(run, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    manifest = run / ".freqbias-run"
    original = manifest.read_text()
    for name in ("../victim.txt", str(victim)):
        manifest.write_text(f"{original}{name}\n")
        with pytest.raises(ValueError, match="outside of it"):
            runs.open_run(run, CONFIG, overwrite=True)
    (run / "link").symlink_to(tmp_path)
    manifest.write_text(f"{original}link/victim.txt\n")
    with pytest.raises(ValueError, match="has a link"):
        runs.open_run(run, CONFIG, overwrite=True)
    manifest.write_text("victim.txt\n")
    with pytest.raises(ValueError, match="that no run wrote"):
        runs.open_run(run, CONFIG, overwrite=True)
    assert victim.read_text() == "mine"


def test_files_that_no_run_wrote_are_never_written_over(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"config\.json that no run wrote"):
        runs.open_run(folder, CONFIG, overwrite=True)
    assert contents(folder) == {"config.json": b"mine"}
    (folder / "config.json").unlink()
    (folder / "settings").mkdir()
    (folder / "settings" / "mine.csv").write_text("mine")
    (folder / "claims.json").write_text("mine")
    run = runs.open_run(folder, CONFIG)
    with pytest.raises(FileExistsError, match=r"'claims\.json' is taken"):
        runs.save_json(run, "claims.json", [])
    with pytest.raises(FileExistsError, match=r"'settings/mine\.csv' is taken"):
        runs.append_rows(run, "mine", rows())
    runs.append_rows(run, "other", rows())
    assert runs.finished(run) == {"other"}
    assert (folder / "claims.json").read_text() == "mine"
    assert (folder / "settings" / "mine.csv").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="path must be a folder"):
        runs.open_run(tmp_path / "out", CONFIG)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../b", "", ".hidden", "a//b", "a\nb"])
def test_names_stay_inside_the_folder(run, name):
    with pytest.raises(ValueError, match="name must start with"):
        runs.write_file(run, name, b"")


def test_reading_a_folder_without_a_run_says_so(tmp_path):
    for call in (runs.read_config, runs.read_rows, runs.finished, runs.write_rows):
        with pytest.raises(FileNotFoundError, match="holds no run"):
            call(tmp_path)


# --- Resume ---------------------------------------------------------------------------------------


def test_resume_goes_on_with_the_same_run_only(run):
    runs.append_rows(run, "conv", rows())
    before = contents(run)
    assert runs.open_run(run, CONFIG, resume=True) == run
    assert runs.finished(run) == {"conv"}
    with pytest.raises(ValueError, match=r"config differs \(epsilon: 0.5 then, 1.0 now\)"):
        runs.open_run(run, CONFIG | {"epsilon": 1.0}, resume=True)
    with pytest.raises(ValueError, match=r"config differs \(new: None then, None now\)"):
        runs.open_run(run, CONFIG | {"new": None}, resume=True)
    with pytest.raises(ValueError, match="data differs"):
        runs.open_run(run, CONFIG, data_checksums={"digits": "abc"}, resume=True)
    with pytest.raises(ValueError, match="exclude each other"):
        runs.open_run(run, CONFIG, resume=True, overwrite=True)
    assert contents(run) == before


def test_what_became_of_a_long_value_is_told_in_short(tmp_path):
    settings = {f"setting{index}": {"heat_map": False} for index in range(100)}
    run = runs.open_run(tmp_path / "run", {"names": list(settings), "settings": settings})
    other = settings | {"setting7": {"heat_map": True}, "more": {}}
    for gone in range(4):
        del other[f"setting{gone}"]
    with pytest.raises(ValueError) as error:
        runs.open_run(run, {"names": list(other), "settings": other}, resume=True)
    assert str(error.value) == (
        "path cannot be resumed, its config differs (names: 4 gone (setting0, setting1, setting2, "
        "...), 1 new (more); settings: 4 gone (setting0, setting1, setting2, ...), 1 new (more), "
        "1 changed (setting7))."
    )
    with pytest.raises(ValueError, match="names: in another order"):
        names = list(settings)[::-1]
        runs.open_run(run, {"names": names, "settings": settings}, resume=True)


def test_a_resumed_run_may_have_grown_where_it_is_told_so(tmp_path):
    small = {"epsilon": 0.5, "names": ["a"], "settings": {"a": {"heat_map": False}}}
    large = small | {"names": ["b", "a"], "settings": {"b": {}} | small["settings"]}
    run = runs.open_run(tmp_path / "run", small, data_checksums={"a": "1"})
    runs.append_rows(run, "a", rows())
    first = runs.read_config(run)
    options = {"data_checksums": {"a": "1", "b": "2"}, "resume": True}
    with pytest.raises(ValueError, match="settings: "):
        runs.open_run(run, large, **options, grows=["names"])
    grows = {"grows": ["names", "settings"]}
    with pytest.raises(ValueError, match="epsilon"):
        runs.open_run(run, large | {"epsilon": 1.0}, **options, **grows)
    with pytest.raises(ValueError, match="settings"):
        changed = large | {"settings": {"a": {"heat_map": True}, "b": {}}}
        runs.open_run(run, changed, **options, **grows)
    with pytest.raises(ValueError, match="data differs"):
        runs.open_run(run, large, **options | {"data_checksums": {"a": "0"}}, **grows)
    assert runs.read_config(run) == first
    runs.open_run(run, large, **options, **grows)
    assert runs.finished(run) == {"a"}
    grown = runs.read_config(run)
    assert grown["config"] == large and grown["data"] == {"a": "1", "b": "2"}
    assert grown["started"] == first["started"] and grown["grown_from"] == [first["command"]]
    with pytest.raises(ValueError, match="settings"):  # and never shrinks
        runs.open_run(run, small, **options | {"data_checksums": {"a": "1"}}, **grows)


def test_resume_of_another_version_is_refused(run, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.0")
    with pytest.raises(ValueError, match="versions differs"):
        runs.open_run(run, CONFIG, resume=True)


def test_resume_starts_a_run_where_there_is_none(tmp_path):
    run = runs.open_run(tmp_path / "run", CONFIG, resume=True)
    assert runs.read_config(run)["config"] == CONFIG


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def dying(function, after):
    """``function``, which kills the process instead of its call number ``after``."""
    calls = itertools.count()

    def call(*args, **kwargs):
        if next(calls) == after:
            raise Killed
        return function(*args, **kwargs)

    return call


def test_killed_at_any_rename_and_resumed_gives_the_same_bytes(tmp_path, monkeypatch):
    """Every file appears by a rename: die before the k-th one, resume, compare."""

    def everything(folder):
        run = runs.open_run(folder, CONFIG, resume=True)
        for setting, table in {"fc": rows("fc", 0.07), "conv": rows("conv", 1 / 3)}.items():
            if setting not in runs.finished(run):
                runs.append_rows(run, setting, table)
        runs.save_arrays(run, "spectra", power=np.arange(3.0))
        runs.write_rows(run)
        return contents(run)

    expected, replace = everything(tmp_path / "whole"), os.replace
    for kill_at in itertools.count():
        folder = tmp_path / str(kill_at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying(replace, kill_at))
            try:
                everything(folder)
                break  # there was no k-th rename
            except Killed:
                pass
        result = everything(folder)
        for name in ("rows.csv", "columns.json", "spectra.npz"):
            assert result[name] == expected[name]
        runs.open_run(folder, CONFIG, overwrite=True)
        assert sorted(contents(folder)) == [".freqbias-run", "config.json"]
    assert kill_at >= 2 * 6  # 6 files, each after its line in the manifest


def test_killed_while_overwriting_can_be_overwritten_again(tmp_path, monkeypatch):
    for kill_at in range(6):
        run = runs.open_run(tmp_path / str(kill_at), CONFIG)
        runs.append_rows(run, "conv", rows())
        runs.write_rows(run)
        (run / "settings" / "mine.txt").write_text("mine")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", dying(Path.unlink, kill_at))
            with pytest.raises(Killed):
                runs.open_run(run, CONFIG, overwrite=True)
        runs.open_run(run, CONFIG, overwrite=True)
        assert sorted(contents(run)) == [".freqbias-run", "config.json", "settings/mine.txt"]


def test_a_real_kill_leaves_whole_settings(tmp_path):
    """SIGKILL in the middle of writing: every setting that is there reads back complete."""
    program = """
        import itertools, sys
        from freqbias import runs
        run = runs.open_run(sys.argv[1], {})
        print("ready", flush=True)
        for i in itertools.count():
            runs.append_rows(run, f"{i:06d}", [{"seed": s, "x": i + s / 7} for s in range(500)])
    """
    folder = tmp_path / "run"
    root = Path(runs.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(folder)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    with process:
        process.stdout.readline()
        while not (folder / "settings" / "000003.csv").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    table = runs.read_rows(folder)
    assert len(table) == 500 * len(runs.finished(folder))
    assert not table.isna().any(axis=None)


# --- Rows -----------------------------------------------------------------------------------------


def test_rows_read_back_with_their_values_and_kinds(run):
    kernels = ["3", "7", "", "full", "NA", "3"]
    values = [0.1, 1 / 3, 1e-300, float(np.float32(0.1)), float("inf"), np.nan]
    runs.append_rows(
        run,
        "a",
        [
            {"kernel": kernel, "seed": i, "ok": i > 2, "value": value, "text": 'a, "b"\n'}
            for i, (kernel, value) in enumerate(zip(kernels, values, strict=True))
        ],
    )
    table = runs.write_rows(run)
    assert table["kernel"].tolist() == kernels
    assert table["seed"].dtype == np.int64
    assert table["ok"].tolist() == [False] * 3 + [True] * 3
    assert table["text"].tolist() == ['a, "b"\n'] * 6
    np.testing.assert_array_equal(table["value"], values)


def test_a_copy_kept_without_its_settings_has_the_same_rows(run, tmp_path):
    for index in (2, 1):
        runs.append_rows(run, f"s{index}", rows(index))
    whole = runs.write_rows(run)
    copy = tmp_path / "kept"
    copy.mkdir()
    for name in (".freqbias-run", "config.json", "columns.json", "rows.csv"):
        (copy / name).write_bytes((run / name).read_bytes())
    assert runs.read_rows(copy).equals(whole)
    (copy / "rows.csv").write_bytes((copy / "rows.csv").read_bytes()[:-5])
    with pytest.raises(ValueError, match="damaged"):
        runs.read_rows(copy)


def test_text_that_looks_like_numbers_stays_text(run):
    runs.append_rows(run, "a", [{"kernel": "3"}, {"kernel": "7"}])
    assert runs.read_rows(run)["kernel"].tolist() == ["3", "7"]


def test_scalars_of_numpy_and_jax_are_numbers(run):
    row = {"a": np.float32(0.5), "b": jnp.float32(0.25), "c": np.int32(3), "d": np.bool_(True)}
    runs.append_rows(run, "a", [row | {"e": Status.DEAD, "f": jnp.array(2)}])
    (read,) = runs.read_rows(run).to_dict("records")
    assert read == {"a": 0.5, "b": 0.25, "c": 3, "d": True, "e": 2, "f": 2}


def test_rows_are_the_same_bytes_whatever_the_order_of_settings(tmp_path):
    tables = []
    for order in (["fc", "conv"], ["conv", "fc"]):
        run = runs.open_run(tmp_path / order[0], CONFIG)
        for setting in order:
            runs.append_rows(run, setting, rows(setting))
        runs.write_rows(run)
        tables.append((run / "rows.csv").read_bytes())
    assert tables[0] == tables[1]
    assert tables[0] == (
        b"architecture,kernel,seed,box,freq\n"
        b"conv,3,0,False,0.1\nconv,3,1,False,\nfc,3,0,False,0.1\nfc,3,1,False,\n"
    )


def test_columns_are_fixed_by_the_first_rows(run):
    runs.append_rows(run, "a", rows())
    extra = [row | {"entropy": 1.0} for row in rows()]
    with pytest.raises(ValueError, match=r"new: \['entropy'\], missing: \[\]"):
        runs.append_rows(run, "b", extra)
    short = [{k: v for k, v in row.items() if k != "freq"} for row in rows()]
    with pytest.raises(ValueError, match=r"new: \[\], missing: \['freq'\]"):
        runs.append_rows(run, "b", short)
    with pytest.raises(ValueError, match=r"'freq': 'number expected, got text'"):
        runs.append_rows(run, "b", [row | {"freq": "0.1"} for row in rows()])
    assert runs.finished(run) == {"a"}
    # Order does not matter, and an int is a number.
    runs.append_rows(run, "b", [dict(reversed(row.items())) | {"freq": 1} for row in rows()])
    assert runs.read_rows(run)["freq"].tolist()[2:] == [1.0, 1.0]


@pytest.mark.parametrize(
    "setting, table, error, message",
    [
        ("a", [], ValueError, "must not be empty"),
        ("../a", rows(), ValueError, "setting must start with"),
        ("a", [{"x": 1}, {"y": 1}], ValueError, r"new: \['y'\], missing: \['x'\]"),
        ("a", [{"x": 1}, {"x": "1"}], ValueError, "one kind of value in column 'x'"),
        ("a", [{"x": None}, {"x": "1"}], ValueError, 'empty text is ""'),
        ("a", [{"x": [1]}], TypeError, r"rows\[...\]\['x'\] must be str.*got list"),
        ("a", [{"x": np.ones(2)}], TypeError, "got ndarray"),
        ("a", [{"x\n": 1}], ValueError, "column must start with"),
    ],
)
def test_bad_rows_are_refused_and_leave_nothing(run, setting, table, error, message):
    with pytest.raises(error, match=message):
        runs.append_rows(run, setting, table)
    assert sorted(contents(run)) == [".freqbias-run", "config.json"]


def test_a_finished_setting_is_not_written_twice(run):
    runs.append_rows(run, "a", rows())
    with pytest.raises(ValueError, match="setting 'a' is finished"):
        runs.append_rows(run, "a", rows())


def test_rows_before_any_setting_say_so(run):
    with pytest.raises(ValueError, match="no finished setting yet"):
        runs.write_rows(run)


# --- Arrays, JSON, parameters ---------------------------------------------------------------------


def test_arrays_round_trip_and_carry_no_time(run):
    arrays = {"power": np.random.default_rng(0).normal(size=(2, 3)), "name": jnp.arange(3)}
    runs.save_arrays(run, "spectra", **arrays)
    found = runs.load_arrays(run, "spectra")
    assert set(found) == {"power", "name"}
    np.testing.assert_array_equal(found["power"], arrays["power"])
    with zipfile.ZipFile(run / "spectra.npz") as stored:
        assert {info.date_time for info in stored.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with pytest.raises(TypeError, match=r"arrays\['x'\] must be a plain array"):
        runs.save_arrays(run, "objects", x=np.array([object()]))


def test_json_is_strict(run):
    runs.save_json(run, "claims.json", [{"claim": "C1", "estimate": np.float64(0.02)}])
    assert json.loads((run / "claims.json").read_text()) == [{"claim": "C1", "estimate": 0.02}]
    with pytest.raises(ValueError, match=r"claims\.json\[0\] must be finite; got nan"):
        runs.save_json(run, "claims.json", [float("nan")])


def test_params_round_trip_and_are_replaced(run, key):
    params = {"params": {"kernel": jax.random.normal(key, (2, 3)), "bias": jnp.arange(3)}}
    runs.save_params(run, "params/conv", {"old": [jnp.ones(2)]})
    runs.save_params(run, "params/conv", params)
    found = runs.load_params(run, "params/conv", jax.eval_shape(lambda: params))
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert set(runs.load_arrays(run, "params/conv")) == {"params/kernel", "params/bias"}
    wrong = {"params": {"kernel": jnp.ones((2, 4)), "bias": jnp.arange(3)}}
    with pytest.raises(ValueError, match="like must have the leaves and shapes"):
        runs.load_params(run, "params/conv", wrong)
    with pytest.raises(ValueError, match="like must have the leaves and shapes"):
        runs.load_params(run, "params/conv", {"other": jnp.ones(2)})


# --- Shards ---------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    """Two finished shards of one sweep."""
    out = []
    for i, setting in enumerate(["fc", "conv"]):
        shard = runs.open_run(tmp_path / f"shard{i}", CONFIG | {"shard": i})
        runs.append_rows(shard, setting, rows(setting))
        radius = np.array([0.0, np.nan])
        runs.save_arrays(shard, "spectra", radius=radius, **{setting: np.full(2, float(i))})
        runs.write_rows(shard)
        out.append(shard)
    return out


def test_merged_shards_are_the_run_at_once(tmp_path, shards):
    merged = runs.merge(shards, tmp_path / "merged")
    whole = runs.open_run(tmp_path / "whole", CONFIG)
    for setting in ("conv", "fc"):
        runs.append_rows(whole, setting, rows(setting))
    runs.write_rows(whole)
    assert (merged / "rows.csv").read_bytes() == (whole / "rows.csv").read_bytes()
    config = runs.read_config(merged)["config"]
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert [shard["config"] for shard in config["shards"]] == [{"shard": 0}, {"shard": 1}]
    arrays = runs.load_arrays(merged, "spectra")
    assert set(arrays) == {"radius", "fc", "conv"}
    np.testing.assert_array_equal(arrays["conv"], [1.0, 1.0])
    assert contents(runs.merge(shards, merged, overwrite=True))["rows.csv"]


def test_shards_that_contradict_each_other_are_refused(tmp_path, shards):
    out = tmp_path / "merged"
    with pytest.raises(ValueError, match="'fc' is in two"):
        runs.merge([shards[0], shards[0]], out)
    with pytest.raises(ValueError, match="must not be empty"):
        runs.merge([], out)
    with pytest.raises(ValueError, match="out must not be one of the shards"):
        runs.merge(shards, shards[0], overwrite=True)
    runs.save_arrays(shards[0], "spectra", radius=np.ones(2))
    with pytest.raises(ValueError, match=r"array of spectra\.npz.*'radius', differs"):
        runs.merge(shards, out)
    (shards[0] / "rows.csv").unlink()
    with pytest.raises(ValueError, match=r"no rows\.csv yet"):
        runs.merge(shards, out)
    assert not out.exists()


def test_shards_with_other_columns_or_data_are_refused(tmp_path, shards):
    for name, table, data, message in [
        ("columns", [{"x": 1}], None, "same columns"),
        ("order", [dict(reversed(row.items())) for row in rows()], None, "same columns"),
        ("data", rows(), {"digits": "b"}, "data checksum"),
    ]:
        other = runs.open_run(tmp_path / name, CONFIG, data_checksums=data)
        first = runs.open_run(tmp_path / f"{name}0", CONFIG, data_checksums={"digits": "a"})
        runs.append_rows(first, "first", rows())
        runs.append_rows(other, name, table)
        for run in (first, other):
            runs.write_rows(run)
        with pytest.raises(ValueError, match=message):
            runs.merge([first, other], tmp_path / "merged")
