"""zt version, zt completion and zt man."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ztcli import __version__
from ztcli.binding import CONTEXT, NoOptions, bind, new_app, single
from ztcli.environment import Environment
from ztcli.exit_codes import ChildExit, CommandError, ExitCode, UsageProblem
from ztcli.files import replace_file
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
class InstallOptions:
    """Options of zt completion install."""

    shell: Annotated[
        Shell | None, typer.Argument(help="bash, zsh or fish; default: of $SHELL.")
    ] = None


@dataclass(frozen=True, slots=True)
class ManOptions:
    """Options of zt man."""

    command: Annotated[
        str | None, typer.Argument(metavar="[COMMAND]", help="Whose page; default: zt itself.")
    ] = None


def version(env: Environment, settings: Settings, _: NoOptions) -> ExitCode:
    if settings.json:
        import platform

        values = {"version": __version__, "python": platform.python_version()}
        print_record(env, "version", dict(values))
    else:
        env.print(f"zt {__version__}")
    return ExitCode.OK


def show(env: Environment, settings: Settings, options: CompletionOptions) -> ExitCode:
    from ztcli.completion import script

    del settings
    env.write(script(options.shell.value).encode())
    return ExitCode.OK


def install(env: Environment, settings: Settings, options: InstallOptions) -> ExitCode:
    """Put the script where the shell looks for it, and say so."""
    from ztcli.completion import script

    shell = options.shell.value if options.shell is not None else _own_shell(env)
    where = _place(env, shell)
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{where}: {error.strerror}", ExitCode.CANNOT_WRITE) from error
    replace_file(where, script(shell).encode(), 0o644)
    if settings.json:
        print_record(env, "completion", {"shell": shell, "path": str(where)})
    else:
        env.print(str(where))
    if shell == Shell.ZSH:
        env.say(f"in ~/.zshrc, before compinit: fpath=({where.parent} $fpath)")
    else:
        env.say("it works in new shells")
    return ExitCode.OK


def _own_shell(env: Environment) -> str:
    name = Path(env.variables.get("SHELL", "")).name
    if name not in tuple(Shell):
        known = ", ".join(Shell)
        raise UsageProblem(f"SHELL names none of {known}", "zt completion install SHELL")
    return name


def _place(env: Environment, shell: str) -> Path:
    """Return where each shell looks: bash-completion, a folder for fpath, fish."""
    if shell == Shell.FISH:
        base = env.variables.get("XDG_CONFIG_HOME") or env.home / ".config"
        return Path(base) / "fish" / "completions" / "zt.fish"
    data = Path(env.variables.get("XDG_DATA_HOME") or env.home / ".local" / "share")
    if shell == Shell.ZSH:
        return data / "zsh" / "site-functions" / "_zt"
    return data / "bash-completion" / "completions" / "zt"


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
    app.command("install", context_settings=CONTEXT)(
        bind("completion install", install, InstallOptions, "Put the script where the shell looks.")
    )
    return app


version_app = single("version", version, NoOptions, "Print the version.")
completion_app = _make()
man_app = single("man", man, ManOptions, "Print a manual page; on a terminal, show it.")
