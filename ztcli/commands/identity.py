"""zt identity: make, move, show and check identities, and sign with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ztcli.binding import CONTEXT, bind, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_record


@dataclass(frozen=True, slots=True)
class NewOptions:
    """Options of zt identity new."""

    force: Annotated[bool, typer.Option("--force", help="Replace the identity there.")] = False


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Options of zt identity show."""

    secret: Annotated[bool, typer.Option("--secret", help="With the private key.")] = False


@dataclass(frozen=True, slots=True)
class ValidateOptions:
    """Options of zt identity validate."""

    file: Annotated[
        str | None, typer.Argument(metavar="[FILE|-]", help="Default: the state directory's.")
    ] = None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options of zt identity import."""

    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A secret identity.")]
    force: Annotated[bool, typer.Option("--force", help="Replace the identity there.")] = False


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of zt identity export."""

    public: Annotated[bool, typer.Option("--public", help="Without the private key.")] = False


@dataclass(frozen=True, slots=True)
class SignOptions:
    """Options of zt identity sign."""

    file: Annotated[str, typer.Argument(metavar="FILE|-", help="What to sign.")]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Options of zt identity verify."""

    file: Annotated[str, typer.Argument(metavar="FILE|-", help="What was signed.")]
    signature: Annotated[str, typer.Argument(help="In hexadecimal, as zt identity sign says it.")]
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="FILE", help="Whose; default: the state directory's."),
    ] = None


def new(env: Environment, settings: Settings, options: NewOptions) -> ExitCode:
    from ztcli import runner

    folder = _folder(settings)
    secret = folder / "identity.secret"
    if secret.exists() and not options.force:
        raise _present(secret)
    progress = Progress(env, settings)

    async def main() -> ExitCode:
        import ztstack

        if secret.exists():
            # Kept beside the new one: an identity that is lost cannot be made again.
            secret.replace(folder / "identity.secret.old")
        try:
            identity = await ztstack.ensure_identity(folder, progress=progress.tried)
        finally:
            progress.clear()
        if settings.json:
            print_record(env, "identity", {"node": str(identity.address), "state": str(folder)})
        else:
            env.print(str(identity.address))
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def show(env: Environment, settings: Settings, options: ShowOptions) -> ExitCode:
    identity = _load(settings)
    text = identity.secret_text() if options.secret else identity.public_text()
    if settings.json:
        print_record(env, "identity", {"node": str(identity.address), "identity": text})
    else:
        env.print(text)
    return ExitCode.OK


def validate(env: Environment, settings: Settings, options: ValidateOptions) -> ExitCode:
    identity = _load(settings) if options.file is None else _parse(env, options.file)
    identity.validate()
    if identity.has_private:
        identity.check_keys()
    if settings.json:
        print_record(env, "identity", {"node": str(identity.address), "valid": True})
    else:
        env.print(f"{identity.address} valid")
    return ExitCode.OK


def import_(env: Environment, settings: Settings, options: ImportOptions) -> ExitCode:
    import ztstack

    folder = _folder(settings)
    secret = folder / "identity.secret"
    if secret.exists() and not options.force:
        raise _present(secret)
    identity = _parse(env, options.file)
    ztstack.keep_identity(folder, identity)
    if settings.json:
        print_record(env, "identity", {"node": str(identity.address), "state": str(folder)})
    else:
        env.print(str(identity.address))
    return ExitCode.OK


def export(env: Environment, settings: Settings, options: ExportOptions) -> ExitCode:
    return show(env, settings, ShowOptions(secret=not options.public))


def sign(env: Environment, settings: Settings, options: SignOptions) -> ExitCode:
    identity = _load(settings)
    signature = identity.sign(_content(env, options.file)).hex()
    if settings.json:
        print_record(env, "signature", {"node": str(identity.address), "signature": signature})
    else:
        env.print(signature)
    return ExitCode.OK


def verify(env: Environment, settings: Settings, options: VerifyOptions) -> ExitCode:
    identity = _load(settings) if options.by is None else _parse(env, options.by)
    try:
        signature = bytes.fromhex(options.signature)
    except ValueError:
        raise UsageProblem("a signature is written in hexadecimal") from None
    try:
        identity.verify(_content(env, options.file), signature)
    except ValueError:
        raise CommandError(
            f"{options.file}: not signed by {identity.address}", ExitCode.BAD_IDENTITY
        ) from None
    if settings.json:
        print_record(env, "verified", {"node": str(identity.address), "valid": True})
    else:
        env.print(f"signed by {identity.address}")
    return ExitCode.OK


def _present(secret: Path) -> UsageProblem:
    return UsageProblem(f"{secret}: there is an identity already", "replace it with --force")


def _content(env: Environment, file: str) -> bytes:
    try:
        if file == "-":
            with open(env.stdin, "rb", closefd=False) as stream:
                return stream.read()
        return Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", ExitCode.CANNOT_READ) from error


def _folder(settings: Settings) -> Path:
    if settings.state is None:
        raise UsageProblem("--ephemeral keeps no identity")
    return settings.state


def _load(settings: Settings) -> Any:  # noqa: ANN401 - the class is loaded in here
    import ztstack

    path = _folder(settings) / "identity.secret"
    if not path.exists():
        raise CommandError(
            f"{path}: there is no identity", ExitCode.BAD_IDENTITY, "make one: zt identity new"
        )
    return ztstack.read_identity(path, insecure=settings.insecure_state)


def _parse(env: Environment, file: str) -> Any:  # noqa: ANN401 - the class is loaded in here
    import ztstack

    text = _content(env, file)
    try:
        return ztstack.Identity.parse(text[:4096].decode("ascii"))
    except UnicodeDecodeError:
        raise CommandError(f"{file}: is not an identity", ExitCode.BAD_IDENTITY) from None
    except ValueError as error:
        raise CommandError(f"{file}: {error}", ExitCode.BAD_IDENTITY) from None


def _make() -> typer.Typer:
    app = new_app("Make, show and check identities.")
    add = app.command
    add("new", context_settings=CONTEXT)(
        bind("identity new", new, NewOptions, "Make an identity; print the node id.")
    )
    add("show", context_settings=CONTEXT)(
        bind("identity show", show, ShowOptions, "Print the identity of the state directory.")
    )
    add("validate", context_settings=CONTEXT)(
        bind("identity validate", validate, ValidateOptions, "Check that an identity is genuine.")
    )
    add("import", context_settings=CONTEXT)(
        bind("identity import", import_, ImportOptions, "Take over a secret identity.")
    )
    add("export", context_settings=CONTEXT)(
        bind("identity export", export, ExportOptions, "Print the secret identity, to be kept.")
    )
    add("sign", context_settings=CONTEXT)(
        bind("identity sign", sign, SignOptions, "Sign a file; print the signature.")
    )
    add("verify", context_settings=CONTEXT)(
        bind("identity verify", verify, VerifyOptions, "Check the signature of a file.")
    )
    return app


identity_app = _make()
