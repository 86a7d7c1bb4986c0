"""What a client of an endpoint does about faults, rates, keys and money."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from support.stub_server import Stub, serving

from annotation.config import ModelSource
from annotation.endpoint import Chat, Endpoint, NoReply, Pace, Reply
from annotation.purse import MaxCostError, Purse
from base.errors import ApportionError


def echo(body: dict[str, Any]) -> str:
    return f"re: {body['messages'][-1]['content']}"


def chats(count: int) -> list[tuple[int, Chat]]:
    return [
        (i, Chat(messages=[{"role": "user", "content": f"n {i}"}], max_tokens=10, temperature=1.0, seed=i))
        for i in range(count)
    ]


def endpoint(stub: Stub, purse: Purse | None = None, **fields: Any) -> Endpoint:
    source = ModelSource(name="stub", endpoint=stub.url, **{"timeout": 0.7, "concurrency": 4, **fields})
    return Endpoint(source, purse, sleep=lambda seconds: None)


@pytest.mark.parametrize("fate", ["429", "500", "slow", "cut", "garbage", "empty", "drop"])
def test_a_fault_is_tried_again(fate: str) -> None:
    with serving(Stub(echo, [fate, "ok", fate])) as stub:
        client = endpoint(stub)
        replies = dict(client.complete_all(chats(6)))
    assert {label: reply.text for label, reply in replies.items() if isinstance(reply, Reply)} == {
        i: f"re: n {i}" for i in range(6)
    }
    assert len(stub.requests) == 8 and client.retries == 2


def test_a_refused_request_is_named_and_not_repeated() -> None:
    with serving(Stub(echo, ["400"])) as stub:
        replies = dict(endpoint(stub, concurrency=1).complete_all(chats(3)))
    assert isinstance(replies[0], NoReply) and "HTTP 400" in replies[0].reason
    assert isinstance(replies[1], Reply) and len(stub.requests) == 3


def test_retry_after_holds_all_requests_back() -> None:
    with serving(Stub(echo, ["429"], retry_after="0.4")) as stub:
        source = ModelSource(name="stub", endpoint=stub.url, concurrency=1)
        assert len(dict(Endpoint(source).complete_all(chats(2)))) == 2
    assert stub.times[1] - stub.times[0] >= 0.4


def test_requests_begin_within_their_rate() -> None:
    with serving(Stub(echo)) as stub:
        source = ModelSource(name="stub", endpoint=stub.url, requests_per_minute=600)
        assert len(dict(Endpoint(source).complete_all(chats(5)))) == 5
    assert stub.times[-1] - stub.times[0] >= 0.4 - 0.02


def test_a_pace_that_is_held_lets_nobody_through() -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        pace.hold(-1e9)
        pace._next = 0.0

    pace = Pace(None, sleep)
    pace.hold(30)
    pace.wait()
    assert waited == [pytest.approx(30, abs=1)]


def test_a_server_that_is_gone_ends_the_run_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source = ModelSource(
            name="stub", endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", concurrency=3, tries=2
        )
        replies = Endpoint(source, sleep=lambda seconds: None).complete_all(chats(500))
        seen = []
        with pytest.raises(ApportionError, match="does not answer.*go on"):
            seen.extend(replies)
    assert 3 <= len(seen) <= 6


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-secret-123")
    with serving(Stub(echo, ["400"])) as stub:
        replies = dict(endpoint(stub, api_key="OTHER_KEY").complete_all(chats(1)))
    assert stub.keys == ["Bearer sk-secret-123"]
    assert isinstance(replies[0], NoReply) and "***" in replies[0].reason
    assert "secret" not in replies[0].reason
    with (
        serving(Stub(echo, ["401"])) as stub,
        pytest.raises(ApportionError, match="OTHER_KEY, which is set") as refused,
    ):
        dict(endpoint(stub, api_key="OTHER_KEY").complete_all(chats(1)))
    assert "secret" not in str(refused.value)


def test_the_limit_of_cost_is_kept_also_when_answers_are_lost() -> None:
    prices = {"price_in": 0.0, "price_out": 1e6}  # a token is 1, and a request 10 at most
    with serving(Stub(echo, ["cut", "garbage"])) as stub:
        purse, replies = Purse(limit=55.0), []
        with pytest.raises(MaxCostError, match="max_cost 55"):
            replies.extend(endpoint(stub, purse, concurrency=1, **prices).complete_all(chats(100)))
    spent = sum(reply.cost for _, reply in replies)
    assert spent == purse.spent <= 55
    assert spent > 55 - 10
    assert len([reply for _, reply in replies if isinstance(reply, Reply)]) == len(stub.requests) - 2


def test_settings_reach_the_server() -> None:
    chat = Chat(
        messages=[{"role": "user", "content": "hi"}], max_tokens=7, temperature=0.3, top_p=0.5, seed=11,
        stop=("x",), schema={"type": "object"}, template="{{ messages }}",
    )  # fmt: skip
    with serving(Stub(echo)) as stub:
        dict(endpoint(stub).complete_all([(0, chat)]))
    (body,) = stub.requests
    expected = {"model": "stub", "max_tokens": 7, "temperature": 0.3, "top_p": 0.5, "seed": 11, "stop": ["x"]}
    assert body.items() >= expected.items()
    assert body["chat_template"] == "{{ messages }}"
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
