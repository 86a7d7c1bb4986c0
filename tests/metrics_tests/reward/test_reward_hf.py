"""Hugging Face reward models: what is read of a pair, and which models are refused."""

from pathlib import Path

import pytest
import torch
from support.tiny_rewards import save_base_model, save_decoder_reward, save_encoder_reward
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.dialogue import Window, encode
from metrics.reward.hf import HFReward
from pools.types import Message, Prompt


def reward(model: Path | str, **fields: int) -> HFReward:
    config = RewardConfig(kind="hf", model=str(model), **fields)
    return HFReward(str(model), config=config, device="cpu")


def test_the_score_is_the_sigmoid_of_the_logit_of_the_template(tmp_path: Path) -> None:
    save_decoder_reward(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode("<user>Hi</s><assistant>Hello</s>", return_tensors="pt")
    logit = AutoModelForSequenceClassification.from_pretrained(tmp_path)(ids).logits.item()
    (score,) = reward(tmp_path).score([Prompt("Hi")], ["Hello"])
    assert score == pytest.approx(torch.tensor(logit).sigmoid().item(), abs=1e-6)


def test_an_encoder_reads_the_pair(tmp_path: Path) -> None:
    save_encoder_reward(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    logit = AutoModelForSequenceClassification.from_pretrained(tmp_path)(
        **tokenizer("Hi", "Hello", return_tensors="pt")
    ).logits.item()
    (score,) = reward(tmp_path).score([Prompt("Hi")], ["Hello"])
    assert score == pytest.approx(torch.tensor(logit).sigmoid().item(), abs=1e-6)


def test_the_window_keeps_the_prompts_end_and_the_responses_beginning(tmp_path: Path) -> None:
    save_decoder_reward(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    before, after = encode(tokenizer, Prompt("abcdef"), "uvwxyz", Window(prompt=13, response=3))
    assert tokenizer.decode(before) == "f</s><assistant>"
    assert tokenizer.decode(after) == "uvw"


def test_without_a_template_turns_are_written_out(tmp_path: Path) -> None:
    save_decoder_reward(tmp_path, chat=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    turns = (Message("user", "Hi"), Message("assistant", "Yo"), Message("user", "Bye"))
    before, after = encode(tokenizer, Prompt(turns), "See you", Window(100, 100))
    assert tokenizer.decode(before) == "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: Bye\n\nAssistant:"
    assert tokenizer.decode(after) == " See you</s>"


def test_the_window_shrinks_to_the_models_positions() -> None:
    class Short:
        max_position_embeddings = 48

    window = Window.of(RewardConfig(max_prompt_tokens=100, max_response_tokens=300), Short())
    assert window == Window(prompt=10, response=30)


def test_a_plain_language_model_is_refused(tmp_path: Path) -> None:
    save_base_model(tmp_path)
    with pytest.raises(RewardError, match="no trained reward model.*score.weight"):
        reward(tmp_path)


def test_more_than_one_output_is_refused(tmp_path: Path) -> None:
    save_decoder_reward(tmp_path, outputs=3)
    with pytest.raises(RewardError, match="has 3 outputs; need exactly one"):
        reward(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    save_decoder_reward(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RewardError, match="cannot load the reward model"):
        reward(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="cannot load the reward model .*nothing-here"):
        reward(tmp_path / "nothing-here")


def test_long_pairs_are_cut_and_still_scored(tmp_path: Path) -> None:
    save_encoder_reward(tmp_path)
    (score,) = reward(tmp_path).score([Prompt("p" * 500)], ["r" * 500])
    assert 0.0 <= score <= 1.0
