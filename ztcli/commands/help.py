"""zt help: the help of a command, and the variables that options are read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from ztcli.binding import CONTEXT, Invocation, bind_invocation, new_app
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.output.records import print_record
from ztcli.output.tables import print_table

_ALL: Final = "all"
_OTHERS: Final = (
    ("ZT_TOKEN", "the token of a controller", _ALL),
    ("ZT_IDENTITY_SECRET", "the secret identity itself", _ALL),
    ("LIBZT_CLI_TRACE", "--trace", _ALL),
)


@dataclass(frozen=True, slots=True)
class HelpOptions:
    """Options of zt help."""

    words: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND...|env]", help="Default: zt itself.")
    ] = None


def show(invocation: Invocation, options: HelpOptions) -> ExitCode:
    from ztcli.app import COMMANDS, application

    words = options.words or []
    if words == ["env"]:
        return _variables(invocation)
    if words and words[0] not in COMMANDS:
        raise UsageProblem(f"no such command: {words[0]}", "see: zt help")
    application().main(
        args=[*words, "--help"], prog_name="zt", standalone_mode=False, obj=invocation
    )
    return ExitCode.OK


def _variables(invocation: Invocation) -> ExitCode:
    """Print every variable, the option that it is, and of which command."""
    from ztcli.app import COMMANDS, application, load

    rows = [*_OTHERS, *_of(application(), _ALL)]
    for name in COMMANDS:
        if name == "nc":
            continue
        command = load(name)
        children: dict[str, Any] = getattr(command, "commands", {})
        for child_name, child in children.items():
            rows += _of(child, f"{name} {child_name}")
        if not children:
            rows += _of(command, name)
    env, settings = invocation.env, invocation.settings()
    if settings.json:
        values = [dict(zip(("variable", "option", "command"), row, strict=True)) for row in rows]
        print_record(env, "variables", {"variables": values})
    else:
        print_table(env, ("VARIABLE", "OPTION", "COMMAND"), [list(row) for row in rows])
    return ExitCode.OK


def _of(command: Any, name: str) -> list[tuple[str, str, str]]:  # noqa: ANN401 - of the Click inside Typer
    rows = []
    for parameter in command.params:
        variables = parameter.envvar or []
        if parameter.param_type_name == "option" and variables and not parameter.hidden:
            # The variable that only this command reads comes first.
            found = variables if isinstance(variables, str) else variables[0]
            rows.append((found, max(parameter.opts, key=len), name))
    return rows


def _make() -> typer.Typer:
    summary = "Print the help of a command, or the variables that options are read from."
    app = new_app()
    app.command("help", help=summary, context_settings=CONTEXT)(
        bind_invocation("help", show, HelpOptions, summary)
    )
    return app


help_app = _make()
