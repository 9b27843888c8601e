"""The table of arms: every arm has a label, a look, a place and levels that follow from it."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic_study import ARMS, MANY_ARMS, looks_of, names, setting

from freqbias.study import Arm, Budget, Family, arms

VARIED = {
    Arm("conv", 1, "3", "SAME"): "Conv K=3, zero padding",
    Arm("conv", 1, "3", "VALID"): "Conv K=3, no padding",
    Arm("conv", 2, "7", "SAME", 16, "adam"): "Conv K=7, 2 layers, zero padding, 16 channels, Adam",
    Arm("conv", 1, "3", optimizer="adam"): "Conv K=3, Adam",
    Arm("conv", 1, "full", optimizer="adam"): "Conv full width, Adam",
    Arm("fc", optimizer="adam"): "Fully connected, Adam",
    Arm("resnet", 2, "3", "SAME", optimizer="adam"): "ResNet K=3, 2 blocks, Adam",
    Arm("resnet", 2, "7", "SAME", optimizer="adam"): "ResNet K=7, 2 blocks, Adam",
    Arm("vgg", 2, "3", "SAME", optimizer="adam"): "VGG K=3, 2 blocks, Adam",
    Arm("conv_mixer", 1, "3", "SAME", optimizer="adam"): "ConvMixer K=3, 1 block, Adam",
    Arm("conv_mixer", 2, "7"): "ConvMixer K=7, 2 blocks, circular padding",
    Arm("vit", 2, optimizer="adam"): "ViT, 2 blocks, Adam",
    Arm("mlp_mixer", 2, optimizer="adam"): "MLP-Mixer, 2 blocks, Adam",
}
EYES = [  # Machado, Oliveira & Fernandes 2009, severity 1
    np.eye(3),
    [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],  # protanopia
    [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],  # deuteranopia
]


def test_every_arm_has_a_look_of_its_own():
    """Also for eyes that lack one kind of cone."""
    compared = (*ARMS, *VARIED, Arm("fc", 2), Arm("fc", 3), Arm("fc", 4), Arm("conv", 4, "3"))
    styles = [arms.style(arm) for arm in compared]
    assert len({style.label for style in styles}) == len(compared)
    for a, b in itertools.combinations(styles, 2):
        difference = np.subtract(to_rgb(a.color), to_rgb(b.color))
        apart = min(np.linalg.norm(eye @ difference) for eye in EYES)
        assert apart > 0.18 or (a.marker, a.linestyle) != (b.marker, b.linestyle), (a, b)
    assert arms.style(Arm("conv", 1, "5")).color not in {style.color for style in styles}


@pytest.mark.parametrize(("arm", "label"), VARIED.items())
def test_the_label_says_what_differs_from_the_usual(arm, label):
    assert arms.style(arm).label == label
    assert arms.style(setting(arm)) == arms.style(arm)


def test_weight_decay_has_a_name_and_a_look():
    decayed = {
        Arm("fc", weight_decay=0.0005): "Fully connected, weight decay 0.0005",
        Arm("conv", 1, "3", optimizer="adam", weight_decay=5e-5): (
            "Conv K=3, Adam, weight decay 5e-05"
        ),
        Arm("conv", 1, "3", weight_decay=0.0005): "Conv K=3, weight decay 0.0005",
    }
    for arm, label in decayed.items():
        plain, style = arms.style(arm._replace(weight_decay=0.0)), arms.style(arm)
        assert style.label == label
        assert plain.marker != style.marker
        assert plain.color != style.color


def test_narrow_columns_break_the_label_into_its_parts():
    looks = looks_of(MANY_ARMS)
    shown = ("fc_d1", "fc_d2", "conv_k3_d1", "conv_k3_d2", "scattered_k3_d1", "vit_d2_adam")
    assert [looks.column(arm) for arm in shown] == [
        "Fully\nconnected",
        "Fully\nconnected\n2 layers",
        "Conv\nK=3",
        "Conv K=3\n2 layers",
        "Scattered\nshared",
        "ViT\n2 blocks\nAdam",
    ]


def test_arms_stand_in_order_of_family_and_size():
    compared = [Arm("vit", 2, optimizer="adam"), Arm("conv", 1, "11"), Arm("conv", 1, "full"),
                Arm("conv", 2, "3"), Arm("conv", 1, "3", "SAME"), Arm("conv", 1, "3"),
                Arm("fc")]  # fmt: skip
    looks = looks_of(compared)
    assert looks.in_order(["odd", *names(compared), "conv_k3_d1"]) == [
        "fc_d1", "conv_k3_d1", "conv_k11_d1", "conv_full_d1", "conv_k3_d2", "conv_k3_d1_same",
        "vit_d2_adam", "odd",
    ]  # fmt: skip


def test_arms_are_compared_with_those_they_differ_from_in_one_thing():
    groups = looks_of(MANY_ARMS).groups_of(names(MANY_ARMS))
    assert {title: arms if len(arms) < 9 else len(arms) for title, arms in groups.items()} == {
        "Kernel size": [
            "fc_d1", *(f"conv_k{size}_d1" for size in (3, 5, 7, 9, 11, 15)), "conv_full_d1",
        ],
        "Depth": [*(f"fc_d{d}" for d in (1, 2, 3, 4)), *(f"conv_k3_d{d}" for d in (1, 2, 3, 4))],
        "Sharing and locality": [
            "conv_k3_d1", "locally_connected_k3_d1", "locally_connected_tied_k3_d1",
            "scattered_k3_d1", "scattered_unshared_k3_d1",
        ],
        "Padding": ["conv_k3_d1", "conv_k7_d1", "conv_k3_d1_same", "conv_k3_d1_valid",
                    "conv_k7_d1_same", "conv_k7_d1_valid"],
        "Channels, optimiser, decay": 13,
        "Blocks": [
            "resnet_k3_d2_same_adam", "resnet_k7_d2_same_adam", "vgg_k3_d2_same_adam",
            "conv_mixer_k3_d2_same_adam", "conv_mixer_k7_d2_same_adam", "vit_d2_adam",
            "mlp_mixer_d2_adam",
        ],
    }  # fmt: skip
    assert [*groups["Channels, optimiser, decay"]][:4] == [
        "fc_d1", "conv_k3_d1", "conv_full_d1", "conv_k3_d2",
    ]  # fmt: skip
    assert looks_of(ARMS).groups["Depth"] == ("conv_k3_d1", "conv_k3_d2", "conv_k3_d3")
    alone = looks_of([Arm("locally_connected", 1, "3"), Arm("fc"), Arm("conv", 2, "7")])
    assert alone.groups == {
        "Kernel size": ("fc_d1",),
        "Sharing and locality": ("locally_connected_k3_d1",),
        "Other": ("conv_k7_d2",),
    }


def test_levels_of_factors_are_those_that_apply():
    looks = looks_of([*ARMS, *VARIED])
    one = {"architecture family": "Conv, unshared, scattered", "kernel size": "K=3", "depth": 1,
           "optimizer": "SGD", "weight decay": 0.0}  # fmt: skip
    circular = {"padding": "circular", "channels": 8}
    taps = {"weight sharing": "shared", "place of the taps": "local"}
    assert looks.factors["conv_k3_d1"] == {**one, **taps, **circular}
    assert looks.factors["scattered_unshared_k3_d1"] == {
        **one, "weight sharing": "unshared", "place of the taps": "scattered",
    }  # fmt: skip
    assert looks.factors["conv_k7_d2_same_c16_adam"] == {
        **one, **taps, "kernel size": "K=7", "depth": 2, "channels": 16, "padding": "zeros",
        "optimizer": "Adam",
    }  # fmt: skip
    assert looks.factors["conv_full_d1"]["kernel size"] == "full width"
    assert looks.factors["fc_d1"] == {
        "architecture family": "Fully connected", "depth": 1, "optimizer": "SGD",
        "weight decay": 0.0,
    }  # fmt: skip
    assert looks.factors["vit_d2_adam"] == {
        "architecture family": "ViT", "optimizer": "Adam", "weight decay": 0.0,
    }  # fmt: skip


def test_a_family_of_ones_own_is_drawn_like_the_librarys(monkeypatch):
    monkeypatch.setattr(arms, "_FAMILIES", dict(arms._FAMILIES))
    own = Family("my_net", "My net", "#123456", "8", lambda *_: None, factors={"memory": "long"})
    arms.register(own)
    looks = arms.as_drawn([setting(Arm("my_net", 2)), setting(Arm("fc"))], Budget())
    assert list(looks.styles) == ["fc_d1", "my_net_d2"]
    style = looks["my_net_d2"]
    assert (style.label, style.marker, style.linestyle) == ("My net, 2 layers", "8", "--")
    assert looks.factors["my_net_d2"]["memory"] == "long"
    with pytest.raises(ValueError, match=r"name must not be one of the library's.*'fc'"):
        arms.register(Family("fc", "Mine", "#123456", "8", lambda *_: None))
    with pytest.raises(ValueError, match=r"letters, digits and underscores.*'my net'"):
        arms.register(Family("my net", "Mine", "#123456", "8", lambda *_: None))
