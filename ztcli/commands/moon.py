"""zt moon: orbit, leave, list and make moons, which are further sets of roots."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import CONTEXT, NoOptions, bind, new_app
from ztcli.commands.planet import named_roots, read_signer, write_world
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_record
from ztcli.output.tables import print_table

WAIT_S: Final = 60.0
_FILE_LIMIT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class OrbitOptions:
    """Options of zt moon orbit."""

    moon: Annotated[str, typer.Argument(metavar="ID|FILE", help="The moon's id, or its file.")]
    seed: Annotated[
        str | None, typer.Argument(metavar="[SEED]", help="A root that has it; default: the id.")
    ] = None


@dataclass(frozen=True, slots=True)
class DeorbitOptions:
    """Options of zt moon deorbit."""

    moon: Annotated[str, typer.Argument(metavar="ID")]


@dataclass(frozen=True, slots=True)
class MakeOptions:
    """Options of zt moon make."""

    root: Annotated[
        list[str],
        typer.Option("--root", metavar="IDENTITY@IP:PORT", help="A root; a file or the text."),
    ]
    sign_with: Annotated[
        str, typer.Option("--sign-with", metavar="STATE|FILE", help="Secret identity to sign with.")
    ]
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Default: ID.moon here.")
    ] = None
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Default: the first root's.")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace the file there.")] = False


def orbit(env: Environment, settings: Settings, options: OrbitOptions) -> ExitCode:
    path = Path(options.moon)
    if options.seed is None and path.is_file():
        return _add(env, settings, path)
    moon_id, seed = parsing.moon(f"{options.moon}@{options.seed}" if options.seed else options.moon)
    if settings.is_overlay:
        raise UsageProblem("moons belong to the managed stack, not to the overlay")
    import ztstack

    progress = Progress(env, settings)
    # A node that runs there goes on; another one, of which nothing is kept, asks for it.
    files = ztstack.MoonFiles(settings.state) if settings.state is not None else None
    keeper = files if files is not None and files.is_in_use() else None
    asking = _as_a_guest(settings) if keeper is not None else settings
    if keeper is not None:
        # Two nodes with one identity would take the answers from each other.
        others = {k: v for k, v in env.variables.items() if k != "ZT_IDENTITY_SECRET"}
        env = replace(env, variables=others)

    async def main() -> ExitCode:
        from ztcli.engine_stack import StackEngine

        async with StackEngine(env, asking) as engine:
            await engine.wait_online()
            progress.show(f"asking {seed:010x} for the moon {moon_id:016x}")
            try:
                moon = await engine.node.orbit(moon_id, ztstack.Address(seed), WAIT_S)
            finally:
                progress.clear()
        if keeper is not None:
            keeper.add(moon.serialize())
            _say_followed(env, settings)
        return _show_orbit(env, settings, moon.id, len(moon.roots))

    return runner.run(env, main, settings.total_timeout())


def _as_a_guest(settings: Settings) -> Settings:
    """Return the settings for a node with another identity under the same planet."""
    state = _state(settings)
    files = (settings.planet, state / "planet", state / "roots")
    planet = next((file for file in files if file is not None and file.is_file()), None)
    quiet = max(settings.quiet, 1)
    return replace(settings, state=None, identity_file="", bind=(), planet=planet, quiet=quiet)


def _say_followed(env: Environment, settings: Settings) -> None:
    if not settings.quiet:
        env.say("the running node follows within seconds")


def _add(env: Environment, settings: Settings, path: Path) -> ExitCode:
    import ztstack

    try:
        with path.open("rb") as stream:
            data = stream.read(_FILE_LIMIT)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.CANNOT_READ) from error
    files = ztstack.MoonFiles(_state(settings))
    moon = files.add(data)
    if files.is_in_use():
        _say_followed(env, settings)
    return _show_orbit(env, settings, moon.id, len(moon.roots))


def _show_orbit(env: Environment, settings: Settings, moon_id: int, roots: int) -> ExitCode:
    if settings.json:
        print_record(env, "moon", {"id": f"{moon_id:016x}", "roots": roots})
    else:
        env.print(f"moon {moon_id:016x} with {roots} roots")
    return ExitCode.OK


def deorbit(env: Environment, settings: Settings, options: DeorbitOptions) -> ExitCode:
    import ztstack

    moon_id, _ = parsing.moon(options.moon)
    files = ztstack.MoonFiles(_state(settings))
    if not files.remove(moon_id):
        raise UsageProblem(f"the moon {moon_id:016x} is not orbited", "see: zt moon list")
    if files.is_in_use():
        _say_followed(env, settings)
    if settings.json:
        print_record(env, "moon", {"id": f"{moon_id:016x}", "orbited": False})
    else:
        env.print(f"moon {moon_id:016x} forgotten")
    return ExitCode.OK


def list_moons(env: Environment, settings: Settings, options: NoOptions) -> ExitCode:
    del options
    import ztstack

    moons = ztstack.MoonFiles(_state(settings)).list()
    if settings.json:
        records = [
            {
                "id": f"{moon.id:016x}",
                "timestamp": moon.timestamp,
                "roots": [
                    {
                        "node": str(root.identity.address),
                        "endpoints": [str(endpoint) for endpoint in root.endpoints],
                    }
                    for root in moon.roots
                ],
            }
            for moon in moons
        ]
        print_record(env, "moons", {"moons": records})
        return ExitCode.OK
    rows = [
        [
            f"{moon.id:016x}",
            str(moon.timestamp),
            str(root.identity.address),
            " ".join(str(endpoint) for endpoint in root.endpoints) or "anywhere",
        ]
        for moon in moons
        for root in moon.roots
    ]
    print_table(env, ("MOON", "TIMESTAMP", "ROOT", "ENDPOINTS"), rows)
    return ExitCode.OK


def make(env: Environment, settings: Settings, options: MakeOptions) -> ExitCode:
    import ztstack

    moon_id = parsing.moon(options.id)[0] if options.id is not None else None
    roots = named_roots(options.root)
    signer = read_signer(settings, options.sign_with)
    moon = ztstack.make_moon(int(time.time() * 1_000_000), roots, signer, world_id=moon_id)
    output = Path(options.output or f"{moon.id:016x}.moon")
    write_world(output, moon.serialize(), force=options.force)
    if settings.json:
        print_record(env, "moon", {"file": str(output), "id": f"{moon.id:016x}"})
    else:
        env.print(f"{output}: moon {moon.id:016x} with {len(moon.roots)} roots")
    return ExitCode.OK


def _state(settings: Settings) -> Path:
    if settings.state is None:
        raise UsageProblem("moons are kept in a state directory, and --ephemeral has none")
    return settings.state


def _make_app() -> typer.Typer:
    app = new_app("Orbit and make moons: roots besides the planet's.")
    app.command("orbit", context_settings=CONTEXT)(
        bind("moon orbit", orbit, OrbitOptions, "Fetch a moon from a root of it, and keep it.")
    )
    app.command("deorbit", context_settings=CONTEXT)(
        bind("moon deorbit", deorbit, DeorbitOptions, "Forget a moon.")
    )
    app.command("list", context_settings=CONTEXT)(
        bind("moon list", list_moons, NoOptions, "Print the moons that are kept.")
    )
    app.command("make", context_settings=CONTEXT)(
        bind("moon make", make, MakeOptions, "Make and sign a moon file.")
    )
    return app


moon_app = _make_app()
