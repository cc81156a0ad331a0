"""zt ssh and zt ssh-config: the system's ssh, led through `zt call --stdio`."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import Invocation, new_app, written
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.foreground import foreground

DEFAULT_PATTERN: Final = "*.zt"
_BEGIN: Final = "# zt ssh-config: begin"
_END: Final = "# zt ssh-config: end"
_SSH_CONTEXT: Final = {
    "help_option_names": ["--help"],
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
}


def proxy_command(invocation: Invocation) -> str:
    """Return what ssh runs to reach %h and %p, with the options that this call has."""
    common = invocation.common
    if common.upstream_proxy and parsing.upstream_proxy(common.upstream_proxy).password:
        # It came from a variable or the config file, and so it will again.
        common = common.without(("upstream_proxy",))
    words = [sys.executable, "-m", "ztcli", *written(common), "call", "--stdio"]
    return shlex.join(words).replace("%", "%%") + " %h %p"


def ssh(ctx: typer.Context, arguments: Annotated[list[str], typer.Argument()]) -> ExitCode:
    """Run ssh; the words behind `ssh` are its own."""
    invocation: Invocation = ctx.obj
    settings = invocation.settings()
    words = ["ssh", "-o", f"ProxyCommand={proxy_command(invocation)}", *arguments]

    async def main() -> ExitCode:
        await foreground(invocation.env, words, {})
        return ExitCode.OK

    return runner.run(invocation.env, main, settings.total_timeout())


def ssh_config(
    ctx: typer.Context,
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="PATTERN", help="Default: *.zt.")
    ] = None,
    install: Annotated[  # noqa: FBT002 - Typer's way
        bool, typer.Option("--install", help="Write it to ~/.ssh/config.")
    ] = False,
) -> ExitCode:
    """Print a block for ~/.ssh/config, or put it there in place of the last one."""
    invocation: Invocation = ctx.obj
    patterns = host or [DEFAULT_PATTERN]
    for pattern in patterns:
        if not pattern or any(letter.isspace() or letter in '"#' for letter in pattern):
            raise UsageProblem(f"--host {pattern!r}: not a pattern of ssh_config")
    invocation.settings()
    block = f"Host {' '.join(patterns)}\n    ProxyCommand {proxy_command(invocation)}\n"
    if not install:
        invocation.env.write(block.encode())
        return ExitCode.OK
    where = invocation.env.home / ".ssh" / "config"
    try:
        _install(where, block)
    except OSError as error:
        raise CommandError(f"{where}: {error.strerror}", ExitCode.CANNOT_WRITE) from error
    invocation.env.say(f"written to {where}")
    return ExitCode.OK


def _install(where: Path, block: str) -> None:
    """Put a block before all others, where ssh looks first; an older one of ours goes."""
    where.parent.mkdir(mode=0o700, exist_ok=True)
    old = where.read_text("utf-8") if where.exists() else ""
    before, begin, rest = old.partition(f"{_BEGIN}\n")
    if begin:
        _, end, after = rest.partition(f"{_END}\n")
        old = before + (after if end else rest)
    descriptor, name = tempfile.mkstemp(dir=where.parent, prefix=".config-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{_BEGIN}\n{block}{_END}\n{old}")
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(where.stat().st_mode & 0o777 if where.exists() else 0o600)
        Path(name).replace(where.resolve())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


ssh_app = new_app()
ssh_app.command(
    "ssh",
    help="Run ssh through the network: zt ssh [USER@]HOST [SSH ARGS]...",
    context_settings=_SSH_CONTEXT,
)(ssh)
ssh_config_app = new_app()
ssh_config_app.command("ssh-config", help="Print what ~/.ssh/config needs.")(ssh_config)
