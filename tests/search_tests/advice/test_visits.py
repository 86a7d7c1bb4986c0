"""Training length is named where the advice may be owed to it, of the splits that the advice compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from support.paper import trial

from search.advice.visits import Visits, training_length
from search.config.cost import Split
from search.trials.record import TrialRecord

FEW, SOME, MANY, THREE = Split(24, 8), Split(48, 8), Split(96, 8), Split(96, 3)


def told(
    best: Split,
    behind: Sequence[Split] = (),
    equals: Sequence[Split] = (),
    visits: Visits = 192,
    records: Sequence[TrialRecord] = (),
) -> str:
    return training_length(records, best, behind, equals, visits)


def trained(split: Split, tokens: int, **more: str) -> TrialRecord:
    """A trial of which each of two seeds was trained on so many tokens."""
    one = trial(split.prompts, split.responses, (0.4, 0.41))
    results = tuple(replace(result, trained_tokens=tokens) for result in one.results)
    return replace(one, results=results, **more)  # type: ignore[arg-type]


def test_a_lead_of_the_split_that_was_visited_more_may_be_owed_to_that() -> None:
    assert told(FEW, behind=[MANY]) == (
        "Not the labels alone differ: a prompt of 24 x 8 was visited 8 times, one of 96 x 8 twice, so the "
        "comparison is one of training length too. To tell, train 96 x 8 4 times as long (trainer.matching: "
        "epochs, trainer.epochs: 8)."
    )
    assert "train 96 x 3 4 times as long" in told(FEW, behind=[THREE]), "of other responses too"
    assert "train 96 x 8" in told(FEW, behind=[SOME, MANY]), "where it differs most"
    assert "twice as long" in told(FEW, behind=[SOME])
    assert "96 x 8 once," in told(SOME, behind=[MANY], visits=96)


def test_nothing_is_said_of_a_lead_in_spite_of_fewer_visits() -> None:
    assert told(MANY, behind=[FEW, SOME]) == ""


def test_nothing_is_said_where_visits_are_equal() -> None:
    assert told(FEW, behind=[MANY], visits="even") == ""
    assert told(MANY, behind=[THREE], equals=[THREE]) == ""
    assert told(Split(80, 8), behind=[MANY]) == "", "1.2 times as often"
    assert told(FEW) == ""


def test_equals_that_were_visited_unequally_often_are_equal_at_this_length() -> None:
    assert told(MANY, equals=[FEW]) == (
        "That 24 x 8 is equal to 96 x 8 is known at this training length alone: a prompt of 24 x 8 was "
        "visited 8 times, one of 96 x 8 twice. To tell, train 96 x 8 4 times as long (trainer.matching: "
        "epochs, trainer.epochs: 8)."
    )
    assert told(FEW, equals=[MANY]).startswith("That 96 x 8 is equal to 24 x 8 is known")
    both = told(SOME, behind=[MANY], equals=[FEW])
    assert both.startswith("Not the labels alone differ"), "a lead that is in doubt comes first"


def test_where_visits_are_unknown_trained_tokens_tell_among_trials_of_as_many_responses() -> None:
    records = [trained(FEW, 10_000), trained(MANY, 10_400), trained(THREE, 2_000)]
    said = told(FEW, behind=[MANY], visits=None, records=records)
    assert "24 x 8 was trained on about 3.8 times as many tokens as one of 96 x 8" in said
    assert said.endswith("To tell, train 96 x 8 about 3.8 times as long (trainer.matching: epochs).")
    assert told(FEW, behind=[THREE], visits=None, records=records) == "", "their texts are not comparable"
    assert told(FEW, behind=[SOME], visits=None, records=records) == "", "it was not tried"
    assert told(SOME, behind=[MANY], visits=None, records=records) == "", "neither was the best"
    near = [trained(FEW, 10_000), trained(SOME, 14_400)]
    assert told(FEW, behind=[SOME], visits=None, records=near) == "", "texts of 1.4 times the length"


def test_trials_of_a_group_of_their_own_say_nothing_of_this_studys_training() -> None:
    records = [trained(FEW, 10_000), trained(MANY, 10_000)]
    alone = told(FEW, behind=[MANY], visits=None, records=records)
    elsewhere = [trained(MANY, 320_000, group="theirs"), trained(FEW, 1_000_000, group="theirs")]
    assert "about 4 times" in alone
    assert told(FEW, behind=[MANY], visits=None, records=[*records, *elsewhere]) == alone
    assert told(FEW, behind=[MANY], visits=None, records=elsewhere) == ""


def test_trials_of_one_split_count_together() -> None:
    records = [trained(FEW, 10_000), trained(FEW, 30_000), trained(MANY, 20_000)]
    assert "about 4 times" in told(FEW, behind=[MANY], visits=None, records=records)
