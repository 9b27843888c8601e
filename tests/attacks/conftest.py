"""What all tests of attacks share."""

import jax
import pytest

pytest.register_assert_rewrite("attack_checks")

from attack_table import COMPILATIONS  # noqa: E402 (after the line above)

MOST_PROGRAMS = 600  # Linux maps each in up to 80 pieces, and a process in at most 65,530


@pytest.fixture(autouse=True)
def room_for_programs():
    """The default cases of one file fit; with the slow ones in one process XLA would crash."""
    yield
    if len(COMPILATIONS) > MOST_PROGRAMS:
        jax.clear_caches()
        COMPILATIONS.clear()


@pytest.fixture(autouse=True, scope="module")
def a_new_count():
    """The root's `bounded_memory` drops the programs of one file before the next."""
    COMPILATIONS.clear()
