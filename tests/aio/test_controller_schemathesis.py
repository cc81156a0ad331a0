"""The HTTP interface against requests made of its own OpenAPI document, right and wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, positive_data_acceptance

from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.aio.controller_asgi import DOCUMENT_PATH, TOKEN_HEADER, ServedNode, application
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import Controller
from ztstack.controller.store import MemoryStore

pytestmark = pytest.mark.timeout(120)  # A case makes dozens of requests.

ME = known_identities()[0]
TOKEN = "0123456789abcdefghijklmn"
EXAMPLES = 6
MANY_NETWORKS = 100
"""So many may be there; a controller has a limit, which is tested elsewhere."""


def status() -> Mapping[str, object]:
    return {
        "address": str(ME.address),
        "publicIdentity": ME.public_text(),
        "online": False,
        "version": "1.0.0",
        "clock": 0,
    }


CONTROLLER = Controller(START_US, ME, MemoryStore(), SeededEntropy(1), ListTracer())
NETWORK = CONTROLLER.create_network(START_US, name="there").id
APPLICATION = application(ServedNode(CONTROLLER, lambda: START_US, lambda: None, status), TOKEN)
SCHEMA = schemathesis.openapi.from_asgi(DOCUMENT_PATH, APPLICATION, headers={TOKEN_HEADER: TOKEN})
load_all_checks()


# What no schema can say: an order, a family, one notation for addresses with a length.
BEYOND_SCHEMAS = (
    "a pool goes from the lower to the higher address",
    "is not of the family of",
    "is not ADDRESS/BITS",
)


# PUT does what POST does, by the same function.
@SCHEMA.exclude(method="PUT").parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_the_interface_is_as_it_says(case: schemathesis.Case[Any]) -> None:
    for record in CONTROLLER.networks()[MANY_NETWORKS:]:
        CONTROLLER.delete_network(START_US, record.id)
    if not CONTROLLER.networks():
        CONTROLLER.create_network(START_US)
    parameters = case.path_parameters
    network = str(parameters.get("network", ""))
    if re.fullmatch(r"[0-9a-f]{15}[02468ace]", network):
        # Half of the possible ids lead to a network that is there.
        parameters["network"] = str(CONTROLLER.networks()[0].id)
    response = case.call(headers={TOKEN_HEADER: TOKEN})
    words = response.text if response.status_code == 400 else ""
    excluded = [positive_data_acceptance] if any(w in words for w in BEYOND_SCHEMAS) else []
    case.validate_response(response, excluded_checks=excluded)
