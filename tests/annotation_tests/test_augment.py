"""Augmenting a pool: what is left out, what is kept, and the two kinds of proposers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice, repeat
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from annotation.augment import NearCopies, augment
from annotation.proposers import EndpointProposer, LocalProposer
from base.errors import ApportionError
from search.cli import main

POOL = [
    "How do I bake a loaf of sourdough bread at home?",
    "Write a short poem about the first rain of the year.",
    "Explain why the sky looks blue during the day.",
    "Give me three tips to learn the piano as an adult.",
    "What should I pack for a week of hiking in the Alps?",
]
HELD_OUT = ["Which planets of the solar system have rings around them?"]
NEW = [
    "Translate this short note into Portuguese for me.",
    "Suggest a name for a small bakery near the harbour.",
    "How can my team run shorter meetings on Mondays?",
]


class Listed:
    """Proposes from a list: the twin in memory of a language model."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.shots = texts, list[list[str]]()

    def propose(self, shots: Iterator[list[str]], count: int) -> Iterator[str]:
        self.shots = list(islice(shots, count))
        return iter(self.texts[:count])


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    made = Tokenizer(
        models.BPE({letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def test_copies_and_held_out_prompts_never_come_in(letters: Tokenizer) -> None:
    proposals = [
        f"1. {NEW[0]}",
        POOL[0].upper(),
        "Explain why the sky looks so blue during the day.",
        "Which of the planets in the solar system have rings?",
        "Hm",
        f'"{NEW[1]}"\nAnd more',
        NEW[1],
        NEW[2],
    ]
    proposer = Listed(proposals)
    shares: list[float] = []
    account = augment(
        POOL, HELD_OUT, proposer, letters, prompts=3, oversample=8 / 3, progress=lambda _, s: shares.append(s)
    )
    assert shares == pytest.approx([i / 8 for i in range(1, 9)])
    assert sorted(proposal.text for proposal in account.chosen) == sorted(NEW)
    assert (account.proposed, account.unusable, account.near_pool, account.near_held_out) == (8, 1, 3, 1)
    assert all(shot in POOL for shots in proposer.shots for shot in shots)


def test_those_that_add_most_are_kept(letters: Tokenizer) -> None:
    dull = "Explain why the bread looks blue during the first rain"
    account = augment(POOL, [], Listed([dull, NEW[2]]), letters, prompts=1)
    assert [proposal.text for proposal in account.chosen] == [NEW[2]]
    assert account.chosen[0].gain > 0
    assert account.chosen[0].tokens == len(NEW[2])


def test_nothing_of_use_leaves_nothing(letters: Tokenizer) -> None:
    assert augment(POOL, [], Listed(list(POOL)), letters, prompts=2).chosen == []


def test_near_copies_are_told_from_others() -> None:
    sieve = NearCopies(POOL, HELD_OUT)
    assert sieve.near_pool("how do I bake a loaf of  sourdough bread at home")
    assert not any(map(sieve.near_pool, NEW)) and not any(map(sieve.near_held_out, NEW))
    sieve.add(NEW[0])
    assert sieve.near_pool(NEW[0]) and not sieve.near_held_out(NEW[0])


class Endpoint(BaseHTTPRequestHandler):
    """Answers as a chat endpoint does, with one of the new prompts; the model "broken" gets no choice."""

    asked: list[dict[str, object]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
        text = NEW[len(self.asked) % len(NEW)]
        choices = [] if body["model"] == "broken" else [{"message": {"role": "assistant", "content": text}}]
        self.send_response(404 if body["model"] == "missing" else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": choices}).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Endpoint.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_endpoint_is_asked_as_openai_is(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    answers = list(EndpointProposer(endpoint, "chat-1", temperature=0.5).propose(repeat(POOL[:2]), 4))
    assert len(answers) == 4 and set(answers) <= set(NEW)
    first = Endpoint.asked[0]
    assert (first["path"], first["key"], first["model"]) == (
        "/v1/chat/completions",
        "Bearer secret",
        "chat-1",
    )
    assert POOL[0] in str(first["messages"]) and first["temperature"] == 0.5


@pytest.mark.parametrize(("model", "message"), [("broken", "without a choice"), ("missing", "404")])
def test_an_endpoint_that_fails_is_named(endpoint: str, model: str, message: str) -> None:
    with pytest.raises(ApportionError, match=message):
        list(EndpointProposer(endpoint, model).propose(repeat(POOL), 1))
    with pytest.raises(ApportionError, match="127.0.0.1:1/v1.* failed"):
        list(EndpointProposer("http://127.0.0.1:1/v1", model).propose(repeat(POOL), 1))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, letters: Tokenizer) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<e>")
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    wrapped.save_pretrained(path)
    return str(path)


def test_a_local_model_proposes_the_same_for_one_seed(model_dir: str) -> None:
    runs = [list(LocalProposer(model_dir, seed=1, batch=2).propose(repeat(POOL[:2]), 3)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 3 and not any("\n" in text for text in runs[0])


def test_the_command_marks_prompts_as_model_made(
    endpoint: str, model_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out = tmp_path / "pool.jsonl", tmp_path / "new.jsonl"
    pool.write_text("\n".join(json.dumps({"prompt": text}) for text in POOL))
    options = ["--prompts", "5", "--endpoint", endpoint, "--model", "chat-1", "--tokenizer", model_dir]
    assert main(["augment", str(pool), *options, "--output", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["prompt"] for row in rows) == sorted(NEW)
    assert all(row["meta"] == {"model_made": True, "model": "chat-1"} for row in rows)
    assert "only 3 of 5 were found" in capsys.readouterr().err
    assert main(["augment", str(pool), *options[:1], "0", *options[2:]]) == 2
    assert "--prompts is 0" in capsys.readouterr().err
