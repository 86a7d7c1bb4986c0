"""Responses from a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from annotation.config import ModelSource, SamplingConfig
from annotation.endpoint import Chat, Endpoint, NoReply, Reply
from annotation.purse import Purse
from annotation.sampling.sampler import Drawn, Failed, Request, Results, Unit, messages_of, with_system

_SEEDS = 2**31  # servers take seeds of 32 bits with a sign


class EndpointSampler:
    """One request a response, each with its own seed: what another client asks of the server changes nothing
    but its rounding, and what this one has asked before is never asked again."""

    unit = 1

    def __init__(self, source: ModelSource, sampling: SamplingConfig, purse: Purse | None = None) -> None:
        self.endpoint = Endpoint(source, purse)
        self._sampling, self._source = sampling, source
        path = sampling.chat_template
        self._template = path.read_text(encoding="utf-8") if path is not None else ""

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        """See `Sampler.sample`."""
        chats = ((number, self._chat(unit[0])) for number, unit in enumerate(units))
        for number, reply in self.endpoint.complete_all(chats):
            yield number, [self._drawn(reply)]

    def _chat(self, request: Request) -> Chat:
        sampling = self._sampling
        return Chat(
            messages=messages_of(with_system(request.prompt, sampling.system_prompt)),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=request.seed % _SEEDS,
            stop=sampling.stop,
            template=self._template,
        )

    def _drawn(self, reply: Reply | NoReply) -> Drawn | Failed:
        if isinstance(reply, NoReply):
            return Failed(reply.reason, reply.cost)
        seconds = self._source.share_of(reply.seconds)
        text = reply.text.strip()
        return Drawn(text, reply.tokens_in, reply.tokens_out, reply.truncated, reply.cost, seconds)
