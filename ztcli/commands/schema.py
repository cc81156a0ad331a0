"""zt schema: what --json prints, for those who read it with a program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import typer

from ztcli import schema as schemas
from ztcli.binding import single
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """Options of zt schema."""

    kind: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="A record's type, or event; else all.")
    ] = None


def schema(env: Environment, settings: Settings, options: SchemaOptions) -> ExitCode:
    del settings
    if options.kind is not None and options.kind not in schemas.names():
        known = ", ".join(schemas.names())
        raise UsageProblem(f"{options.kind}: there is no such type", f"there are: {known}")
    env.print(json.dumps(schemas.schema(options.kind), indent=2))
    return ExitCode.OK


schema_app = single("schema", schema, SchemaOptions, "Print the JSON Schema of what --json prints.")
