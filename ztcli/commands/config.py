"""zt config: what the options are, where they came from, and whether the file is right."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from ztcli import config
from ztcli.binding import CONTEXT, Invocation, NoOptions, bind_invocation, new_app
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Common
from ztcli.output.records import print_record
from ztcli.output.tables import print_table


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Options of zt config show."""

    origin: Annotated[bool, typer.Option("--origin", help="And who said so.")] = False


def show(invocation: Invocation, options: ShowOptions) -> ExitCode:
    """Print the options that are set; defaults are not."""
    env = invocation.env
    settings = invocation.settings()
    found: list[dict[str, Any]] = [
        {"option": entry.name, "value": value, "origin": invocation.origins.get(entry.name, "flag")}
        for entry in fields(Common)
        if (value := getattr(invocation.common, entry.name)) not in (None, [], 0)
        and entry.name not in ("json", "config")
    ]
    file = str(invocation.config.path) if invocation.config.path is not None else None
    if settings.json:
        values: dict[str, object] = {
            "file": file,
            "state": str(settings.state) if settings.state is not None else None,
            "options": found,
            "networks": dict(settings.names.networks),
            "hosts": dict(settings.names.hosts),
        }
        print_record(env, "config", values)
        return ExitCode.OK
    if options.origin:
        rows = [[one["option"], _text(one["value"]), one["origin"]] for one in found]
        print_table(env, ("OPTION", "VALUE", "ORIGIN"), rows)
        return ExitCode.OK
    for one in found:
        env.print(f"{one['option']} = {_toml(one['value'])}")
    for section, known in (("networks", settings.names.networks), ("hosts", settings.names.hosts)):
        if known:
            env.print(f"[{section}]")
        for name, value in sorted(known.items()):
            env.print(f"{_toml(name) if '.' in name else name} = {_toml(value)}")
    return ExitCode.OK


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else _toml(value).strip('"')


def _toml(value: object) -> str:
    """Write a value as TOML does; its texts are those of JSON."""
    import json

    return json.dumps(value)


def check(invocation: Invocation, _: NoOptions) -> ExitCode:
    """Tell which file was read; what is wrong in it was refused before this."""
    env, path = invocation.env, invocation.config.path
    settings = invocation.settings()
    if path is None:
        raise UsageProblem(
            f"there is no config file: {config.default_path(env)}", "name one with --config PATH"
        )
    if settings.json:
        print_record(env, "config-check", {"file": str(path), "ok": True})
    else:
        env.print(f"{path}: ok")
    return ExitCode.OK


def _make() -> typer.Typer:
    app = new_app("Show and check the configuration.")
    app.command("show", context_settings=CONTEXT)(
        bind_invocation("config show", show, ShowOptions, "Print the options that are set.")
    )
    app.command("check", context_settings=CONTEXT)(
        bind_invocation("config check", check, NoOptions, "Check the config file; print its path.")
    )
    return app


config_app = _make()
