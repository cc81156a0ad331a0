"""The configuration file: TOML whose keys are the options, checked whole before it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ztcli.config_lines import Place, line_of
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, UsageProblem
from ztcli.names import Names, check_address, check_alias, check_host
from ztcli.options import Common, settings
from ztcli.parsing import network_text

NONE: Final = "none"
ENTRIES: Final = {"forward": "specs", "expose": "ports"}
"""The arrays of tables that `zt up` starts, and the argument of the command that each is."""
_SINGULAR: Final = {"spec": "specs", "port": "ports"}
_NOT_IN_FILES: Final = ("config", "profile")
_NOT_OF_ENTRIES: Final = ("ready_file", "ready_fd", "health", "open_browser", "dry_run")
_LIMIT: Final = 1 << 20

Table = Mapping[str, object]
Load = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What `zt up` starts for one table: the command, its name here, its options."""

    command: str
    name: str
    options: dict[str, object]


@dataclass(frozen=True, slots=True)
class Config:
    """A file for one profile: options of all commands, of single ones, names and entries."""

    path: Path | None = None
    common: Mapping[str, object] = field(default_factory=dict)
    commands: Mapping[str, dict[str, object]] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    entries: tuple[Entry, ...] = ()

    def of_command(self, name: str, own: frozenset[str]) -> dict[str, object]:
        """Return the defaults of a command; it may have options of all commands as its own."""
        inherited = {key: value for key, value in self.common.items() if key in own}
        return {**inherited, **self.commands.get(name, {})}


def default_path(env: Environment) -> Path:
    """Return where the file is looked for if nobody names one."""
    base = env.variables.get("XDG_CONFIG_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "zt" / "config.toml"
    if sys.platform == "win32":
        roaming = env.variables.get("APPDATA", "")
        root = Path(roaming) if roaming else env.home / "AppData" / "Roaming"
        return root / "zt" / "config.toml"
    return env.home / ".config" / "zt" / "config.toml"


def find(env: Environment, named: str | None) -> Path | None:
    """Return the file to be read; None if there is none, or none is wanted."""
    text = named or env.variables.get("ZT_CONFIG", "")
    if text.lower() == NONE:
        return None
    if text:
        return Path(text)
    path = default_path(env)
    return path if path.exists() else None


def read(path: Path, profile: str, root: Any, load: Load, commands: frozenset[str]) -> Config:  # noqa: ANN401 - a command of the Click inside Typer
    """Read a file for a profile; whatever is wrong in it, in other profiles too, is refused.

    `root` is the command whose options all others have, `load` gives one of `commands` by name.
    """
    import tomllib

    try:
        with path.open("rb") as stream:
            text = stream.read(_LIMIT).decode("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}", "name a file, or --config none") from None
    except UnicodeDecodeError:
        raise UsageProblem(f"{path}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageProblem(f"{path}: {error}") from None
    return _Reader(path, text, root, load, commands).config(data, profile)


class _Reader:
    """One pass over a file."""

    def __init__(
        self,
        path: Path,
        text: str,
        root: Any,  # noqa: ANN401
        load: Load,
        commands: frozenset[str],
    ) -> None:
        self._path = path
        self._text = text
        self._root = root
        self._load = load
        self._commands = commands
        self._origins: dict[str, str] = {}

    def config(self, data: dict[str, object], profile: str) -> Config:
        networks = self._names(data.pop("networks", {}), "networks")
        hosts = self._names(data.pop("hosts", {}), "hosts")
        names = Names(networks, hosts)
        profiles = self._table(data.pop("profile", {}), ("profile",))
        entries = [*self._entries(data, "forward"), *self._entries(data, "expose")]
        common, commands = self._section(data, (), names)
        for name, found in profiles.items():
            place = ("profile", name)
            own, own_commands = self._section(
                self._table(found, place), place, names, remember=name == profile
            )
            if name == profile:
                common |= own
                for command, options in own_commands.items():
                    commands[command] = _merged(commands.get(command, {}), options)
        proxy = commands.get("proxy")
        if proxy is not None:
            options = {key: proxy[key] for key in proxy if key not in _NOT_OF_ENTRIES}
            entries.append(Entry("proxy", "proxy", options))
        self._check_entry_names(entries)
        return Config(self._path, common, commands, self._origins, names, tuple(entries))

    # Sections.

    def _section(
        self, data: Table, place: Place, names: Names, *, remember: bool = True
    ) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
        """Return the options of all commands, and those of single ones."""
        common: dict[str, object] = {}
        commands: dict[str, dict[str, object]] = {}
        for key, value in data.items():
            here = (*place, key)
            if isinstance(value, dict):
                commands[key] = self._command(key, value, here)
                continue
            name = key.replace("-", "_")
            parameter = _options(self._root).get(name)
            if parameter is None or name in _NOT_IN_FILES:
                raise self._problem(here, "there is no such option", self._near(name))
            common[name] = self._value(parameter, value, here)
            self._check(name, common[name], here, names)
            if remember:
                self._origins[name] = self._where(here)
        return common, commands

    def _command(self, name: str, table: Table, place: Place) -> dict[str, object]:
        if name not in self._commands:
            raise self._problem(place, "there is no such section or command")
        return self._options(self._load(name), table, place)

    def _options(self, command: Any, table: Table, place: Place) -> dict[str, object]:  # noqa: ANN401
        """Return the options of a command by their names; those of a group are one level deeper."""
        children: dict[str, Any] = getattr(command, "commands", {})
        own = _own_options(command, self._root)
        found: dict[str, object] = {}
        for key, value in table.items():
            here = (*place, key)
            if key in children:
                found[key] = self._options(children[key], self._table(value, here), here)
                continue
            name = key.replace("-", "_")
            if name not in own:
                hint = "it is an option of all commands: write it above the sections"
                is_common = name in _options(self._root)
                raise self._problem(here, "there is no such option", hint if is_common else "")
            found[name] = self._value(own[name], value, here)
        return found

    # Entries.

    def _entries(self, data: dict[str, object], command: str) -> list[Entry]:
        found = data.get(command)
        if not isinstance(found, list):
            return []
        del data[command]
        return [
            self._entry(command, self._table(table, (command, number)), (command, number))
            for number, table in enumerate(found)
        ]

    def _entry(self, command: str, table: Table, place: Place) -> Entry:
        argument = ENTRIES[command]
        known = _own_options(self._load(command), self._root)
        values: dict[str, object] = {}
        name = ""
        for key, value in table.items():
            here = (*place, key)
            option = key.replace("-", "_")
            if option == "name":
                name = self._word(value, here)
            elif _SINGULAR.get(option, option) == argument:
                found = value if isinstance(value, list) else [value]
                values[argument] = [self._word(one, here) for one in found]
            elif option in known and option not in _NOT_OF_ENTRIES:
                values[option] = self._value(known[option], value, here)
            else:
                raise self._problem(here, f"there is no such key of [[{command}]]")
        wanted = values.get(argument)
        if not isinstance(wanted, list) or not wanted:
            raise self._problem(place, f"the {argument.removesuffix('s')} is missing")
        return Entry(command, name or wanted[0], values)

    def _check_entry_names(self, entries: list[Entry]) -> None:
        names = [entry.name for entry in entries]
        for name in names:
            if names.count(name) > 1:
                raise UsageProblem(
                    f"{self._path}: two entries are named {name!r}", 'tell them apart: name = "..."'
                )

    # Values.

    def _names(self, data: object, section: str) -> dict[str, str]:
        found = {}
        for key, value in self._table(data, (section,)).items():
            here = (section, key)
            text = self._word(value, here)
            try:
                if section == "networks":
                    found[check_alias(key)] = network_text(text)
                else:
                    found[check_host(key)] = check_address(text)
            except UsageProblem as problem:
                raise self._problem(here, str(problem)) from None
        return found

    def _value(self, parameter: Any, value: object, place: Place) -> object:  # noqa: ANN401
        """Return a value as the option takes it, or refuse its type."""
        if parameter.is_flag:
            if not isinstance(value, bool):
                raise self._problem(place, f"is true or false, not {value!r}")
            return value
        if parameter.multiple:
            found = value if isinstance(value, list) else [value]
            return [self._one(parameter, one, place) for one in found]
        return self._one(parameter, value, place)

    def _one(self, parameter: Any, value: object, place: Place) -> object:  # noqa: ANN401
        if parameter.count:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 3:
                raise self._problem(place, f"is a number from 0 to 3, not {value!r}")
            return value
        text = self._word(value, place)
        try:
            parameter.type.convert(text, parameter, None)
        except Exception as error:
            words = getattr(error, "message", None)
            if words is None:
                raise
            raise self._problem(place, str(words).rstrip(".")) from None
        return text

    def _word(self, value: object, place: Place) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._problem(place, f"is a text or a number, not {value!r}")
        return str(value)

    def _table(self, value: object, place: Place) -> Table:
        if not isinstance(value, dict):
            raise self._problem(place, "is a section: write [" + ".".join(map(str, place)) + "]")
        return value

    def _check(self, name: str, value: object, place: Place, names: Names) -> None:
        """Refuse a value that no command could use; what goes with what is checked later."""
        if name == "network":
            # The state directory may know more names than this file.
            return
        refused: UsageProblem | None = None
        for stack in ("managed", "overlay"):
            values: dict[str, Any] = {"stack": stack, name: value}
            try:
                settings(Common(**values), Path(), names)
            except UsageProblem as problem:
                refused = refused or problem
            except CommandError:
                return  # What it asks for is not there, but well asked for.
            else:
                return
        if refused is not None:
            raise self._problem(place, str(refused))

    # Words.

    def _where(self, place: Place) -> str:
        line = line_of(self._text, place)
        return f"{self._path}:{line}" if line is not None else str(self._path)

    def _near(self, name: str) -> str:
        import difflib

        near = difflib.get_close_matches(name, _options(self._root), n=1)
        return f"did you mean: {near[0]}" if near else ""

    def _problem(self, place: Place, words: str, hint: str = "") -> UsageProblem:
        line = line_of(self._text, place)
        where = f"{self._path}, line {line}" if line is not None else str(self._path)
        key = ".".join(str(part) for part in place if not isinstance(part, int))
        return UsageProblem(f"{where}: {key}: {words}", hint)


def _options(command: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        parameter.name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
    }


def _own_options(command: Any, root: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the options that a command does not have in common with all; those have no variable.

    A command may have an option of all commands as its own, and then its variable tells.
    """
    shared = _options(root)
    return {
        name: parameter
        for name, parameter in _options(command).items()
        if name not in shared or parameter.envvar is not None
    }


def _merged(first: dict[str, object], second: dict[str, object]) -> dict[str, object]:
    """Return one dictionary over another, sub-command by sub-command."""
    result = dict(first)
    for key, value in second.items():
        before = result.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[key] = {**before, **value} if both else value  # type: ignore[dict-item]  # both are dicts here
    return result
