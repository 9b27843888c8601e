"""The shell completes subcommands and flags, as their own help lists them."""

import subprocess

import pytest

from freqbias.cli import completion


@pytest.fixture(scope="module")
def script():
    return completion.script("bash")


def completed(script, *words):
    """What bash offers for the last word of a command."""
    typed = " ".join(f"'{word}'" for word in words)
    asked = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _freqbias"
    ask = f'{script}\n{asked}; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_subcommands_are_completed(script):
    assert completed(script, "freqbias", "rep") == ["reproduce"]
    assert set(completed(script, "freqbias", "")) == set(completion.flags_of_commands())


def test_flags_are_those_of_the_subcommand(script):
    assert completed(script, "freqbias", "cost", "--tf") == ["--tflops"]
    assert completed(script, "freqbias", "kernel_size", "--tf") == []
    assert completed(script, "freqbias", "merge", "--shar") == ["--shards"]
    assert completed(script, "freqbias", "doctor", "--") == []


def test_zsh_reads_the_same_script(script):
    assert completion.script("zsh").endswith(script)
    with pytest.raises(ValueError, match="shell must be one of 'bash', 'zsh'; got 'fish'"):
        completion.script("fish")
