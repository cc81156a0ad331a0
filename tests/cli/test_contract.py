"""What holds for every command: help, examples, and how unknown options are refused."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Zt
from ztcli.app import COMMANDS, application, load
from ztcli.endings import MEANINGS, codes_of
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.examples import EXAMPLES, lines_of
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command that does something itself."""

    name: str
    command: Any

    @property
    def words(self) -> list[str]:
        return self.name.split()


def _leaves() -> Iterator[Leaf]:
    for name in COMMANDS:
        command = load(name)
        children = getattr(command, "commands", {})
        for child_name, child in children.items():
            yield Leaf(f"{name} {child_name}", child)
        if not children:
            yield Leaf(name, command)


LEAVES = tuple(_leaves())
# What follows `ssh` is for ssh; a block for a file of ssh's has one form.
FOREIGN = ("ssh",)
PLAIN = (*FOREIGN, "ssh-config")
each = pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.name)


def no_engine(env: Environment, settings: Settings) -> Engine:
    raise AssertionError("an engine was made before the command line was checked")


@pytest.fixture
def strict(tmp_path: Path) -> Zt:
    """A `zt` that may not reach any network."""
    return Zt(tmp_path, no_engine)


def options(leaf: Leaf) -> set[str]:
    return {spelling for parameter in leaf.command.params for spelling in parameter.opts}


def test_the_tree_is_walked() -> None:
    assert len(LEAVES) >= 60
    assert {"call", "network create", "agent run"} <= {leaf.name for leaf in LEAVES}


@each
def test_json(leaf: Leaf) -> None:
    assert ("--json" in options(leaf)) != (leaf.name in PLAIN)


@each
def test_help(leaf: Leaf, strict: Zt, capfd: pytest.CaptureFixture[str]) -> None:
    result = strict(*leaf.words, "--help")
    assert (result.code, result.stderr) == (0, "")
    text, complaints = capfd.readouterr()
    assert complaints == ""
    for line in lines_of(leaf.name):
        assert f"    {line}\n" in text
    for code in codes_of(leaf.name):
        assert re.search(rf"^    {int(code)} +{re.escape(MEANINGS[code])}$", text, re.MULTILINE)
    if leaf.name not in FOREIGN:
        strict(*leaf.words, "-h")
        assert capfd.readouterr().out == text


@each
def test_own_options_have_variables(leaf: Leaf) -> None:
    """Each option that is the command's own may be given by the environment."""
    common = {name for parameter in application().params for name in parameter.opts}
    for parameter in leaf.command.params:
        if parameter.param_type_name != "option" or parameter.name == "help":
            continue
        if leaf.name in PLAIN or common.intersection(parameter.opts):
            continue
        assert parameter.envvar, (leaf.name, parameter.opts)
        assert parameter.help, (leaf.name, parameter.opts)
        assert all(name.startswith("ZT_") for name in parameter.envvar)


@pytest.mark.parametrize(
    "leaf", [leaf for leaf in LEAVES if leaf.name not in FOREIGN], ids=lambda leaf: leaf.name
)
def test_unknown_options_are_refused_at_once(leaf: Leaf, strict: Zt) -> None:
    result = strict(*leaf.words, "--jsom")
    assert result.code == ExitCode.USAGE
    assert result.stdout == b""
    assert "--jsom" in result.stderr
    assert result.stderr.count("zt: ") == 1
    if leaf.name not in PLAIN:
        assert "--json" in result.stderr.replace("--jsom", "")


@each
def test_examples(leaf: Leaf) -> None:
    """Every example is a command line that the parser takes."""
    lines = lines_of(leaf.name)
    assert 1 <= len(lines) <= 4
    name = "call" if leaf.name == "nc" else leaf.name
    for line in lines:
        words = _words(line)
        context = application().make_context("zt", list(words))
        words = [*context._protected_args, *context.args]
        assert words[: len(name.split())] == name.split(), line
        command: Any = load(words[0])
        rest = words[len(name.split()) :]
        for child in name.split()[1:]:
            command = command.commands[child]
        rest = [f"stdio{word[1:]}" if word.startswith("-:") else word for word in rest]
        command.make_context(name, rest)


def _words(line: str) -> list[str]:
    """Return what follows `zt` in a line for a shell, up to the next command or file."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&")
    lexer.whitespace_split = True
    words = list(lexer)
    if "$(" in line:
        words = line.partition("$(")[2].partition(")")[0].split()
    while words[0] != "zt":
        words.pop(0)
    end = next((at for at, word in enumerate(words) if word in ("|", "<", ">", ">>", "&")), None)
    return words[1:end]


def test_examples_are_of_commands() -> None:
    assert set(EXAMPLES) | {"nc"} == {leaf.name for leaf in LEAVES}


def test_every_code_has_a_command_and_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert {code for leaf in LEAVES for code in codes_of(leaf.name)} == set(ExitCode)


def test_json_errors_are_objects(strict: Zt) -> None:
    result = strict("call", "--json", "--jsom")
    told = json.loads(result.stderr)
    assert (result.code, told["v"], told["code"]) == (ExitCode.USAGE, 1, 2)


def test_a_command_that_is_mistyped(strict: Zt) -> None:
    result = strict("lisen", "80")
    assert (result.code, result.stdout) == (ExitCode.USAGE, b"")
    assert "zt listen" in result.stderr


def test_variables_of_options_that_repeat_have_a_value_a_line(
    strict: Zt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZT_HEADER", "X-One: a b\nbroken")
    result = strict("call", "http://127.0.0.1:1/")
    assert result.code == ExitCode.USAGE
    assert "broken" in result.stderr
    monkeypatch.setenv("ZT_NETWORK", "8056c2e21c000001, nonsense!")
    assert "nonsense!" in strict("join", "--once").stderr
