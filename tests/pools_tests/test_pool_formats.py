"""Each published shape, on rows of our own written in it."""

import json
from pathlib import Path

import pytest

from pools.config import PoolConfig
from pools.formats.reader import format_of
from pools.sources import load_pool
from pools.types import Example, Message, Pool

FIXTURES = Path(__file__).parent / "fixtures"


def load(name: str, **settings: object) -> Pool:
    config = PoolConfig(path=str(FIXTURES / f"{name}.jsonl"), on_bad_row="refuse", **settings)
    return load_pool(config, seed=0)[0]


def scores(example: Example) -> dict[str, float]:
    return {response.text: response.score for response in example.responses}


def user(*contents: str) -> tuple[Message, ...]:
    """A dialogue in which user and assistant take turns."""
    return tuple(Message(("user", "assistant")[i % 2], content) for i, content in enumerate(contents))


def test_own_schema():
    pool = load("pool")
    assert pool.name == "garden"
    assert pool.description == "Model-made questions about a garden."
    herbs, peas, slugs = pool.train
    assert herbs.prompt.domain == "garden"
    assert herbs.prompt.meta == {"min_words": 2}
    assert [r.source for r in herbs.responses] == ["a", "b", ""]
    assert peas.prompt.content == (Message("system", "Be brief."), Message("user", "When do I sow peas?"))
    assert [(r.score, r.source) for r in peas.responses] == [(1.0, "a"), (-2.5, "b")]
    assert slugs.prompt.text == "What eats slugs?"
    assert [e.prompt.text for e in pool.held_out] == ["Do worms help soil?", "Is moss a weed?"]
    assert [len(e.responses) for e in pool.held_out] == [0, 1]


def test_hh_rlhf_takes_all_turns_up_to_the_last_answer_as_prompt():
    bread, colour, _ = load("hh_rlhf").train
    assert bread.prompt.content == user(
        "Which bread keeps longest?", "Do you have a freezer?", "Yes, a small one."
    )
    assert scores(bread) == {
        "Then freeze sliced rye.": 1.0,
        "Any bread at all.\n\nIt does not matter.": 0.0,
    }
    assert colour.prompt.content == user("Say a colour.")


def test_pairs_of_one_prompt_are_merged_and_say_no_more_than_what_was_compared():
    _, colour, other = load("hh_rlhf").train
    found = scores(colour)
    assert found["Plum"] > found["Teal"] > found["Seven"]
    assert colour.compared == ((0, 1), (2, 0))  # Teal beat Seven, Plum beat Teal; Plum never met Seven
    assert scores(other) == {"Ochre": 1.0, "Teal": 0.0}  # differs in case and spacing: another prompt
    assert other.compared is None


def test_ultrafeedback_scores_by_ratings_not_by_the_overall_score():
    (tides,) = load("ultrafeedback").train
    assert tides.prompt.text == "Explain tides to a child."
    assert tides.prompt.domain == "evol_instruct"
    assert [r.source for r in tides.responses] == ["m-one", "m-two", "m-three", "m-four"]
    assert [r.score for r in tides.responses] == [4.5, 1.25, 3.0, 3.25]


def test_nectar_scores_fall_evenly_with_the_rank():
    (prime,) = load("nectar").train
    assert prime.prompt.content == user("Name a prime above ten.", "Eleven.", "Another one?")
    assert [r.score for r in prime.responses] == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])
    assert prime.responses[0].source == "gpt-4"
    assert prime.prompt.domain == "lmsys-chat-1m+own"


def test_shp_merges_the_rows_of_a_post():
    loaf, ice = load("shp").train
    assert scores(loaf) == {"Too much yeast.": 40.0, "Bad luck.": 12.0, "You opened the oven.": 55.0}
    assert loaf.prompt.domain == "askbaking"
    assert scores(ice) == {"No.": 3.0, "Yes, when it is natural.": 9.0}
    assert ice.prompt.domain == "askphysics"


def test_prefix_suffix_reward():
    rice, owls, keys = load("prefix").train
    assert rice.prompt.content == user("How do I boil rice?", "Which kind?", "Basmati.")
    assert scores(rice) == {"Rinse it, then ten minutes.": 2.5, "Use water.": 0.25, "No idea.": -1.0}
    assert [rice.prompt.domain, owls.prompt.domain, keys.prompt.domain] == [
        "harmless-base",
        "helpful-base",
        "",
    ]
    assert owls.prompt.content == user("One fact about owls?")
    assert keys.prompt.content == "TITLE: lost keys\nPOST: I lost my keys.\nTL;DR:"


def test_preference_rows_with_a_prompt():
    sky, sums, swifts = load("preference").train
    assert sky.prompt.content == "The sky at noon is"
    assert scores(sky) == {" blue.": 1.0, " made of tin.": 0.0}
    assert sums.prompt.content == user("What is two and two?")
    assert scores(sums) == {"Four.": 1.0, "Five.": 0.0}
    assert swifts.prompt.content == user("Where do swifts sleep?")
    assert scores(swifts) == {"On the wing.": 1.0, "In beds.": 0.0}


def test_preference_rows_without_a_prompt():
    grass, peru = load("preference_implicit").train
    assert grass.prompt.content == "The grass is"
    assert scores(grass) == {" green.": 1.0, " grey.": 0.0}
    assert peru.prompt.content == (Message("system", "Be brief."), Message("user", "Capital of Peru?"))
    assert scores(peru) == {"Lima.": 1.0, "Peru.": 0.0}


@pytest.mark.parametrize(
    ("name", "format"),
    [(path.stem, path.stem.removesuffix("_implicit")) for path in sorted(FIXTURES.glob("*.jsonl"))],
)
def test_auto_tells_every_format(name: str, format: str):
    config = PoolConfig(path=str(FIXTURES / f"{name}.jsonl"))
    report = load_pool(config, seed=0)[1]
    assert (report.format, report.detected) == (format, True)
    assert f"format {format} (detected from the first rows)" in report.lines()[0]
    first_rows = (FIXTURES / f"{name}.jsonl").read_text().splitlines()[1 if name == "pool" else 0 :]
    told = {format_of(json.loads(row)) for row in first_rows}
    assert told - {"prompts"} == {format}  # a held-out row need not have responses


def test_a_format_that_is_asked_for_is_not_told():
    report = load_pool(PoolConfig(path=str(FIXTURES / "hh_rlhf.jsonl"), format="hh_rlhf"), seed=0)[1]
    assert not report.detected
    assert "format hh_rlhf (as asked)" in report.lines()[0]
