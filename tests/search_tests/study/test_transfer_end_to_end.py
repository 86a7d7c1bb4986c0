"""A study that tries its advice elsewhere: the other model is really trained, and judged as the first is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.study_runs import run
from support.tiny_models import byte_tokenizer, tiny_llama

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider model than the study's."""
    folder = tmp_path_factory.mktemp("other")
    wider = {"hidden_size": 48, "intermediate_size": 64}
    tiny_llama(vocab_size=300, max_position_embeddings=512, **wider).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flags(other: Path) -> list[str]:
    return [
        "--transfer.models", str(other), "--transfer.trials", "3",
        "--checkpoints.keep_policies", "all",
        "--further-rewards", "[{kind: fitted, fit_prompts: 12, fit_folds: 2, force: true}]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def study(
    script: Path, model: Path, flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("runs") / "transfer"
    done = run(script, model, folder, *flags)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def test_contenders_are_trained_under_each_setting_and_kept_apart(
    study: tuple[Path, str], other: Path
) -> None:
    records = [json.loads(path.read_text()) for path in (study[0] / "trials").glob("*.json")]
    tagged = [record for record in records if record["point"].get("transfer")]
    tags = [record["point"]["transfer"] for record in tagged]
    assert tags == [f"model {other}"] * 3
    assert len(records) - len(tagged) == 4
    kept = json.loads((study[0] / "recommendation.json").read_text())
    assert kept["trials"] == 4
    assert {one["setting"] for one in kept["transfer"]["tried"]} == set(tags)
    assert kept["transfer"]["not_tested"] == [
        "another algorithm", "another pairing", "another learning rate", "other steps",
    ]  # fmt: skip
    assert (study[0] / "transfer.csv").read_text().count("\n") == 1 + 6


def test_the_other_model_is_the_one_that_was_trained(study: tuple[Path, str], other: Path) -> None:
    for path in (study[0] / "trials").glob("*.json"):
        record = json.loads(path.read_text())
        for result in record["results"]:
            config = json.loads((Path(result["policy"]) / "config.json").read_text())
            elsewhere = record["point"].get("transfer") == f"model {other}"
            assert config["hidden_size"] == (48 if elsewhere else 32)
            assert result["further_rewards"].keys() == {"fitted (fitted on the pool's own scores)"}


def test_the_report_and_the_terminal_say_whether_it_carries_over(study: tuple[Path, str]) -> None:
    report = (study[0] / "report.html").read_text()
    assert "Does it carry over?" in report and "Under model " in report
    assert "By fitted (fitted on the pool&#x27;s own scores) the advice" in report
    assert "Does it carry over (probability still as good as any)?" in study[1]


def test_the_same_command_again_trains_nothing(
    study: tuple[Path, str], script: Path, model: Path, flags: list[str]
) -> None:
    done = run(script, model, study[0], *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing is left to train" in done.stdout and "starting Ray" not in done.stdout
