"""Manual pages made of the tree of commands: `zt man`, or `python -m ztcli.manual FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from ztcli.app import COMMANDS, application, load
from ztcli.endings import MEANINGS, codes_of
from ztcli.examples import lines_of

_FILES: Final = (
    ("$XDG_STATE_HOME/zt/PROFILE", "State: identity, planet, moons, networks, peers; mode 0700."),
    ("$XDG_CONFIG_HOME/zt/config.toml", "Options, names and entries for zt up; see zt config."),
)


def names() -> list[str]:
    """Return the commands that have a page: `zt` itself is the empty name."""
    return ["", *(name for name in COMMANDS if name != "nc")]


def page(name: str) -> str:
    """Return the manual page of a command as roff (man(7)); KeyError if there is none."""
    title = f"zt-{name}" if name else "zt"
    command = load(name) if name else application()
    summary = COMMANDS[name][2] if name else "ZeroTier from Python, with nothing installed."
    lines = [
        f'.TH {_quoted(title.upper())} 1 "" "zt" "User Commands"',
        ".SH NAME",
        rf"{_text(title)} \- {_text(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
    ]
    children: dict[str, Any] = getattr(command, "commands", {})
    if name and children:
        for child_name, child in children.items():
            lines += [".B " + _text(f"zt {name} {child_name}"), _synopsis(child), ".br"]
    else:
        lines += [".B " + _text(f"zt {name}".rstrip()), _synopsis(command)]
    if not name:
        lines += [".SH COMMANDS"]
        for other in names()[1:]:
            lines += [".TP", rf".BR zt\-{_text(other)} (1)", _text(COMMANDS[other][2])]
    for child_name, child in children.items() if name else ():
        lines += [f".SH {_quoted(child_name.upper())}", _text(child.help or "")]
        lines += _options(child)
    if not children:
        lines += [".SH OPTIONS", *_options(command)]
    lines += [
        ".SH ENVIRONMENT",
        _text("Every option --foo-bar may be given as ZT_FOO_BAR, or ZT_COMMAND_FOO_BAR."),
        ".SH FILES",
    ]
    for file, words in _FILES:
        lines += [".TP", f".I {_text(file)}", _text(words)]
    whole = [f"{name} {child}" for child in children] if name else []
    examples = [line for words in whole or [name] for line in lines_of(words)]
    if examples:
        lines += [".SH EXAMPLES"]
        for line in examples:
            lines += [f".B {_text(line)}", ".br"]
    lines += [".SH EXIT STATUS"]
    codes = {code for words in whole or [name] for code in codes_of(words)} if name else MEANINGS
    for code in sorted(codes):
        lines += [".TP", f".B {int(code)}", _text(MEANINGS[code])]
    if name:
        lines += [".SH SEE ALSO", ".BR zt (1)"]
    return "\n".join(lines) + "\n"


def _synopsis(command: Any) -> str:  # noqa: ANN401 - of the Click inside Typer
    words = ["[OPTIONS]"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            text = parameter.metavar or parameter.name.upper()
            words.append(text if parameter.required else f"[{text}]")
    if getattr(command, "commands", None):
        words.append("COMMAND [ARGS]...")
    return _text(" ".join(words))


def _options(command: Any) -> list[str]:  # noqa: ANN401 - of the Click inside Typer
    lines = []
    for parameter in command.params:
        if parameter.param_type_name != "option" or getattr(parameter, "hidden", False):
            continue
        spellings = sorted((*parameter.opts, *parameter.secondary_opts), key=len)
        shown = ", ".join(rf"\fB{_text(name)}\fR" for name in spellings)
        if not parameter.is_flag and not parameter.count:
            metavar = parameter.metavar or parameter.type.name.upper()
            shown += rf" \fI{_text(metavar)}\fR"
        lines += [".TP", shown, _text(parameter.help or "")]
    return lines


def _text(words: str) -> str:
    """Return words as roff shows them: hyphens as they are typed, no request by chance."""
    escaped = words.replace("\\", r"\e").replace("-", r"\-")
    return escaped or r"\&" if not escaped.startswith((".", "'")) else rf"\&{escaped}"


def _quoted(words: str) -> str:
    return '"' + _text(words).replace('"', r"\(dq") + '"'


def main() -> None:
    """Write every page into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in names():
        title = f"zt-{name}" if name else "zt"
        (folder / f"{title}.1").write_text(page(name), "utf-8")


if __name__ == "__main__":
    main()
