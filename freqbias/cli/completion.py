"""Completion of the command in a shell: its subcommands, and the flags of each.

source <(freqbias completion bash)      # in ~/.bashrc
source <(freqbias completion zsh)       # in ~/.zshrc, after compinit
"""

import contextlib
import io
import re
import sys
from collections.abc import Mapping

from freqbias import _checks

_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_SCRIPT = """\
_freqbias() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _freqbias freqbias
"""


def script(shell: str) -> str:
    """What a shell is to source, made of what ``--help`` of every subcommand lists.

    Args:
      shell: "bash" or "zsh".

    Raises:
      ValueError: another shell.
    """
    _checks.one_of("shell", shell, ("bash", "zsh"))
    listed = flags_of_commands()
    cases = "\n".join(f'      {name}) words="{" ".join(listed[name])}" ;;' for name in listed)
    return (_ZSH if shell == "zsh" else "") + _SCRIPT.format(commands=" ".join(listed), cases=cases)


def flags_of_commands() -> Mapping[str, tuple[str, ...]]:
    """The flags of each subcommand, ``--name``, as its help lists them."""
    from freqbias.cli import command  # noqa: PLC0415  (it starts this module)

    found = {}
    given = sys.argv
    for name, one in command.commands().items():
        said = io.StringIO()
        sys.argv = [name, "--help"]
        with contextlib.redirect_stdout(said):
            one.start()
        flags = re.findall(r"^  --(?:\[no\])?(\w+)", said.getvalue(), re.MULTILINE)
        found[name] = tuple(f"--{flag}" for flag in flags)
    sys.argv = given
    return found


def main() -> None:
    """The binary."""
    shells = sys.argv[1:]
    if not shells or "--help" in shells:
        print(f"{__doc__}\nflags:\n\n  none")
        return
    try:
        print(script(shells[0]), end="")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
