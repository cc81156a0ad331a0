"""Makes the completion scripts of the shells: `python -m ztcli.completion FOLDER`.

They are plain word lists, so that a press of the tabulator never starts Python.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ztcli.app import COMMANDS, application, load
from ztcli.completion_names import (
    HOST_WORDS,
    NETWORK_OPTIONS,
    NETWORK_WORDS,
    fish_functions,
    posix_functions,
    zsh_functions,
)

FILES: Final = {"bash": "zt.bash", "zsh": "_zt", "fish": "zt.fish"}
_PATH_OPTIONS: Final = frozenset(
    (
        "--state",
        "--planet",
        "--identity-file",
        "--ready-file",
        "--output",
        "--cacert",
        "--cert",
        "--key",
        "--dir",
        "--save",
        "--upload-file",
        "--password-file",
        "--sign-with",
    )
)


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its spellings, what it means, and what follows it."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...]

    @property
    def takes_path(self) -> bool:
        return not _PATH_OPTIONS.isdisjoint(self.names)

    @property
    def takes_network(self) -> bool:
        return not NETWORK_OPTIONS.isdisjoint(self.names)


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its words, what it does, its options and sub-commands."""

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    commands: tuple[str, ...]


def entries() -> list[Entry]:
    """Return every command; the first one is `zt` itself."""
    root = application()
    found = [Entry((), "", _options(root), tuple(COMMANDS))]
    for name, (_, _, summary) in COMMANDS.items():
        command = load(name)
        children: dict[str, Any] = getattr(command, "commands", {})
        found.append(Entry((name,), summary, _options(command), tuple(children)))
        for child_name, child in children.items():
            text = child.help or ""
            found.append(Entry((name, child_name), text, _options(child), ()))
    return found


def _options(command: Any) -> tuple[Option, ...]:  # noqa: ANN401 - of the Click inside Typer
    options = []
    for parameter in command.params:
        if parameter.param_type_name != "option" or getattr(parameter, "hidden", False):
            continue
        flag = parameter.is_flag or parameter.count
        options.append(
            Option(
                names=tuple(sorted(parameter.opts, key=len, reverse=True)),
                help=parameter.help or "",
                takes_value=not flag,
                choices=tuple(getattr(parameter.type, "choices", ()) or ()),
            )
        )
    options.append(Option(("--help", "-h"), "Show this message and exit.", False, ()))  # noqa: FBT003
    return tuple(options)


def script(shell: str) -> str:
    """Return the completion script of a shell."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](entries())


def _bash(found: list[Entry]) -> str:
    lines = ["# bash completion for zt; made by python -m ztcli.completion", "", posix_functions()]
    lines.append("_zt() {")
    lines += [
        '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"',
        '    local path="" word i',
        "    COMPREPLY=()",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        '        word="${COMP_WORDS[i]}"',
        '        case "$path $word" in',
    ]
    for entry in found[1:]:
        before = " ".join(entry.words[:-1])
        lines.append(f'            "{before} {entry.words[-1]}") path="{" ".join(entry.words)}" ;;')
    lines += ["        esac", "    done", '    case "$previous" in']
    lines += _bash_values(found)
    lines += ["    esac", '    case "$path" in']
    for entry in found:
        words = [*entry.commands, *(name for option in entry.options for name in option.names)]
        lines.append(f'        "{" ".join(entry.words)}") words="{" ".join(words)}" ;;')
    lines += ["    esac", '    case "$path" in']
    for kind, places in (("networks", NETWORK_WORDS), ("hosts", HOST_WORDS)):
        patterns = "|".join(f'"{words}"' for words in places)
        lines.append(f'        {patterns}) words="$words $(_zt_known_{kind})" ;;')
    lines += [
        "    esac",
        '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
        "}",
        "complete -o default -F _zt zt",
        "",
    ]
    return "\n".join(lines).replace("word i\n", "word words i\n")


def _bash_values(found: list[Entry]) -> list[str]:
    choices: dict[str, str] = {}
    paths: set[str] = set()
    for entry in found:
        for option in entry.options:
            if option.choices:
                choices.update(dict.fromkeys(option.names, " ".join(option.choices)))
            if option.takes_path:
                paths.update(option.names)
    lines = []
    for name, words in sorted(choices.items()):
        found_words = f'mapfile -t COMPREPLY < <(compgen -W "{words}" -- "$current")'
        lines += [f"        {name})", f"            {found_words}", "            return ;;"]
    networks = "|".join(sorted(NETWORK_OPTIONS))
    known = 'mapfile -t COMPREPLY < <(compgen -W "$(_zt_known_networks)" -- "$current")'
    lines += [f"        {networks})", f"            {known}", "            return ;;"]
    long_paths = sorted(name for name in paths if name.startswith("--"))
    lines.append(f"        {'|'.join(long_paths)})")
    lines.append('            mapfile -t COMPREPLY < <(compgen -f -- "$current")')
    lines.append("            return ;;")
    return lines


def _zsh(found: list[Entry]) -> str:
    lines = ["#compdef zt", "# zsh completion for zt; made by python -m ztcli.completion", ""]
    lines.append(zsh_functions())
    for entry in found:
        lines += [f"{_zsh_name(entry.words)}() {{", "    local state line", "    _arguments -C \\"]
        lines += [f"        {_zsh_option(option)} \\" for option in entry.options]
        if entry.commands:
            lines += ["        '1: :->command' '*:: :->rest'", "    case $state in"]
            lines += ["    command)", "        local -a commands=("]
            for name in entry.commands:
                child = next(one for one in found if one.words == (*entry.words, name))
                lines.append(f"            {_quote(name + ':' + child.help)}")
            lines += ["        )", "        _describe command commands ;;", "    rest)"]
            lines.append("        case $line[1] in")
            lines += [f"        {n}) {_zsh_name((*entry.words, n))} ;;" for n in entry.commands]
            lines += ["        esac ;;", "    esac"]
        else:
            lines.append(f"        {_quote(_zsh_rest(entry.words))}")
        lines += ["}", ""]
    lines += ['_zt "$@"', ""]
    return "\n".join(lines)


def _zsh_rest(words: tuple[str, ...]) -> str:
    """Return what the words behind a command's options may be."""
    place = " ".join(words)
    if place in NETWORK_WORDS:
        return "*:network:_zt_offer_networks"
    return "*:host:_zt_offer_hosts" if place in HOST_WORDS else "*:file:_files"


def _zsh_name(words: tuple[str, ...]) -> str:
    return "_".join(("_zt", *(word.replace("-", "_") for word in words)))


def _zsh_option(option: Option) -> str:
    help_text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = ""
    if option.takes_value:
        action = f"({' '.join(option.choices)})" if option.choices else ""
        action = "_zt_offer_networks" if option.takes_network else action
        value = f":value:{'_files' if option.takes_path else action}"
    names = "{" + ",".join(option.names) + "}" if len(option.names) > 1 else option.names[0]
    return f"'*'{names}{_quote(f'[{help_text}]{value}')}"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(found: list[Entry]) -> str:
    lines = ["# fish completion for zt; made by python -m ztcli.completion", ""]
    lines += [fish_functions(), "complete -c zt -f"]
    for entry in found:
        condition = _fish_condition(entry, found)
        for name in entry.commands:
            child = next(one for one in found if one.words == (*entry.words, name))
            lines.append(f"complete -c zt -n '{condition}' -a {name} -d {_fish_quote(child.help)}")
        start = f"complete -c zt -n '{condition}'"
        lines += [f"{start} {_fish_option(option)}" for option in entry.options]
        for kind, places in (("networks", NETWORK_WORDS), ("hosts", HOST_WORDS)):
            if " ".join(entry.words) in places:
                lines.append(f"{start} -a '(__zt_known_{kind})'")
    lines.append("")
    return "\n".join(lines)


def _fish_condition(entry: Entry, found: list[Entry]) -> str:
    seen = [f"__fish_seen_subcommand_from {word}" for word in entry.words]
    if not entry.words:
        return "__fish_use_subcommand"
    if entry.commands:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(entry.commands)}")
    del found
    return "; and ".join(seen)


def _fish_option(option: Option) -> str:
    words = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    ]
    if option.takes_value:
        words.append("-r" if option.takes_path else "-x")
        if option.takes_path:
            words.append("-F")
        elif option.takes_network:
            words.append("-a '(__zt_known_networks)'")
        elif option.choices:
            words.append(f"-a '{' '.join(option.choices)}'")
    if option.help:
        words.append(f"-d {_fish_quote(option.help)}")
    return " ".join(words)


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main() -> None:
    """Write every script to the folder named on the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "completions")
    folder.mkdir(exist_ok=True)
    for shell, name in FILES.items():
        (folder / name).write_text(script(shell), "utf-8")


if __name__ == "__main__":
    main()
