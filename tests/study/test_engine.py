"""What binaries share: jobs side by side."""

import sys
from functools import partial

import jax
import pytest

from experiments import common


@pytest.mark.parametrize(("most", "kept"), [(0, 0), (10**9, 1)])
def test_programs_are_let_go_when_they_are_many(monkeypatch, most, kept):
    """A sweep of 400 settings used up the pieces of memory that a process may map, and crashed."""
    monkeypatch.setattr(common, "MOST_MAPS", most)
    double = jax.jit(lambda x: 2 * x)
    found = []

    def parts():
        for value in (1.0, 2.0):
            yield 1.0, partial(found.append, float(double(value)))

    common.run_jobs([common.Job(2.0, parts)] * 3, workers=2)
    assert sorted(found) == [2.0] * 3 + [4.0] * 3
    assert double._cache_size() == kept


def test_studies_multiply_in_full_precision():
    """On every device: accelerators round the factors of a product by default."""
    product = jax.jit(lambda x: x @ x).lower(jax.numpy.ones((2, 2))).as_text()
    assert "HIGHEST" in product


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_compiled_programs_are_pieces_of_memory():
    before = common._num_maps()
    functions = [jax.jit(lambda x, i=i: x + i) for i in range(20)]
    assert [float(function(1.0)) for function in functions] == [1.0 + i for i in range(20)]
    assert common._num_maps() > before >= 100
