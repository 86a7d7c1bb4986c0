"""Our own generation as a sampler: settings reach the model, and a text does not depend on its neighbours."""

from __future__ import annotations

from pathlib import Path

from annotation.config import ModelSource, SamplingConfig
from annotation.purse import MaxCostError, Purse
from annotation.sampling.local import LocalSampler, _alike
from annotation.sampling.sampler import Drawn, Request, Unit
from pools.types import Message, Prompt


def sampler(model: Path, purse: Purse | None = None, price: float = 0.0, **fields: object) -> LocalSampler:
    sampling = SamplingConfig.model_validate({"max_tokens": 8, "temperature": 1.0, "top_p": 1.0, **fields})
    source = ModelSource(name=str(model), batch=4, dtype="fp32", price_per_hour=price)
    return LocalSampler(source, sampling, purse)


def drawn(made: LocalSampler, unit: Unit) -> list[Drawn]:
    [(_, results)] = made.sample([unit])
    return [one for one in results if isinstance(one, Drawn)]


def test_texts_depend_on_their_own_seed_alone(model: Path) -> None:
    made = sampler(model)
    unit = [Request(Prompt(text), seed) for text in ("one", "a longer prompt") for seed in range(3)]
    together = [one.text for one in drawn(made, unit)]
    assert [drawn(made, [request])[0].text for request in unit] == together
    uneven = [unit[0], unit[3], unit[4]]
    assert [one.text for one in drawn(made, uneven)] == [together[0], together[3], together[4]]


def test_prompts_of_a_unit_are_put_together_by_number_of_responses() -> None:
    a, b, c = Prompt("a"), Prompt("b"), Prompt("c")
    unit = [Request(prompt, 0) for prompt in (a, b, a, c)]
    assert sorted(_alike(unit)) == [[[0, 2]], [[1], [3]]]


def test_the_system_prompt_is_read_unless_there_is_one(model: Path) -> None:
    own = Prompt((Message("system", "Be brief."), Message("user", "Hi")))
    plain, with_system = sampler(model), sampler(model, system_prompt="Be kind.")
    hi = Request(Prompt("Hi"), 0)
    assert drawn(with_system, [hi])[0].tokens_in > drawn(plain, [hi])[0].tokens_in
    assert drawn(with_system, [Request(own, 0)])[0].tokens_in == drawn(plain, [Request(own, 0)])[0].tokens_in


def test_a_template_of_ones_own_replaces_the_models(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "template.jinja"
    path.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert drawn(sampler(model, chat_template=path), [Request(Prompt("Hi"), 0)])[0].tokens_in == 2


def test_what_is_cut_off_is_marked(model: Path) -> None:
    results = drawn(sampler(model, max_tokens=2), [Request(Prompt("Hi"), seed) for seed in range(4)])
    assert [one.truncated for one in results] == [one.tokens_out == 2 for one in results]


def test_time_is_paid_for_within_the_limit(model: Path) -> None:
    purse = Purse()
    made = sampler(model, purse, price=3600.0)
    unit = [Request(Prompt("Hi"), 0)]
    spent = sum(one.cost for one in drawn(made, unit))
    assert spent == purse.spent > 0
    purse.limit = purse.spent + spent / 2
    try:
        drawn(made, unit)
    except MaxCostError:
        return
    raise AssertionError("a unit over the limit was drawn")
