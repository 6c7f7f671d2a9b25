"""The control API: what its document says is what it does, and it does what the WebSocket does."""

from __future__ import annotations

import http.client
import json
import re

import jsonschema
import numpy as np
import pytest
from openapi_spec_validator import validate
from test_server import quiet, served  # noqa: F401  (fixtures)

from ambient.messages import BLOCK_FRAMES, Block, SceneEvent
from ambient.server.openapi import document
from ambient.sinks.vocabulary import CLIENT_MESSAGES


def test_the_document_is_openapi(quiet):  # noqa: F811
    status, body, _ = quiet.get("api/v1/openapi.json")
    assert status == 200
    validate(json.loads(body))


def test_the_document_names_every_way_in_and_no_other(quiet):  # noqa: F811
    routes = set()
    for door in quiet.server._doors:
        for route in door.routes():
            if route.path.startswith("/api/"):
                ways = re.search(r"\{kind:(.*)\}", route.path)
                for way in ways[1].split("|") if ways else [""]:
                    routes.add((re.sub(r"\{kind:.*\}", way, route.path), route.method.lower()))
    told = {(path, method) for path, item in document()["paths"].items() for method in item if method != "parameters"}
    assert routes == told


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/streams", None),
        ("/api/v1/streams/{stream}", None),
        ("/api/v1/streams/{stream}/scene", None),
        ("/api/v1/streams/{stream}/explain", None),
        ("/api/v1/streams/{stream}/time", None),
        ("/api/v1/streams/{stream}/params", {"wind": 0.5}),
        ("/api/v1/streams/{stream}/fire", {"event": "owl"}),
        ("/api/v1/streams/{stream}/fire", {"text": "an owl far away", "distance_m": 80}),
        ("/api/v1/streams/{stream}/fire", {"event": "dragon"}),
        ("/api/v1/streams/{stream}/state", {"state": "rain", "over_seconds": 2}),
        ("/api/v1/tickets", {}),
    ],
)
def test_answers_are_as_documented(served, path, body):  # noqa: F811
    status, answer, _ = served.get(
        path.format(stream="forest")[1:], None if body is None else json.dumps(body).encode()
    )
    operation = document()["paths"][path]["get" if body is None else "post"]
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    jsonschema.validate(json.loads(answer), {**schema, "components": document()["components"]})
    if body and status == 200:
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(body, asked)
    if path.endswith("/time"):
        assert json.loads(answer)["sample_index"] > 0


def test_both_doors_steer_alike():
    posts = {path.rpartition("/")[2] for path, item in document()["paths"].items() if "post" in item}
    kinds = {kind.name for kind in CLIENT_MESSAGES}
    assert {"params", "fire", "state"} == posts & kinds


def test_what_happens_comes_as_it_happens(served):  # noqa: F811
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=5)
    connection.request("GET", "/api/v1/streams/forest/events")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    served.until(lambda: served.hub.connected == 1)
    change = SceneEvent("transition", "a → b", 0, {"from": "a", "to": "b", "over_seconds": 1.0})
    served.hub.write(Block(0, np.zeros((BLOCK_FRAMES, 2), np.float32), (change,)))
    seen = set()
    while seen != {"state", "transition"}:
        line = answer.readline()
        assert line and (line == b"\n" or line.startswith(b"data: "))
        if line != b"\n":
            seen.add(json.loads(line[6:])["type"])
    answer.close()
    connection.close()
    served.until(lambda: served.hub.connected == 0)
