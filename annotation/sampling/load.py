"""The samplers of a configuration, and what makes each the one it is."""

from __future__ import annotations

from annotation.config import MakeConfig, ModelSource, SamplingConfig
from annotation.journal import key_of
from annotation.purse import Purse
from annotation.sampling.collect import Writer
from annotation.sampling.sampler import Sampler

# Fields that decide what is drawn; the others decide where, how fast, and when it is given up.
# A server that moves is the same; two that call different models alike have different labels.
_OF_MODELS = ("name", "source", "engine", "dtype")
_OF_SAMPLING = {"resample"}


def load_writers(config: MakeConfig, purse: Purse) -> list[Writer]:
    """A writer for each model of the configuration, loaded."""
    return [
        Writer(model.source, identity(model, config.sampling), load_sampler(model, config.sampling, purse))
        for model in config.models
    ]


def load_sampler(source: ModelSource, sampling: SamplingConfig, purse: Purse) -> Sampler:
    """The sampler for one model; heavy libraries are imported only where they are used."""
    if source.endpoint:
        from annotation.sampling.endpoint import EndpointSampler

        return EndpointSampler(source, sampling, purse)
    if source.engine == "vllm":
        from annotation.sampling.ray_data import VllmSampler

        return VllmSampler(source, sampling)
    if source.workers:
        from annotation.sampling.ray_data import RaySampler

        return RaySampler(source, sampling)
    from annotation.sampling.local import LocalSampler

    return LocalSampler(source, sampling, purse)


def identity(source: ModelSource, sampling: SamplingConfig) -> str:
    """A digest of model and sampling settings: responses drawn under another are other responses."""
    settings = sampling.model_dump(mode="json", exclude=_OF_SAMPLING)
    if sampling.chat_template is not None:
        settings["chat_template"] = sampling.chat_template.read_text(encoding="utf-8")
    return key_of({name: getattr(source, name) for name in _OF_MODELS}, settings)
