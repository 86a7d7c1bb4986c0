from __future__ import annotations

import pytest
from support.paper import like_paper_curve, trial

from base.errors import InsufficientDataError
from search.fit.curve import DiversityCurve


def heaps(exponent: float) -> DiversityCurve:
    sizes = (100, 300, 1000, 3000, 10_000)
    return DiversityCurve(sizes, tuple(n ** (exponent - 0.5) for n in sizes))


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_heaps_law_is_continued_beyond_what_was_measured(exponent: float) -> None:
    curve = heaps(exponent)
    assert curve.at(80_000) == pytest.approx(80_000 ** (exponent - 0.5))
    assert curve.growth == pytest.approx(exponent - 0.5, abs=1e-9)


def test_below_the_first_size_it_is_extrapolated_too() -> None:
    assert heaps(0.6).at(10) == pytest.approx(10**0.1)


def test_measured_sizes_come_back() -> None:
    curve = like_paper_curve()
    assert [curve.at(n) for n in curve.prompts] == [pytest.approx(d) for d in curve.diversity]
    assert DiversityCurve.from_dict(curve.to_dict()) == curve


def test_a_csv_gives_the_curve_of_its_random_trials() -> None:
    trials = [trial(100, 2, (0.5,), 3.0), trial(100, 3, (0.5,), 5.0), trial(200, 2, (0.5,), 6.0),
              trial(200, 2, (0.5,), 9.0, selection="diverse")]  # fmt: skip
    assert DiversityCurve.from_trials(trials) == DiversityCurve((100, 200), (4.0, 6.0))
    with pytest.raises(InsufficientDataError, match="selection random"):
        DiversityCurve.from_trials(trials[3:])


@pytest.mark.parametrize("sizes", [(), (5, 5), (6, 5), (0, 5)])
def test_sizes_must_increase(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InsufficientDataError):
        DiversityCurve(sizes, tuple(1.0 for _ in sizes))
