"""A saved policy answers as the trained one, with adapters merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem, copy_files
from support import tiny_trial
from support.tiny_models import byte_tokenizer, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainers.config.trainer import TrainerConfig
from trainers.models import load_policy
from trainers.spec import SeedResult, TrialJob
from trainers.trial.evaluator import Evaluator
from trainers.trial.export import model_card, put_remote, save_policy
from trainers.trial.seed_run import add_policy
from trainers.workers.local import LocalContext


@pytest.mark.parametrize("rank", [0, 4])
def test_from_pretrained_gives_the_trained_policys_logits(
    tmp_path: Path, rank: int, capfd: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    tiny_llama(tie_word_embeddings=True).save_pretrained(base)
    config = TrainerConfig.model_validate({"dtype": "fp32", "lora": {"rank": rank}})
    trained = load_policy(str(base), dtype="fp32", lora=config.lora).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    weights = {name: parameter.detach().clone() for name, parameter in trained.named_parameters()}
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "of an earlier run").touch()
    assert "Writing model shards" in "".join(capfd.readouterr())  # a bar of transformers' own
    save_policy(
        weights,
        str(tmp_path / "kept"),
        base=str(base),
        config=config,
        tokenizer=byte_tokenizer(),
        card="# card",
    )
    assert "Writing model shards" not in "".join(capfd.readouterr())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "kept").eval()
    ids = torch.arange(3, 33).view(2, 15)
    with torch.no_grad():
        wanted, found = trained(input_ids=ids).logits, loaded(input_ids=ids).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    files = {path.name for path in (tmp_path / "kept").iterdir()}
    assert "model.safetensors" in files and "of an earlier run" not in files
    assert (tmp_path / "kept" / "README.md").read_text() == "# card"
    assert AutoTokenizer.from_pretrained(tmp_path / "kept")("ab").input_ids
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "kept"]


@pytest.mark.parametrize(("known", "ends"), [(None, [2]), (7, [7, 2]), ([7, 9], [7, 9, 2]), ([2, 7], [2, 7])])
def test_answers_end_with_the_token_of_the_training(
    tmp_path: Path, known: int | list[int] | None, ends: list[int]
) -> None:
    base = tiny_llama(eos_token_id=known)
    base.save_pretrained(tmp_path / "base")
    weights = dict(base.named_parameters())
    save_policy(
        weights,
        str(tmp_path / "kept"),
        base=str(tmp_path / "base"),
        config=TrainerConfig(dtype="fp32"),
        tokenizer=byte_tokenizer(),
        card="",
    )
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "kept")
    assert loaded.generation_config.eos_token_id == ends


def test_an_object_store_gets_the_whole_policy_or_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())  # what is not local is copied to

    def write(folder: Path) -> None:
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / name).write_text(name)

    put_remote(store, "study/policies/a", write)
    (tmp_path / "study/policies/a/of an earlier run").touch()
    put_remote(store, "study/policies/a", write)
    found = {path.name: path for path in (tmp_path / "study/policies/a").iterdir()}
    assert set(found) == {"config.json", "model.safetensors", "tokenizer.json"}
    last = found.pop("config.json").stat().st_mtime_ns
    assert all(path.stat().st_mtime_ns <= last for path in found.values())

    def interrupted(source: str, target: str, **options: Any) -> None:
        if target.endswith("config.json"):
            raise OSError("no route to host")
        copy_files(source, target, **options)

    monkeypatch.setattr("pyarrow.fs.copy_files", interrupted)
    with pytest.raises(OSError, match="no route"):
        put_remote(store, "study/policies/a", write)
    assert not (tmp_path / "study/policies/a").exists()


def test_a_policy_that_cannot_be_saved_leaves_the_result(tmp_path: Path) -> None:
    """Where the place is wrong the trial still counts, and says what it could not do."""
    setup = tiny_trial.setup(tiny_trial.save_model(tmp_path / "base"))
    (tmp_path / "file").touch()
    evaluator = Evaluator(replace(setup, policies=f"{tmp_path}/file"), tiny_trial.pool(), LocalContext())
    result = SeedResult(seed=3, reward=0.5, rewards=(0.5, 0.5), answers=("", ""))
    model = load_policy(evaluator.path, dtype="fp32")
    kept = add_policy(result, model, evaluator, TrialJob(setup=setup, responses=2, orders={}, name="a"))
    assert (kept.reward, kept.policy) == (0.5, "")
    assert f"could not be saved to {tmp_path}/file/a-seed3: " in kept.notes[0]


def test_the_card_says_where_the_policy_comes_from_and_whose_judgement_it_is() -> None:
    card = model_card("trial-x-seed0", base="org/base", facts={"pool": "demo", "split": "48 prompts x 2"})
    assert "| base model | org/base |" in card and "| split | 48 prompts x 2 |" in card
    assert "apportion 0." in card and "not people's" in card
