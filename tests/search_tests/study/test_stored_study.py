"""A study on a pool that stays on disk asks the same questions of the same prompts as one in memory."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import planned

from base.errors import PoolError
from metrics.config import RewardConfig
from metrics.diversity import nested_diversity
from metrics.reward.fitted import fit_sample
from metrics.scale import nested_diversity_at
from metrics.stored_tokens import StoredTokens
from metrics.tokens import TokenTable
from pools.stored import StoredExamples
from pools.subset import draw
from pools.types import Pool
from search.config.load import load_config
from search.execution.draw import choose_orders, measure, selected
from search.plan.space import Space
from search.study import inputs as material
from search.study.folder import StudyFolder, study_identity
from search.terminal.display import Display
from search.trials.design_point import Trial, digest, digest_of_list


class Words:
    """A tokenizer whose ids are first sights of words: what it says does not depend on anything else."""

    chat_template = None

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[self._ids.setdefault(w, len(self._ids)) for w in t.split()] for t in texts]}


class Read:
    """What a study knows of its pool before the first trial."""

    def __init__(self, limit: str, folder: Path) -> None:
        self.config = load_config("demo", {"pool.stream_above": limit})
        self.pool, self.digest = material.read_pool(self.config, StudyFolder(folder), Display())
        self.tokens = material.tokenize_pool(self.config.model.name, self.pool, Display())
        self.curve = material.diversity_curve(self.pool, self.tokens, seed=0)


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Read, Read]:
    """The demo pool in memory, then on disk."""
    folder = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pools.spilled.PART_BYTES", 50_000)
        patch.setattr(material, "load_light_tokenizer", lambda _: Words())
        patch.setattr(material, "resolve_model", lambda _: "")
        return Read("1024", folder / "memory"), Read("0", folder / "disk")


def trial(selection: str) -> Trial:
    strength = 0.0 if selection == "random" else 0.7
    return planned(50, 3, (0, 4), budget_fraction=1.0, selection=selection, strength=strength)


def test_the_pool_is_on_disk_and_is_the_same(reads: tuple[Read, Read]) -> None:
    memory, disk = reads
    assert isinstance(disk.pool.train, StoredExamples) and isinstance(disk.tokens, StoredTokens)
    assert not isinstance(memory.pool.train, StoredExamples)
    assert disk.digest == memory.digest
    assert study_identity(disk.config, disk.digest) == study_identity(memory.config, memory.digest)
    assert Space(disk.config, max_prompts=len(disk.pool.train)).grid() == (
        Space(memory.config, max_prompts=len(memory.pool.train)).grid()
    )
    assert disk.curve == memory.curve
    assert len(pickle.dumps(disk.pool.train)) + len(pickle.dumps(disk.tokens)) < 1000


@pytest.mark.parametrize("selection", ["random", "diverse"])
def test_a_trial_gets_the_same_examples_and_the_same_measures(
    reads: tuple[Read, Read], selection: str
) -> None:
    def drawn(read: Read) -> tuple[Pool, TokenTable, dict[int, list[int]]]:
        pool, tokens = pickle.loads(pickle.dumps((read.pool, read.tokens)))
        orders = choose_orders(pool, tokens, trial(selection))
        return selected(pool, tokens, orders) if read is reads[1] else (pool, tokens, orders)

    (pool, tokens, orders), (part, part_tokens, moved) = map(drawn, reads)
    assert len(part.train) <= 100 and part.held_out == pool.held_out
    assert measure(part, part_tokens, moved) == measure(pool, tokens, orders)
    for seed, order in orders.items():
        wanted = draw(pool.train, prompts=50, responses=3, seed=seed, order=order)
        assert draw(part.train, prompts=50, responses=3, seed=seed, order=moved[seed]) == wanted


def test_a_reward_model_is_fitted_on_the_same_prompts_and_folds(reads: tuple[Read, Read]) -> None:
    config = RewardConfig(kind="fitted", fit_prompts=40)
    memory, disk = (fit_sample(read.pool.train, config, seed=2) for read in reads)
    assert disk.examples == memory.examples and len(disk.examples) == 40
    assert disk.rng.permutation(9).tolist() == memory.rng.permutation(9).tolist()


def test_the_curve_is_counted_in_pieces_and_estimated_past_the_limit(
    reads: tuple[Read, Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metrics.scale._PIECE", 7)
    tokens = reads[1].tokens
    order, places = np.random.default_rng(0).permutation(len(tokens)), np.array([1, 2, 30, 99, len(tokens)])
    wanted = nested_diversity(tokens.take(order))[places - 1]
    assert nested_diversity_at(tokens, order, places).tolist() == wanted.tolist()
    estimate = nested_diversity_at(tokens, order, places, limit=400)
    assert estimate == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("values", [[], [{"b": 1, "a": "ä"}], [1, [2.5, None], "x"]])
def test_the_digest_of_a_stream_is_that_of_the_list(values: list[Any]) -> None:
    assert digest_of_list(iter(values)) == digest(values)


def test_a_greedy_selection_that_memory_cannot_hold_is_refused(
    reads: tuple[Read, Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "GREEDY_TOKENS", 100)
    greedy, plain = ("random", "narrow"), ("random",)
    for read, selections in ((reads[0], greedy), (reads[1], plain)):
        material.check_selections(selections, read.pool, read.tokens)
    with pytest.raises(PoolError, match=r'"narrow", which .* they have [\d,]+ tokens, and 100 is'):
        material.check_selections(greedy, reads[1].pool, reads[1].tokens)


def test_the_copy_goes_when_the_folder_is_left(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    with folder.locked():
        material.read_pool(load_config("demo", {"pool.stream_above": "0"}), folder, Display())
        assert (folder.pool / "train.arrow").exists()
    assert not folder.pool.exists()
