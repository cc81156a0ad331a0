"""zt docs: the pages of the documentation, and what an error code means, without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from ztcli.binding import single
from ztcli.endings import MEANINGS
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record

_CODE: Final = re.compile(r"(?:ZT-)?E?0*(\d{1,3})", re.IGNORECASE)
_ROW: Final = re.compile(r"^\| ([0-9, ]+(?:and [0-9]+)?) \|([^|]*)\|([^|]*)\|", re.MULTILINE)
_TROUBLE: Final = "troubleshooting"


@dataclass(frozen=True, slots=True)
class DocsOptions:
    """Options of zt docs."""

    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC|ECODE]", help="A page, or an error's code.")
    ] = None


def docs(env: Environment, settings: Settings, options: DocsOptions) -> ExitCode:
    folder = _folder()
    pages = sorted(path.stem for path in folder.glob("*.md"))
    if options.topic is None:
        titles = {page: _title(folder / f"{page}.md") for page in pages}
        if settings.json:
            print_record(env, "docs", {"topics": titles})
            return ExitCode.OK
        for page, title in titles.items():
            env.print(f"{page:<16} {title}")
        env.print(f"{'E082':<16} what an error code means")
        return ExitCode.OK
    topic = options.topic.lower()
    found = _CODE.fullmatch(topic)
    if found is not None:
        return _explain(env, settings, folder, int(found[1]))
    if topic not in pages:
        raise UsageProblem(f"{options.topic}: there is no such page", f"there are: {_list(pages)}")
    text = (folder / f"{topic}.md").read_text("utf-8")
    if settings.json:
        print_record(env, "doc", {"topic": topic, "text": text})
    else:
        env.write(text.encode())
    return ExitCode.OK


def _explain(env: Environment, settings: Settings, folder: Path, number: int) -> ExitCode:
    """Print what a code means, and what is to be done about it."""
    if number not in {int(code) for code in MEANINGS}:
        raise UsageProblem(f"{number}: no command of zt ends with this code", "see: zt docs")
    meaning, advice = MEANINGS[ExitCode(number)], ""
    text = (folder / f"{_TROUBLE}.md").read_text("utf-8")
    for row in _ROW.finditer(text):
        if str(number) in re.findall(r"\d+", row[1]):
            advice = row[3].strip()
    if settings.json:
        values: dict[str, object] = {"code": number, "meaning": meaning, "advice": advice}
        print_record(env, "code", values)
        return ExitCode.OK
    env.print(f"ZT-E{number:03}: {meaning}")
    if advice:
        env.print(f"    {advice}")
    return ExitCode.OK


def _folder() -> Path:
    """Return where the pages are: beside this package in a wheel, else in its source tree."""
    package = Path(__file__).parents[1]
    for folder in (package / "docs", package.parent / "docs"):
        if (folder / f"{_TROUBLE}.md").is_file():
            return folder
    raise CommandError("the pages were not installed with zt", ExitCode.CANNOT_READ)


def _title(path: Path) -> str:
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ").strip()


def _list(pages: list[str]) -> str:
    return ", ".join(pages)


docs_app = single("docs", docs, DocsOptions, "Print a page of the documentation.")
