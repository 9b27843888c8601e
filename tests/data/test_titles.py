"""The names of data sets, read: what people call them, and what they were made of."""

import pytest

from freqbias.data import titles


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("natural_patches", "Natural patches"),
        ("mnist_mini", "MNIST mini"),
        ("fashion_mnist_mini+low_pass_0.125", "Fashion-MNIST mini, low pass 0.125"),
        (
            "fashion_mnist_mini+low_pass_0.125+permuted_0",
            "Fashion-MNIST mini, low pass 0.125, permuted 0",
        ),
        ("digits+band_pass_0.1_0.2", "Digits, band pass 0.1 to 0.2"),
        ("natural_patches+shuffled_0", "Natural patches, labels shuffled"),
        ("natural_patches+shuffled_2", "Natural patches, labels shuffled 2"),
        ("natural_patches+windowed_0.5", "Natural patches, windowed 0.5"),
        ("digits+planted_0.1_0.5", "Digits, patterns planted (0.1, 0.5)"),
        ("digits+teacher_0.02_0.1", "Digits, teacher 0.02 to 0.1"),
        ("cifar10+spectrum_natural_patches", "CIFAR-10, spectrum of Natural patches"),
        ("power_law_1_28x28x1_2+permuted_3", "1/f noise, permuted 3"),
        ("power_law_1.5_28x28x1_2", "1/f^1.5 noise"),
        ("my_set+new_thing_2", "my set, new thing 2"),
    ],
)
def test_names_of_data_sets_are_written_out(name, words):
    assert titles.title(name) == words
    base = titles.title(titles.base(name))
    rest = titles.transforms_title(name)
    assert words == (f"{base}, {rest}" if titles.is_derived(name) else base)
    assert bool(rest) == titles.is_derived(name)


def test_what_a_set_was_made_of_is_read_from_its_name():
    assert titles.base("digits+low_pass_0.1+permuted_0") == "digits"
    assert titles.source("mnist_mini+low_pass_0.1") == titles.source("mnist") == "mnist"
    assert titles.permutation("digits+low_pass_0.1+permuted_3") == ("digits+low_pass_0.1", 3)
    assert titles.permutation("digits+permuted_3+low_pass_0.1") is None
    assert titles.is_synthetic("power_law_1_28x28x1_2+permuted_3")
    assert not titles.is_synthetic("digits+planted_0.1_0.5")
    assert titles.kinds("power_law_1_28x28x1_2+shuffled_0") == ("power_law", "shuffled")
    assert titles.kinds("digits+shuffled_1") == ("shuffled",)
    assert titles.kinds("my_power_law_set") == ()
