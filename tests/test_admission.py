"""Who may listen and who may steer: tokens, tickets, origins, limits, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import pytest
import websockets
from test_protocol import talk
from test_server import Served

from ambient.errors import AmbientError
from ambient.server import Tokens, read_tokens
from ambient.server.tokens import TICKET_SECONDS, Rights, Tickets
from ambient.sinks.protocol import Close
from ambient.testing import PacedSource

EAR, HAND = "ear-0123456789", "hand-0123456789"
OPEN_TO_HEAR = Tokens(control=frozenset({HAND}))
CLOSED = Tokens(frozenset({EAR}), frozenset({HAND}))
FIRE = "api/v1/streams/forest/fire"
OWL = b'{"event": "owl"}'


@pytest.fixture
def make():
    """Makes servers with sound and these options."""
    made: list[tuple[Served, PacedSource]] = []

    def one(**options) -> Served:
        served = Served(**options)
        source = PacedSource(served.hub)
        made.append((served, source.__enter__()))
        served.until(lambda: served.hub.blocks > 5)
        return served

    yield one
    for served, source in made:
        source.__exit__()
        served.server.stop()


def bearer(token: str) -> str:
    return f"Bearer {token}"


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{token}".encode()).decode()


def closed(url: str, **more) -> int:
    async def knock():
        async with websockets.connect(url, **more) as connection:
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(connection.recv(), 5)
            return connection.close_code

    return asyncio.run(knock())


@pytest.mark.parametrize("header", [bearer, basic])
def test_without_a_token_nothing_is_heard_or_told(make, header):
    served = make(tokens=CLOSED)
    for path in ("", "listen/forest.m3u", "api/v1/streams", "api/v1/streams/forest", "metrics", "status-json.xsl"):
        status, body, headers = served.get(path)
        assert status == 401 and headers["WWW-Authenticate"].startswith("Basic realm=")
        assert b"forest" not in body
        assert served.get(path, Authorization=header(EAR))[0] == 200
    for path in ("healthz", "readyz", "api/v1/openapi.json"):
        assert served.get(path)[0] == 200
    assert closed(served.socket) == Close.AUTH
    assert closed(served.socket, additional_headers={"Authorization": header("wrong-token")}) == Close.AUTH


def test_a_token_for_listening_does_not_steer(make):
    served = make(tokens=CLOSED)
    status, body, _ = served.get(FIRE, OWL, Authorization=bearer(EAR))
    assert status == 403 and json.loads(body)["error"]["code"] == "role"
    assert served.get(FIRE, OWL)[0] == 401 and served.control.fired == []
    assert served.get(FIRE, OWL, Authorization=bearer(HAND))[0] == 200 and served.control.fired == ["owl"]


def test_a_controller_without_the_right_listens_and_is_told(make):
    served = make(tokens=OPEN_TO_HEAR)

    async def conversation(one, hello):
        await one.say("fire", event="owl")
        return hello["role"], (await one.hear("error"))["code"], len(await one.sound(3))

    assert talk(served.socket, conversation, role="controller", codecs=["s16le"]) == ("listener", "role", 3)
    assert served.control.fired == []


@pytest.mark.parametrize("token", [EAR, HAND])
def test_a_ticket_stands_in_for_a_token(make, token):
    served = make(tokens=CLOSED)
    status, body, _ = served.get("api/v1/tickets", b"", Authorization=bearer(token))
    ticket = json.loads(body)["ticket"]
    assert status == 200 and token not in body.decode()
    assert served.get(f"listen/forest.m3u?ticket={ticket}")[0] == 200
    assert served.get(f"{FIRE}?ticket={ticket}", OWL)[0] == (200 if token == HAND else 403)

    async def conversation(one, hello):
        return hello["role"]

    role = talk(f"{served.socket}?ticket={ticket}", conversation, role="controller", codecs=[])
    assert role == ("controller" if token == HAND else "listener")
    assert closed(f"{served.socket}?ticket=guessed") == Close.AUTH


def test_tickets_end():
    now = [0.0]
    tickets = Tickets(lambda: now[0])
    ticket = tickets.issue(Rights.LISTEN)
    now[0] = TICKET_SECONDS - 0.1
    assert tickets.rights(ticket) is Rights.LISTEN
    now[0] += 0.2
    assert tickets.rights(ticket) is Rights.NONE
    first = tickets.issue(Rights.CONTROL)
    for _ in range(10_000):
        tickets.issue(Rights.LISTEN)
    assert tickets.rights(first) is Rights.NONE and len(tickets._issued) == 10_000


def test_guessing_is_slow_and_secrets_stay_out_of_the_log(make, caplog):
    served = make(tokens=CLOSED)
    with caplog.at_level(logging.DEBUG):
        statuses = [served.get("api/v1/streams", Authorization=bearer(f"secret-guess-{i}"))[0] for i in range(15)]
        assert statuses == [401] * 10 + [429] * 5
        status, _, headers = served.get("api/v1/streams", Authorization=bearer(HAND))  # this address must wait now
        assert status == 429 and 0 < int(headers["Retry-After"]) <= 10
        assert closed(served.socket, additional_headers={"Authorization": bearer(EAR)}) == Close.TOO_MANY
    logged = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("websockets.client"))
    assert "secret-guess" not in logged and HAND not in logged and EAR not in logged
    assert served.get("healthz")[0] == 200


def test_the_login_makes_browsers_ask(make):
    served = make(tokens=OPEN_TO_HEAR)
    status, _, headers = served.get("login")
    assert status == 401 and "Basic" in headers["WWW-Authenticate"]
    status, page, _ = served.get("login", Authorization=basic(HAND))  # urllib goes where it is led: to the page
    assert status == 200 and b"<title>" in page


def test_pages_on_the_list_may_read_answers(make):
    served = make(origins=["https://radio.example"])
    _, _, headers = served.get("api/v1/streams", Origin="https://radio.example")
    assert headers["Access-Control-Allow-Origin"] == "https://radio.example"
    assert "Access-Control-Allow-Origin" not in served.get("api/v1/streams")[2]
    import urllib.request

    ask = urllib.request.Request(served.url + FIRE, method="OPTIONS", headers={"Origin": "https://radio.example"})
    with urllib.request.urlopen(ask, timeout=5) as answer:
        assert answer.status == 204 and "Authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_too_many_actions_are_refused_over_both_doors_together(make):
    served = make()
    body = b'{"wind": 0.5}'
    statuses = [served.get("api/v1/streams/forest/params", body)[0] for _ in range(5)]
    assert statuses == [200] * 5

    async def conversation(one, hello):
        for _ in range(150):
            await one.say("params", wind=0.4)
        return await one.hear("error")

    error = talk(served.socket, conversation, role="controller", codecs=[])
    assert (error["code"], error["retryable"]) == ("rate", True)
    status, answer, headers = served.get("api/v1/streams/forest/params", body)
    if status == 429:  # unless the allowance has grown again meanwhile
        assert json.loads(answer)["error"]["code"] == "rate" and int(headers["Retry-After"]) >= 1


def test_there_is_a_most_of_listeners(make):
    served = make(most_listeners=1)

    async def conversation(one, hello):
        status = await asyncio.to_thread(lambda: served.get("listen/forest.mp3")[0])
        async with websockets.connect(served.socket) as late:
            with pytest.raises(websockets.ConnectionClosed):
                await late.recv()
            return status, late.close_code

    assert talk(served.socket, conversation, codecs=[]) == (503, Close.TOO_MANY)


@pytest.mark.parametrize(
    ("host", "tokens", "text"),
    [
        ("127.0.0.1", Tokens(), "this machine only; --host 0.0.0.0 opens it to the network"),
        ("0.0.0.0", Tokens(), "ANYBODY there may listen and steer"),
        ("0.0.0.0", OPEN_TO_HEAR, "anybody there may listen; steering needs a token"),
        ("::", CLOSED, "nobody may listen without a token"),
        ("::", Tokens(frozenset({EAR})), "nobody may listen without a token"),
    ],
)
def test_the_server_says_who_can_reach_it(host, tokens, text):
    from ambient.server import Server

    assert text in Server([], host=host, tokens=tokens).exposure


def test_without_tokens_for_control_those_for_listening_are_good_for_both():
    tokens = Tokens(frozenset({EAR}))
    assert (tokens.anonymous, tokens.rights(EAR), tokens.rights("x")) == (Rights.NONE, Rights.CONTROL, Rights.NONE)
    assert EAR not in repr(tokens)


def test_tokens_come_from_a_file_and_from_the_environment(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may what\nlisten {EAR}  # the radio\n\ncontrol {HAND}\n")
    tokens = read_tokens(path, {"AMBIENT_CONTROL_TOKEN": "from-environment"})
    assert tokens == Tokens(frozenset({EAR}), frozenset({HAND, "from-environment"}))
    assert read_tokens(None, {}) == Tokens()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen\n", ":1: this line is neither `listen TOKEN` nor `control TOKEN`"),
        ("\nsing abcdefghijkl\n", ":2: this line is neither `listen TOKEN` nor `control TOKEN`"),
        ("control short\n", ":1: a token has at least 8 ASCII characters and no space"),
    ],
)
def test_a_bad_file_of_tokens_is_told_without_the_token(tmp_path, text, message):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(AmbientError) as caught:
        read_tokens(path, {})
    assert str(caught.value) == f"{path}{message}"
    with pytest.raises(AmbientError, match="cannot be read"):
        read_tokens(tmp_path / "nowhere", {})
    with pytest.raises(AmbientError, match="AMBIENT_LISTEN_TOKEN: a token has at least 8"):
        read_tokens(None, {"AMBIENT_LISTEN_TOKEN": "x"})
