"""zt up: the forwards, exposed ports and the proxy of the config file, in one process."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from ztcli import services
from ztcli.binding import CONTEXT, Invocation, bind_invocation, new_app
from ztcli.config import Entry
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record
from ztcli.output.tables import print_table
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.services import HEALTH_HELP, Named, Service

Text = str | None


@dataclass(frozen=True, slots=True)
class UpOptions:
    """Options of zt up."""

    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMES...", help="Only these; default: all.")
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be started, and start nothing.")
    ] = False
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )


def up(invocation: Invocation, options: UpOptions) -> ExitCode:
    env, settings = invocation.env, invocation.settings()
    entries = _chosen(invocation, options.names or [])
    # Made before anything is started, so that a wrong value is told at once, with its name.
    found = [Named(entry.name, _service(env, settings, entry)) for entry in entries]
    if options.dry_run:
        _tell(env, settings, entries)
        return ExitCode.OK
    return services.serve_all(env, settings, found, options)


def _chosen(invocation: Invocation, wanted: list[str]) -> list[Entry]:
    entries = invocation.config.entries
    if not entries:
        raise UsageProblem(
            f"{invocation.config.path or 'no config file'}: there is nothing to start",
            "write [[forward]], [[expose]] or [proxy] into it",
        )
    known = [entry.name for entry in entries]
    for name in wanted:
        if name not in known:
            raise UsageProblem(f"{name}: no entry has this name", f"there are: {', '.join(known)}")
    return [entry for entry in entries if not wanted or entry.name in wanted]


def _service(env: Environment, settings: Settings, entry: Entry) -> Service:
    try:
        match entry.command:
            case "forward":
                from ztcli.commands.forward import ForwardOptions, ForwardService

                options = ForwardOptions(**_typed(ForwardOptions, entry))
                service = ForwardService(env, settings, options)
                if service.joins_stdio:
                    raise UsageProblem("stdin and stdout are forwarded by zt forward alone")
                return service
            case "expose":
                from ztcli.commands.expose import ExposeOptions, ExposeService

                exposing = ExposeOptions(**_typed(ExposeOptions, entry))
                return ExposeService(env, settings, exposing)
            case _:
                from ztcli.commands.proxy import ProxyOptions, ProxyPort

                return ProxyPort(env, settings, ProxyOptions(**_typed(ProxyOptions, entry)))
    except CommandError as error:
        raise CommandError(f"{entry.name}: {error}", error.code, error.hint) from None


def _typed(kind: type, entry: Entry) -> dict[str, Any]:
    """Return the values of an entry as the dataclass has them; the file's reader checked them."""
    numbers = {one.name for one in fields(kind) if isinstance(one.default, int)}
    numbers.add("proxy_protocol")
    return {
        name: int(value) if name in numbers and isinstance(value, str) else value
        for name, value in entry.options.items()
    }


def _tell(env: Environment, settings: Settings, entries: list[Entry]) -> None:
    if settings.json:
        values = [
            {"name": entry.name, "command": entry.command, "options": entry.options}
            for entry in entries
        ]
        print_record(env, "up", {"networks": list(settings.networks), "entries": values})
        return
    rows = [[entry.name, _command_line(entry)] for entry in entries]
    print_table(env, ("NAME", "COMMAND"), rows)


def _command_line(entry: Entry) -> str:
    """Return the command that does the same for one entry."""
    import shlex

    words = ["zt", entry.command]
    for name, value in entry.options.items():
        option = f"--{name.replace('_', '-')}"
        if name in ("specs", "ports") and isinstance(value, list):
            words[2:2] = map(str, value)
        elif isinstance(value, bool):
            words += [option] if value else []
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [option, str(one)]
    return shlex.join(words)


def _make() -> typer.Typer:
    summary = "Start what the config file lists."
    app = new_app()
    app.command("up", help=summary, context_settings=CONTEXT)(
        bind_invocation("up", up, UpOptions, summary)
    )
    return app


up_app = _make()
