"""zt docs and zt schema: what is known without a network."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from tests.support.cli import Zt
from ztcli.exit_codes import ExitCode
from ztcli.schema import EVENTS, PARTS, RECORDS, names

PAGES = Path(__file__).parents[2] / "docs"


def test_every_page_is_listed_and_printed(zt: Zt) -> None:
    listed = zt("docs").stdout.decode()
    for path in PAGES.glob("*.md"):
        assert f"{path.stem} " in listed
        assert zt("docs", path.stem).stdout == path.read_bytes()
    assert json.loads(zt("docs", "--json").stdout)["topics"]["python"] == "The Python API"
    assert json.loads(zt("docs", "ci", "--json").stdout)["text"].startswith("# ")


@pytest.mark.parametrize("code", [code for code in ExitCode if code not in (0, 143, 129)])
def test_every_code_is_explained(zt: Zt, code: ExitCode) -> None:
    found = json.loads(zt("docs", f"E{int(code):03}", "--json").stdout)
    assert found["code"] == code
    assert found["meaning"]
    if code < 128:
        assert found["advice"], "docs/troubleshooting.md has no row for it"


@pytest.mark.parametrize("spelling", ["E082", "82", "ZT-E082", "e82"])
def test_codes_are_found_by_any_spelling(zt: Zt, spelling: str) -> None:
    assert zt("docs", spelling).stdout.startswith(b"ZT-E082: ")


@pytest.mark.parametrize("topic", ["nothing", "E999", "../README"])
def test_what_there_is_not(zt: Zt, topic: str) -> None:
    result = zt("docs", topic)
    assert (result.code, result.stdout) == (ExitCode.USAGE, b"")


def test_schemas_are_schemas(zt: Zt) -> None:
    whole = json.loads(zt("schema").stdout)
    jsonschema_rs.meta.validate(whole)
    used = json.dumps(whole)
    assert all(f'"#/$defs/{part}"' in used for part in PARTS), "a part that nothing uses"
    for name in names():
        one = json.loads(zt("schema", name).stdout)
        jsonschema_rs.meta.validate(one)
        assert not jsonschema_rs.is_valid(one, {"v": 2, "type": name})
    assert set(RECORDS) | {"event"} == set(names())
    assert "ready" in EVENTS


def test_a_schema_tells_records_apart(zt: Zt) -> None:
    one = json.loads(zt("schema", "port").stdout)
    good = {"v": 1, "type": "port", "host": "a", "port": 1, "open": True}
    assert jsonschema_rs.is_valid(one, good)
    assert jsonschema_rs.is_valid(one, {**good, "added": "later"})
    assert not jsonschema_rs.is_valid(one, {**good, "open": "yes"})
    assert not jsonschema_rs.is_valid(one, {"v": 1, "type": "port", "host": "a", "port": 1})


def test_no_such_schema(zt: Zt) -> None:
    result = zt("schema", "portal")
    assert result.code == ExitCode.USAGE
    assert "port" in result.stderr
