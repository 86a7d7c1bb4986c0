"""OpenAI-compatible endpoints: many requests at a time, paced, tried again where it helps, within a limit."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from annotation.config import ModelSource
from annotation.purse import Purse
from base.errors import ApportionError

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0  # between tries, where the server does not say (seconds)
_TOKENS_OF_A_TURN = 16  # at most, for what a chat template puts around one
_NO_USE_TO_RETRY = {400, 404, 405, 413, 422}
_NOT_LET_IN = {401, 403}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One request for a chat completion.

    `schema` asks for JSON of that schema; `template` replaces the model's chat template, if a server lets it.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    template: str = ""

    def body(self) -> dict[str, Any]:
        """The arguments of the client's `chat.completions.create`, less the model."""
        body: dict[str, Any] = {
            "messages": list(self.messages),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        body |= {"seed": self.seed} if self.seed is not None else {}
        body |= {"stop": list(self.stop)} if self.stop else {}
        body |= {"extra_body": {"chat_template": self.template}} if self.template else {}
        if self.schema:
            named = {"name": "verdict", "strict": True, "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body


@dataclass(frozen=True)
class Reply:
    """What came back: a text and its tokens; `cost` includes tries whose answers were lost (money), `seconds`
    is the time from the first try on."""

    text: str
    tokens_in: int
    tokens_out: int
    truncated: bool
    cost: float
    seconds: float


@dataclass(frozen=True)
class NoReply:
    """A request that stays unanswered, and why; `gone` where the endpoint was not reached at all."""

    reason: str
    cost: float
    gone: bool


class Endpoint:
    """One model behind one endpoint."""

    def __init__(
        self, source: ModelSource, purse: Purse | None = None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        from openai import OpenAI

        self._source, self._purse, self._sleep = source, purse or Purse(), sleep
        self._key = os.environ.get(source.api_key, "")
        # Tries are counted and paid for here, so that the client's own are off.
        self._client = OpenAI(
            base_url=source.endpoint, api_key=self._key or "none", timeout=source.timeout, max_retries=0
        )
        self._pace = Pace(source.requests_per_minute, sleep)
        self.retries = 0

    def complete_all(self, chats: Iterable[tuple[T, Chat]]) -> Iterator[tuple[T, Reply | NoReply]]:
        """A reply for each chat, with the label it came with, in the order in which replies come.

        Chats are taken as they can be sent. Raises MaxCostError where the next might cost more than is left,
        ApportionError where the endpoint refuses the key, or none of the last requests reached it; those
        under way are waited for, and given out, before that.
        """
        rest = iter(chats)
        waiting = next(rest, None)
        away: dict[Future[Reply | NoReply], T] = {}
        unreached = 0
        with ThreadPoolExecutor(self._source.concurrency) as threads:
            while waiting or away:
                while waiting and len(away) < self._source.concurrency and self._reachable(unreached):
                    if not self._purse.reserve(self.most(waiting[1])):
                        break
                    away[threads.submit(self._complete, waiting[1])] = waiting[0]
                    waiting = next(rest, None)
                if not away and waiting:
                    raise self._why_not(waiting[1], unreached)
                for future in wait(away, return_when=FIRST_COMPLETED).done:
                    label = away.pop(future)
                    reply = future.result()
                    unreached = unreached + 1 if isinstance(reply, NoReply) and reply.gone else 0
                    self._last = reply
                    yield label, reply

    def most(self, chat: Chat) -> float:
        """The most that one try can cost: no text has more tokens than bytes (money)."""
        read = sum(len(turn["content"].encode()) + _TOKENS_OF_A_TURN for turn in chat.messages)
        return self._cost(read, chat.max_tokens)

    def _cost(self, read: int, written: int) -> float:
        return (read * self._source.price_in + written * self._source.price_out) / 1e6

    def _reachable(self, unreached: int) -> bool:
        return unreached < self._source.concurrency

    def _why_not(self, chat: Chat, unreached: int) -> ApportionError:
        if self._reachable(unreached):
            return self._purse.refuse(self.most(chat))
        assert isinstance(self._last, NoReply)
        return ApportionError(
            f"{self._source.endpoint} does not answer: {self._last.reason}. "
            "What came before is kept; run the same command again to go on"
        )

    def _complete(self, chat: Chat) -> Reply | NoReply:
        """Send until there is a reply, as often as is allowed; what was reserved for the chat is settled.

        Where an answer may have been made and was lost, its most is booked, and reserved anew for the next.
        """
        most, lost, started = self.most(chat), 0.0, time.monotonic()
        for left in reversed(range(self._source.tries)):
            self._pace.wait()
            try:
                reply = self._reply(self._send(chat), chat, lost, started)
            except _Fault as fault:
                last = fault
            else:
                self._purse.settle(most, reply.cost - lost)
                return reply
            if last.lost:
                lost += most
                self._purse.settle(most, most)
                most = most if left and self._purse.reserve(most) else 0.0
            if last.final or not left or (last.lost and self._purse.limit and not most):
                break
            self.retries += 1
            self._before_the_next(last, self._source.tries - left - 1)
        self._purse.settle(most, 0.0)
        return NoReply(self._without_key(last.reason), lost, last.gone)

    def _before_the_next(self, fault: _Fault, attempt: int) -> None:
        """Wait as long as the server asks all to, else a while that doubles."""
        if fault.wait is not None:
            self._pace.hold(fault.wait)
        else:
            self._sleep(_backoff(attempt))

    def _send(self, chat: Chat) -> Any:
        """The client's answer; raises _Fault, or ApportionError where the key is refused."""
        import openai

        try:
            return self._client.chat.completions.create(model=self._source.name, **chat.body())
        except openai.APITimeoutError:
            raise _Fault(f"no reply within {self._source.timeout:g} s", lost=True, gone=True) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            sent = cause is not None and "Connect" not in type(cause).__name__
            raise _Fault(f"connection failed: {cause or error}", lost=sent, gone=True) from None
        except openai.APIStatusError as error:
            raise self._status_fault(error) from None
        except (openai.APIError, ValueError, OSError) as error:
            raise _Fault(f"malformed reply: {str(error)[:200]}", lost=True) from None
        except Exception as error:  # the transport's own, where a body breaks off
            if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise
            raise _Fault(f"reply broke off: {error}", lost=True, gone=True) from None

    def _status_fault(self, error: Any) -> _Fault:
        status, said = error.status_code, f"HTTP {error.status_code}: {str(error.message)[:200]}"
        if status in _NOT_LET_IN:
            raise ApportionError(
                f"{self._source.endpoint}: {self._without_key(said)}; the key is read from the environment "
                f"variable {self._source.api_key}, which is {'set' if self._key else 'not set'}"
            )
        if status in _NO_USE_TO_RETRY or getattr(error, "code", "") == "insufficient_quota":
            return _Fault(said, final=True)
        return _Fault(said, wait=_retry_after(error.response.headers))

    def _reply(self, answer: Any, chat: Chat, lost: float, started: float) -> Reply:
        """Raises _Fault where the answer holds no choice; one that counts no tokens costs its most."""
        try:
            choice = answer.choices[0]
            text = str(choice.message.content or "")
        except (AttributeError, IndexError, TypeError):
            raise _Fault(f"answered without a choice: {str(answer)[:160]}", lost=True) from None
        usage = getattr(answer, "usage", None)
        read, written = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        cost = self._cost(read, written) if usage else self.most(chat)
        truncated = choice.finish_reason == "length"
        return Reply(text, read, written, truncated, lost + cost, time.monotonic() - started)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class Pace:
    """When the next request may begin: evenly spaced within a rate, and not before a server wants one."""

    def __init__(self, per_minute: float | None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next, self._lock, self._sleep = 0.0, threading.Lock(), sleep

    def wait(self) -> None:
        """Return when it is this request's turn."""
        while (rest := self._turn()) > 0:
            self._sleep(rest)

    def _turn(self) -> float:
        """0 where the turn is now, which it then was; else how long to wait before asking again (seconds)."""
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return self._next - now
            self._next = now + self._gap
            return 0.0

    def hold(self, seconds: float) -> None:
        """Let no request begin for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class _Fault(Exception):
    """A try without a reply.

    lost: an answer may have been made, and paid for; gone: the server was not reached, or went silent;
    final: another try has no point; wait: what the server asks for (seconds).
    """

    def __init__(
        self,
        reason: str,
        *,
        lost: bool = False,
        gone: bool = False,
        final: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.lost, self.gone, self.final, self.wait = reason, lost, gone, final, wait


def _backoff(attempt: int) -> float:
    """Doubling waits, spread so that requests that failed together do not come back together (seconds)."""
    return float(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """What a Retry-After header asks for, in either of its two forms (seconds; RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
