"""Whatever a library raises while it loads something becomes one readable line."""

from __future__ import annotations

import pytest

from base.errors import RewardError, TrainingError, loading


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (OSError("no such file\nlong advice"), "no such file"),
        (KeyError("x"), "'x'"),
        (ImportError(), "ImportError"),
    ],
)
def test_the_first_line_of_the_reason_is_quoted(raised: Exception, reason: str) -> None:
    message = f'^cannot load the model "m": {reason}$'
    with pytest.raises(RewardError, match=message) as caught, loading('the model "m"', RewardError):
        raise raised
    assert caught.value.__cause__ is raised


def test_an_error_that_is_readable_already_passes() -> None:
    with pytest.raises(TrainingError, match="^no end-of-text token$"), loading("a tokenizer", RewardError):
        raise TrainingError("no end-of-text token")
