"""The page on attacks names every attack with its paper, and its tables say what is true."""

import inspect
import re
from functools import partial
from pathlib import Path

import jax
import pytest

from freqbias import attacks
from freqbias.attacks import L0, L1, L2, FourierL1, Linf, Lp

PAGE = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()
NORMS = {"L0": L0(), "L1": L1(), "L2": L2(), "L-inf": Linf(), "Lp": Lp(3.0)}
FIXED = ("apgd", "auto_attack", "bim", "fgsm", "frank_wolfe", "mi_fgsm", "pgd", "square")
FACTORIES = (
    *FIXED, "affine_attack", "bisect", "brendel_bethge", "carlini_wagner", "ddn", "deepfool",
    "fab", "fmn", "optimizer_pgd", "smallest_budget", "universal",
)  # fmt: skip


def test_no_attack_is_left_out():
    """Whatever makes an attack: a function of the package that returns one."""
    made = {
        name
        for name, value in vars(attacks).items()
        if inspect.isfunction(value)
        and "__call__" in dir(value.__annotations__.get("return"))
        and "gradient_evaluations" not in dir(value.__annotations__["return"])
        and "num_steps" in getattr(value.__annotations__["return"], "__dataclass_fields__", {})
    }
    assert made <= set(FACTORIES), made - set(FACTORIES)
    for name in FACTORIES:
        assert f"`{name}`" in PAGE, name


@pytest.mark.parametrize("name", FACTORIES)
def test_every_paper_that_a_docstring_names_is_on_the_page(name):
    cited = inspect.getdoc(getattr(attacks, name)).partition("Reference:")[2]
    for number in re.findall(r"\b\d{4}\.\d{5}\b", cited):
        assert number in PAGE, (name, number)


def _norms_of(name):
    (row,) = [line for line in PAGE.splitlines() if re.match(r"\| [\w ,]*\| .*\| ", line)
              and f"`{name}`" in line.split("|")[2] and "you want" not in line
              and line.count("|") == 4]  # fmt: skip
    return row.split("|")[3]


@pytest.mark.parametrize(
    "name", [*FIXED[:1], *FIXED[2:], "deepfool", "fab", "fmn", "brendel_bethge", "universal"]
)
def test_the_norms_of_the_table_are_those_that_are_taken(name):
    said = _norms_of(name)
    listed = set(re.findall(r"L-inf|L[012p]", said.partition(";")[0]))
    expected = set(NORMS) - listed if said.strip().startswith("any but") else listed
    options = {"epsilon": 0.1} if name in (*FIXED, "universal") else {}
    network, key = attacks.example(), jax.random.key(0)
    taken = set()
    for norm_name, norm in NORMS.items():
        try:
            attack = getattr(attacks, name)(norm, **options)
            call = partial(attack, network[0], images=network[2], labels=network[3], key=key)
            jax.eval_shape(call, network.params)  # traced, not run
        except ValueError as error:
            assert "norm" in str(error) or type(norm).__name__ in str(error)
        else:
            taken.add(norm_name)
    assert taken == expected


def test_the_table_of_norms_has_every_norm():
    for name in ("L0", "L1", "L2", "Lp(p)", "Linf", "FourierL1", "FourierLinf"):
        assert f"| `{name}` |" in PAGE
        assert hasattr(attacks, name.partition("(")[0])
    public = {name for name, value in vars(attacks).items()
              if inspect.isclass(value) and issubclass(value, attacks.Norm)}  # fmt: skip
    made_by = {
        "WeightedFourierL2": "weighted_fourier_l2(w)",
        "BandLimited": "band_limited(norm, M)",
    }
    for name in public - {"Norm"}:
        assert f"`{made_by.get(name, 'Lp(p)' if name == 'Lp' else name)}`" in PAGE
    assert FourierL1.__name__ in public
