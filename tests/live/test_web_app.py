"""What the page's server answers to whom: hosts, tokens, other sites, orders in two steps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from starlette.testclient import TestClient

from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.live import access
from opensvc_openha.live.access import Access, read_token
from opensvc_openha.live.web_app import build
from tests.live.stage import Stage, entry, healthy
from tests.waiting import until

TOKEN = "t" * 24
URL = "http://127.0.0.1"


class Runs:
    """Commands that were run."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.reasons: list[str] = []

    def __call__(self, service: str, action: str, reason: str) -> tuple[bool, str]:
        self.reasons.append(reason)
        self.calls.append((service, action))
        return True, f"Service {service} {action}"


def client_of(stage: Stage) -> TestClient:
    stage.observer.look()
    stage.observer.look_at_events()
    return TestClient(build(stage.site()), base_url=URL)


def log_in(client: TestClient) -> str:
    """Return the guard of the session."""
    answer = client.post("/login", json={"token": TOKEN})
    assert answer.status_code == 200
    return str(answer.json()["guard"])


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def ordering(runs: Runs) -> Iterator[tuple[TestClient, str]]:
    """A page that takes orders, and its guard."""
    client = client_of(Stage(TOKEN, runs))
    yield client, log_in(client)


def test_page_brings_all_that_it_needs_and_nothing_else() -> None:
    """Its files, a strict policy on each answer, nothing inline and nothing from outside."""
    client = client_of(Stage())
    for path in ("/", "/style.css", "/page.js", "/icon.svg"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "http" not in answer.text.replace("http://www.w3.org/", "")
        if path == "/":
            assert "<script>" not in answer.text and "style=" not in answer.text
            assert " onclick" not in answer.text
    assert client.get("/../setup.cfg").status_code == 404
    assert client.get("/page").status_code == 404
    assert client.get("/nothing").headers["x-content-type-options"] == "nosniff"


def test_picture_is_without_what_scripts_printed() -> None:
    """Every local user reads a page without a token."""
    stage = Stage()
    stage.events = (entry("the script said secret output"),)
    stage.explain = lambda name: {"lines": ["secret output", name]}
    client = client_of(stage)
    found = client.get("/picture").json()
    assert found["node"] == "deb1" and "(for root)" in found["events"][0]["text"]
    assert client.get("/why?service=web").json()["lines"] == ["(for root)", "web"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example"])
def test_foreign_name_is_refused(host: str) -> None:
    """A name that was bound to this address to get around the browser's rules."""
    client = client_of(Stage())
    for path in ("/", "/picture", "/events", "/session"):
        assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:4480", "LOCALHOST:1", "localhost."])
def test_own_name_is_answered(host: str) -> None:
    """With and without a port."""
    assert client_of(Stage()).get("/picture", headers={"host": host}).status_code == 200


def test_token_opens_the_page() -> None:
    """Nothing of the cluster before it, nor after the end of the session."""
    client = client_of(Stage(TOKEN))
    for path in ("/picture", "/events", "/why?service=web"):
        assert client.get(path).status_code == 401
    found = client.get("/session").json()
    assert found == {"needs_token": True, "is_in": False, "may_order": False}
    assert client.post("/login", json={"token": "wrong"}).status_code == 401
    answer = client.post("/login", json={"token": TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
    assert client.get("/picture").json()["node"] == "deb1"
    assert client.post("/logout", json={}).status_code == 200
    assert client.get("/picture").status_code == 401


def test_program_gives_the_token_in_a_header() -> None:
    """For reading alone."""
    client = client_of(Stage(TOKEN, Runs()))
    right = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/picture", headers=right).status_code == 200
    assert client.get("/picture", headers={"authorization": "Bearer no"}).status_code == 401
    body = {"order": "stop", "service": "web"}
    assert client.post("/orders", json=body, headers=right).status_code == 401


def test_wrong_tokens_are_limited_and_the_session_stays() -> None:
    """After five of them the right one is refused as well, until a minute has passed."""
    stage = Stage(TOKEN)
    client, other = client_of(stage), client_of(stage)
    log_in(client)
    codes = [other.post("/login", json={"token": f"no {n}"}).status_code for n in range(6)]
    assert codes == [401] * 5 + [429]
    assert other.post("/login", json={"token": TOKEN}).status_code == 429
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert other.get("/picture", headers=bearer).status_code == 429
    assert client.get("/picture").status_code == 200


def test_attempts_and_sessions_end_by_time() -> None:
    """Simulated."""
    gate = Access(TOKEN, frozenset())
    for number in range(5):
        assert not gate.is_token("no", "a", float(number))
    assert gate.is_refused("a", 5.0) and not gate.is_refused("b", 5.0)
    assert not gate.is_refused("a", 61.5)
    for number in range(100):
        gate.is_token("no", f"c{number}", 100.0)
    assert gate.is_refused("d", 101.0)
    secret = gate.begin_session(0.0)
    assert gate.session(secret, 1.0) is not None
    assert gate.session(secret, access.SESSION_S + 1) is None
    kept = gate.begin_session(0.0)
    for _ in range(64):
        gate.begin_session(0.0)
    assert gate.session(kept, 1.0) is None


def test_token_file_is_secret_and_long_enough(tmp_path: Path) -> None:
    """Else it is refused, with what to do."""
    path = tmp_path / "token"
    with pytest.raises(ConfigError, match="openssl rand"):
        read_token(str(path))
    path.write_text("short\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="at least 20"):
        read_token(str(path))
    path.write_text(f"{TOKEN}\n")
    assert read_token(str(path)) == TOKEN
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(str(path))
    path.write_bytes(b"\xff" * 30)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="ASCII"):
        read_token(str(path))
    with pytest.raises(ConfigError, match="regular"):
        read_token(os.devnull)
    with pytest.raises((ConfigError, SystemFault)):
        read_token(str(tmp_path))


def test_order_is_asked_then_confirmed_then_run(
    ordering: tuple[TestClient, str], runs: Runs
) -> None:
    """Once, by the words of `service -A`, and its result is shown."""
    client, guard = ordering
    own = {"x-openha-guard": guard}
    asked = client.post("/orders", json={"order": "switch", "service": "web"}, headers=own).json()
    assert (asked["service"], asked["node"]) == ("web", "deb1")
    assert "deb2 starts it" in asked["text"]
    assert not runs.calls
    body = {"number": asked["number"], "service": "web", "node": "deb1", "reason": "CHG-12"}
    assert client.post("/orders/confirm", json=body, headers=own).status_code == 202
    until(lambda: runs.calls == [("web", "stop")], what="it runs")
    assert runs.reasons == ["CHG-12 (page, from testclient)"]

    def state() -> str:
        return str(client.get("/picture").json()["orders"][0]["state"])

    until(lambda: state() == "done", what="its result is shown")
    assert client.post("/orders/confirm", json=body, headers=own).status_code == 409
    assert runs.calls == [("web", "stop")]


@pytest.mark.parametrize(
    "change",
    [
        {"service": "registry"},
        {"node": "deb2"},
        {"number": "x"},
        {"number": 7},
        {"service": None},
        {"reason": 1},
    ],
)
def test_confirmation_of_something_else_does_nothing(
    ordering: tuple[TestClient, str], runs: Runs, change: dict[str, object]
) -> None:
    """Service, node and number are those of the question."""
    client, guard = ordering
    own = {"x-openha-guard": guard}
    asked = client.post("/orders", json={"order": "stop", "service": "web"}, headers=own).json()
    body = {"number": asked["number"], "service": "web", "node": "deb1", "reason": "", **change}
    assert client.post("/orders/confirm", json=body, headers=own).status_code in (400, 409)
    assert not runs.calls


def test_order_for_a_state_that_the_service_has_left_does_nothing(runs: Runs) -> None:
    """A freeze of what runs was confirmed: frozen once it is stopped, no node would start it."""
    stage = Stage(TOKEN, runs)
    client = client_of(stage)
    own = {"x-openha-guard": log_in(client)}
    asked = client.post("/orders", json={"order": "freeze", "service": "web"}, headers=own).json()
    assert isinstance(stage.status, NodeStatus)
    web, *others = stage.status.services
    moved = replace(web, own_state=ServiceState.STOPPED, peer_state=ServiceState.STARTED)
    stage.status = replace(stage.status, services=(moved, *others))
    body = {"number": asked["number"], "service": "web", "node": "deb1", "reason": ""}
    answer = client.post("/orders/confirm", json=body, headers=own)
    assert answer.status_code == 409
    assert answer.json()["error"] == "web is STOPPED by now: nothing was done"
    assert not runs.calls


@pytest.mark.parametrize(
    "headers, code",
    [
        ({"x-openha-guard": "wrong"}, 400),
        ({"x-openha-guard": ""}, 400),
        ({"origin": "http://evil.example"}, 400),
        ({"origin": "null"}, 400),
        ({"sec-fetch-site": "cross-site"}, 400),
        ({"content-type": "text/plain"}, 400),
        ({"cookie": "openha-session=other"}, 401),
    ],
)
def test_order_of_another_sites_page_is_refused(
    ordering: tuple[TestClient, str], runs: Runs, headers: dict[str, str], code: int
) -> None:
    """Without the guard, from another origin, in the form that needs no permission of ours."""
    client, guard = ordering
    if "cookie" in headers:
        client.cookies.clear()
    answer = client.post(
        "/orders",
        content=json.dumps({"order": "stop", "service": "web"}),
        headers={"content-type": "application/json", "x-openha-guard": guard, **headers},
    )
    assert answer.status_code == code and not runs.calls


@pytest.mark.parametrize(
    "body, code",
    [
        ({"order": "explode", "service": "web"}, 400),
        ({"order": "start", "service": "web"}, 409),
        ({"order": "stop", "service": "none"}, 409),
        ({"order": "stop"}, 400),
        ([], 400),
        ({"order": "x" * 5000, "service": "web"}, 400),
    ],
)
def test_impossible_order_is_refused_with_its_reason(
    ordering: tuple[TestClient, str], runs: Runs, body: object, code: int
) -> None:
    """Unknown words, a state in which it cannot be, too long a request."""
    client, guard = ordering
    answer = client.post("/orders", json=body, headers={"x-openha-guard": guard})
    assert answer.status_code == code and answer.json()["error"] and not runs.calls


def test_cookie_alone_gives_no_order(ordering: tuple[TestClient, str], runs: Runs) -> None:
    """Browsers send it to each server of the host, so that one of another user may have it."""
    client, guard = ordering
    assert guard and guard not in client.get("/session").text
    answer = client.post("/orders", json={"order": "stop", "service": "web"})
    assert answer.status_code == 400 and not runs.calls


def test_question_of_one_session_is_not_confirmed_by_another(runs: Runs) -> None:
    """Each has a guard of its own."""
    stage = Stage(TOKEN, runs)
    first, second = client_of(stage), client_of(stage)
    guards = [log_in(first), log_in(second)]
    asked = first.post(
        "/orders",
        json={"order": "stop", "service": "web"},
        headers={"x-openha-guard": guards[0]},
    ).json()
    answer = second.post(
        "/orders/confirm",
        json={"number": asked["number"], "service": "web", "node": "deb1", "reason": ""},
        headers={"x-openha-guard": guards[1]},
    )
    assert answer.status_code == 409 and not runs.calls


def test_page_that_only_reads_takes_no_order() -> None:
    """With a token, without --allow-orders: none is offered, none is taken."""
    client = client_of(Stage(TOKEN))
    guard = log_in(client)
    assert client.get("/session").json()["may_order"] is False
    assert not any(svc["orders"] for svc in client.get("/picture").json()["services"])
    answer = client.post(
        "/orders",
        json={"order": "stop", "service": "web"},
        headers={"x-openha-guard": guard},
    )
    assert answer.status_code == 400
    assert client.put("/picture").status_code == 405


def test_healthy_status_is_what_the_stage_shows() -> None:
    """Names of the picture that the page uses."""
    found = client_of(Stage()).get("/picture").json()
    assert found["level"] == "ok" and found["peer"] == healthy().peer
    assert {"points", "timeout_s", "point_s", "direction"} <= set(found["links"][0])
