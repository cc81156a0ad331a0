"""zt version, zt completion and zt man."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from ztcli.binding import CONTEXT, NoOptions, bind, new_app, single
from ztcli.environment import Environment
from ztcli.exit_codes import ChildExit, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record


class Shell(StrEnum):
    """Shells that completions are made for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@dataclass(frozen=True, slots=True)
class CompletionOptions:
    """Options of zt completion show."""

    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]


@dataclass(frozen=True, slots=True)
class ManOptions:
    """Options of zt man."""

    command: Annotated[
        str | None, typer.Argument(metavar="[COMMAND]", help="Whose page; default: zt itself.")
    ] = None


def version(env: Environment, settings: Settings, _: NoOptions) -> ExitCode:
    try:
        number = importlib.metadata.version("ztstack")
    except importlib.metadata.PackageNotFoundError:
        import ztstack

        number = ztstack.__version__
    if settings.json:
        values = {"version": number, "python": platform.python_version()}
        print_record(env, "version", dict(values))
    else:
        env.print(f"zt {number}")
    return ExitCode.OK


def show(env: Environment, settings: Settings, options: CompletionOptions) -> ExitCode:
    from ztcli.completion import script

    del settings
    env.write(script(options.shell.value).encode())
    return ExitCode.OK


def man(env: Environment, settings: Settings, options: ManOptions) -> ExitCode:
    """Show a manual page by `man` on a terminal; else write its source."""
    import shutil
    import subprocess

    from ztcli import manual

    del settings
    name = options.command or ""
    if name not in manual.names():
        raise UsageProblem(f"no such command: {name}", "see: zt --help")
    source = manual.page(name)
    viewer = shutil.which("man")
    if viewer is None or not os.isatty(env.stdout):
        env.write(source.encode())
        return ExitCode.OK
    done = subprocess.run([viewer, "-l", "-"], input=source.encode(), check=False)  # noqa: S603
    if done.returncode:
        raise ChildExit(done.returncode)
    return ExitCode.OK


def _make() -> typer.Typer:
    app = new_app("Completions for a shell.")
    app.callback()(lambda: None)
    app.command("show", context_settings=CONTEXT)(
        bind("completion show", show, CompletionOptions, "Print the completion script.")
    )
    return app


version_app = single("version", version, NoOptions, "Print the version.")
completion_app = _make()
man_app = single("man", man, ManOptions, "Print a manual page; on a terminal, show it.")
