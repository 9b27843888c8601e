"""Every public function, class and method, called with one wrong argument at a time.

Such a call ends in a ValueError or TypeError (or another error of the library) that is raised here,
not in JAX or NumPy, and names the argument; or in a valid result without NaN. Arguments come from
the tables in ``calls`` and ``classes.py`` and are made wrong in every way of ``wrong.py``; then by
hypothesis.

    python -m pytest -n 0 -rP tests/fuzz    # prints how many calls there were, and how they ended
"""

import contextlib
import importlib
import inspect
import itertools
from collections import Counter

import calls
import classes
import hypothesis
import hypothesis.strategies as st
import pytest
import wrong


class Table(dict):
    """That of the calls; too long to be shown where a test fails."""

    __repr__ = object.__repr__


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    with contextlib.chdir(folder):  # some of what is wrong is a name of a file
        yield Table(calls.calls(folder) | classes.of_classes(folder))


def public_functions():
    """All that are called with arguments, by module and name; each under its first name."""
    found, seen = {}, set()
    for module_name in calls.PUBLIC:
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", ()) or own_names(module):
            value = getattr(module, name)
            function = inspect.unwrap(value) if callable(value) else None
            if inspect.isfunction(function) and inspect.signature(function).parameters:
                if id(function) not in seen:
                    found[f"{module_name}.{name}"] = value
                seen.add(id(function))
    return found


def public_classes():
    """By module and name; each under its first name."""
    found, seen = {}, set()
    for module_name in calls.PUBLIC:
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", ()) or own_names(module):
            value = getattr(module, name)
            if inspect.isclass(value) and value not in seen:
                found[f"{module_name}.{name}"] = value
                seen.add(value)
    return found


def own_names(module):
    public = (name for name in vars(module) if not name.startswith("_"))
    return [name for name in public
            if getattr(getattr(module, name), "__module__", "") == module.__name__]  # fmt: skip


def test_every_public_function_is_in_the_table(table):
    found = public_functions()
    in_table = {inspect.unwrap(call.function) for call in table.values()}
    missing = {name for name, function in found.items()
               if inspect.unwrap(function) not in in_table}  # fmt: skip
    assert missing == calls.LEFT_OUT.keys()
    for name, call in table.items():
        parameters = inspect.signature(call.function).parameters.values()
        asked = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        assert asked == call.arguments.keys() & asked, name


def test_every_public_class_and_method_is_in_the_table(table):
    """Methods that take arguments, of those classes whose instances are in people's hands."""
    found = public_classes()
    made = {
        call.function.made for call in table.values() if isinstance(call.function, classes.Used)
    }
    missing = {name for name, cls in found.items() if cls not in made}
    assert missing == classes.left_out()


def fuzz(table, module, every):
    """Calls with every so manyth wrong argument, each of which must end well."""
    number, offences = 0, []
    for name, call in table.items():
        if max((room for room in calls.PUBLIC if name.startswith(f"{room}.")), key=len) == module:
            for argument, says, bad in itertools.islice(wrong.cases(call), 0, None, every):
                number += 1
                offences.append(wrong.offence(name, call, argument, says, bad))
    offences = list(filter(None, offences))
    kinds = dict(Counter(offence.kind for offence in offences))
    print(f"{module}: {number} calls, {len(offences)} ended badly {kinds or ''}")
    assert not offences, "\n".join(map(str, offences))


@pytest.mark.parametrize("module", calls.PUBLIC)
def test_one_wrong_argument_is_named(table, module):
    fuzz(table, module, every=5)


@pytest.mark.slow
@pytest.mark.parametrize("module", calls.PUBLIC)
def test_every_wrong_argument_is_named(table, module):
    fuzz(table, module, every=1)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(width=32) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)


@hypothesis.settings(max_examples=150)
@hypothesis.given(number=st.integers(0, 10**6), bad=JUNK)
def test_junk_is_named(table, number, bad):
    """Of functions whose arguments are checked before anything is computed for long."""
    pairs = [(name, argument) for name, call in table.items() if call.runs
             for argument in call.arguments if argument != "params"]  # fmt: skip
    name, argument = pairs[number % len(pairs)]
    found = wrong.offence(name, table[name], argument, "junk", bad)
    assert found is None or found.kind == "silent NaN", found


@pytest.mark.slow
def test_the_calls_of_the_table_are_valid(tmp_path):
    """In a folder of its own: a wrong call that turns out valid writes files, too."""
    with contextlib.chdir(tmp_path):
        for call in (calls.calls(tmp_path) | classes.of_classes(tmp_path)).values():
            with contextlib.suppress(calls.Reached):
                wrong.run(call)
