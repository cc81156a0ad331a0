"""Makes a Typer command of a function and the dataclass of its options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

import typer

from ztcli import names
from ztcli.boundary import Manner
from ztcli.config import Config
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.log import level_of, open_log
from ztcli.options import Common, Settings, foreign, settings

Options = TypeVar("Options")
_URL: Final = re.compile(r"[^/]*://[^/@]*:[^/@]+@.*", re.DOTALL)
# An option, how it looks with a password in it, and where that belongs.
_WITH_PASSWORDS: Final = {
    "user": (
        re.compile(r"[^:]*:.+", re.DOTALL),
        "--user NAME, and --password-file FILE; or both in ZT_USER",
    ),
    "proxy": (_URL, "put the URL into ZT_PROXY, or into the config file"),
    "upstream_proxy": (_URL, "put the URL into ZT_UPSTREAM_PROXY, or into the config file"),
}
CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


@dataclass(slots=True)
class Invocation:
    """One run of `zt`: its world, the options before the command, how errors are told."""

    env: Environment
    manner: Manner = field(default_factory=Manner)
    common: Common = field(default_factory=Common)
    config: Config = field(default_factory=Config)
    origins: dict[str, str] = field(default_factory=dict)

    def learn(self, common: Common) -> None:
        """Take options in; a profile's errors are told as they say."""
        self.common = self.common.merged(common)
        self.manner.json = self.manner.json or bool(self.common.json)
        self.manner.trace = self.manner.trace or bool(self.common.trace)
        self.manner.silent = self.common.quiet >= 2

    def settings(self) -> Settings:
        # The environment and the file speak for every command: what is of the other stack
        # is wrong on the command line alone.
        self.common = self.common.without(
            name for name in foreign(self.common) if self.origins.get(name, "flag") != "flag"
        )
        folder = self.env.state_folder(self.common.profile)
        # What has a name keeps it, also for a node that keeps nothing.
        kept = names.load(Path(self.common.state) if self.common.state else folder)
        found = settings(self.common, folder, self.config.names.over(kept))
        if found.authorize and not found.token_file and not self.env.variables.get("ZT_TOKEN"):
            raise UsageProblem("--authorize needs a token: --token-file FILE, or ZT_TOKEN")
        for warning in found.warnings:
            self.env.warn(found, f"warning: {warning}")
        return found

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Send what is said to where --log-file and --log-format want it."""
        from ztcli.library_log import told_library

        common, env = self.common, self.env
        log = open_log(common.log_file, common.log_format, env.stderr)
        self.env = replace(env, log=log)
        self.manner.log = log if common.log_file is not None else None
        with told_library(self.env.say, level_of(common.quiet, common.verbose)):
            yield


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a command that has none of its own."""


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def parameters(kind: type, prefix: str | None) -> list[inspect.Parameter]:
    """Return a dataclass's fields as parameters; options get their environment variables.

    `--foo-bar` of `zt call` is ZT_CALL_FOO_BAR or ZT_FOO_BAR; with prefix None only the latter.
    """
    found = []
    for entry in fields(kind):
        annotation = _hints(kind)[entry.name]
        if get_origin(annotation) is Annotated:
            base, info = get_args(annotation)
            if type(info) is type(typer.Option()) and prefix != "":
                info = copy(info)
                name = entry.name.upper().rstrip("_")
                own = [f"ZT_{prefix.upper()}_{name}"] if prefix else []
                info.envvar = [*own, f"ZT_{name}"]
                info.show_envvar = True
            annotation = Annotated[base, info]
        default = entry.default
        if default is MISSING:
            default = inspect.Parameter.empty
        found.append(
            inspect.Parameter(
                entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    return found


def bind(
    name: str,
    run: Callable[[Environment, Settings, Options], ExitCode],
    kind: type[Options],
    summary: str,
) -> Callable[..., ExitCode]:
    """Return a callback for Typer that calls `run(env, settings, options)`."""

    def run_settled(invocation: Invocation, options: Options) -> ExitCode:
        return run(invocation.env, invocation.settings(), options)

    return bind_invocation(name, run_settled, kind, summary)


def bind_invocation(
    name: str,
    run: Callable[[Invocation, Options], ExitCode],
    kind: type[Options],
    summary: str,
) -> Callable[..., ExitCode]:
    """Return a callback for Typer that calls `run(invocation, options)`."""
    own = parameters(kind, name.replace("-", "_").replace(" ", "_"))
    own_names = [parameter.name for parameter in own]
    shared = [parameter for parameter in parameters(Common, "") if parameter.name not in own_names]

    def callback(ctx: typer.Context, **values: Any) -> ExitCode:  # noqa: ANN401 - Typer's
        invocation: Invocation = ctx.obj
        _refuse_passwords(ctx, values)
        options = kind(**{key: values.pop(key) for key in own_names})
        note_origins(ctx, values, invocation)
        invocation.learn(Common(**values))
        with invocation.logged():
            return run(invocation, options)

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    everything = [context, *own, *shared]
    callback.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in everything}
    callback.__doc__ = summary
    callback.__name__ = name.replace(" ", "_").replace("-", "_")
    return callback


def _refuse_passwords(ctx: typer.Context, values: Mapping[str, object]) -> None:
    """Take no password from the command line: every list of processes shows it."""
    for name, (pattern, hint) in _WITH_PASSWORDS.items():
        source = ctx.get_parameter_source(name) if values.get(name) is not None else None
        if source is None or source.name != "COMMANDLINE":
            continue
        if pattern.fullmatch(str(values[name])):
            option = f"--{name.replace('_', '-')}"
            raise UsageProblem(f"{option}: everybody on this machine can see the password", hint)


def note_origins(ctx: typer.Context, values: Mapping[str, object], invocation: Invocation) -> None:
    """Remember of each option of all commands where its value came from."""
    for name in values:
        source = ctx.get_parameter_source(name)
        match source.name if source is not None else "DEFAULT":
            case "COMMANDLINE":
                invocation.origins[name] = "flag"
            case "ENVIRONMENT":
                invocation.origins[name] = f"ZT_{name.upper()}"
            case "DEFAULT_MAP":
                invocation.origins[name] = invocation.config.origins.get(name, "file")
            case _:
                pass


def learn_common() -> Callable[..., None]:
    """Return the callback of the top level: it takes the options before the command."""
    shared = parameters(Common, None)

    def callback(ctx: typer.Context, **values: Any) -> None:  # noqa: ANN401 - Typer's
        invocation: Invocation = ctx.obj
        note_origins(ctx, values, invocation)
        _refuse_passwords(ctx, values)
        invocation.learn(Common(**values))

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    everything = [context, *shared]
    callback.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in everything}
    callback.__doc__ = "ZeroTier from Python, with nothing installed."
    return callback


def written(common: Common) -> list[str]:
    """Return the words that give these options to another `zt`."""
    words: list[str] = []
    for entry in fields(Common):
        value = getattr(common, entry.name)
        option = f"--{entry.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, int):
            words += [option] * value
        elif isinstance(value, list):
            words += [word for one in value for word in (option, one)]
        elif value is not None:
            words += [option, value]
    return words


def new_app(help_text: str = "") -> typer.Typer:
    """Return an empty Typer application in our manner: plain help, no completion of its own."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        context_settings=CONTEXT,
    )


def single(
    name: str,
    run: Callable[[Environment, Settings, Options], ExitCode],
    kind: type[Options],
    summary: str,
) -> typer.Typer:
    """Return an application of one command."""
    app = new_app()
    app.command(name, help=summary, context_settings=CONTEXT)(bind(name, run, kind, summary))
    return app
