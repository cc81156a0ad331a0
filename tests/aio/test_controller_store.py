from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.aio.controller_store import FileStore
from ztstack.base.errors import StorageError
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import Controller

ME, A = known_identities()[:2]


def controller(folder: Path) -> Controller:
    return Controller(START_US, ME, FileStore(folder), SeededEntropy(1), ListTracer())


def test_records_survive(tmp_path: Path) -> None:
    first = controller(tmp_path)
    record = first.create_network(START_US, name="home", pools=["10.1.2.0/24"])
    member = first.authorize(START_US, record.id, A.address)
    second = controller(tmp_path)
    assert second.networks() == [record]
    assert second.members(record.id) == [member]
    path = tmp_path / "network" / str(record.id) / "member" / f"{A.address}.json"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_was_killed_leaves_the_old_record(tmp_path: Path) -> None:
    record = controller(tmp_path).create_network(START_US, name="home")
    (tmp_path / "network" / f".{record.id}.json.abc").write_text("{")
    assert controller(tmp_path).networks() == [record]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "00"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    record = controller(tmp_path).create_network(START_US)
    path = tmp_path / "network" / f"{record.id}.json"
    path.write_text(text)
    with pytest.raises(StorageError, match=str(record.id)):
        controller(tmp_path)
