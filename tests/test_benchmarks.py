"""The committed table of attacks against their peers is whole, and says what README says of it."""

from pathlib import Path

import pandas as pd
import pytest

TABLE = pd.read_csv(Path(__file__).parents[1] / "benchmarks" / "attacks.csv")
NETWORKS = ("conv", "conv_full", "fc", "locally_connected")
FIXED = [
    f"{name}_{norm}"
    for name in ("fgsm", "pgd", "apgd", "apgd_dlr", "apgd_t", "square", "auto_attack")
    for norm in ("linf", "l2")
]
MINIMAL = (
    *("ddn_l2", "fmn_l0", "fmn_l1", "fmn_l2", "fmn_linf", "deepfool_l2", "deepfool_linf"),
    *("carlini_wagner_l2", "brendel_bethge_l0", "brendel_bethge_l1", "brendel_bethge_l2"),
    *("brendel_bethge_linf", "fab_l2", "fab_linf"),
)


def _row(network, attack):
    found = TABLE[(TABLE["network"] == network) & (TABLE["attack"] == attack)]
    assert len(found) == 1, f"{network}, {attack}: {len(found)} rows"
    row = found.iloc[0]
    peer = row[["foolbox", "torchattacks"]].min()
    assert peer >= 0, f"{network}, {attack}: no peer"
    return row, peer


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("attack", FIXED)
def test_no_peer_leaves_half_a_point_less_accuracy(network, attack):
    row, peer = _row(network, attack)
    assert row["epsilon"] > 0 and row["ours"] <= peer + 0.5


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("attack", MINIMAL)
def test_no_peer_is_two_percent_nearer(network, attack):
    row, peer = _row(network, attack)
    assert pd.isna(row["epsilon"]) and 0 < row["ours"] <= 1.02 * peer


def test_networks_had_learned():
    """A network that answers nothing stands against every attack."""
    assert (TABLE["images"] >= 256).all()
