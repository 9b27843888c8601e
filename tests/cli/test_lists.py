"""What there is to choose from, as the command lists it."""

import re

import pytest

from freqbias import data
from freqbias.cli import command
from freqbias.data import embedded, tfds
from freqbias.models import zoo


@pytest.fixture
def listed(monkeypatch, capsys, tmp_path):
    """What a subcommand prints, by paragraph: {name: lines}."""

    def read(*words):
        monkeypatch.setattr("sys.argv", ["freqbias"])
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        with pytest.raises(SystemExit) as ended:
            command.main(list(words))
        assert not ended.value.code
        said = capsys.readouterr().out
        return {entry.partition(":")[0]: entry for entry in re.split(r"\n(?! )", said)}

    return read


def test_every_data_set_is_listed_as_it_is(listed):
    found = listed("datasets")
    assert found.keys() >= {*data.names(), "power_law_ALPHA_HxWxC_CLASSES"}
    for name in embedded.NAMES:
        dataset = data.load(name)
        counts = f"{len(dataset.train):,} training, {len(dataset.test):,} test images"
        shape = " x ".join(map(str, dataset.image_shape))
        assert f"{counts}, {shape}, {dataset.num_classes} classes" in found[name]
        flat = " ".join(found[name].split())
        assert f"licence: {dataset.licence}" in flat and f"from: {dataset.source}" in flat
        assert "here: comes with the package" in flat and "not here" not in flat


def test_a_set_that_is_to_be_prepared_says_by_which_line(listed, tmp_path):
    version = tmp_path / "kmnist" / "3.0.1"
    version.mkdir(parents=True)
    (version / "kmnist-test.array_record-00000-of-00001").touch()
    found = listed("datasets")
    assert f"    here: {version}\n" in found["kmnist"]
    for name in set(tfds.NAMES) - {"kmnist"}:
        assert f"not here: python -m freqbias.data.prepare --name={name} " in found[name]


def test_every_transform_is_listed_and_known(listed):
    said = "\n".join(listed("datasets").values())
    for spelled, says in data.transforms().items():
        assert re.search(rf"\+{spelled} +{re.escape(says)}", said)
        numbers = re.sub(r"SET$", "digits", spelled)
        data.check_name("digits+" + re.sub(r"[A-Z]+", "0", numbers))


def test_the_study_over_data_sets_has_another_name(listed, monkeypatch, capsys):
    commands = command.commands()
    assert commands["many_datasets"].says == "C4: three arms on many data sets."
    monkeypatch.setattr("sys.argv", ["freqbias"])
    command.main(["many_datasets", "--help"])
    assert "--kernel_sizes" in capsys.readouterr().out


def test_every_network_is_listed(listed):
    found = "\n".join(listed("models").values())
    names = re.findall(r"^  (\w+): ", found, re.MULTILINE)
    assert names == list(zoo.ARCHITECTURES)
