"""Every command of the README is understood."""

import re
import shlex
from pathlib import Path

import pytest

from twofold import cli

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)
MAKEFILE = (README.parent / "Makefile").read_text()


def _commands():
    lines = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_shell_commands_are_understood(words, monkeypatch):
    """Commands are parsed whole; what they do is run by the tests of the command line, the tasks and the experiments."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE)
        return
    assert words[0] == "twofold"
    done = []
    for command in (
        cli.Demo,
        cli.Train,
        cli.Evaluate,
        cli.Stream,
        cli.Export,
        cli.Data,
        cli.Bench,
        *cli.experiments().values(),
    ):
        monkeypatch.setattr(command, "run", lambda self, console: done.append(type(self)))
    assert cli.main(words[1:]) == 0
    expected = cli.experiments()[words[2]] if words[1] == "reproduce" else getattr(cli, words[1].capitalize())
    assert done == [expected]
