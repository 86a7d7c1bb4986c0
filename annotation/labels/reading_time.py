"""How long reading takes: words of a text, and the times that no reader can have needed."""

from __future__ import annotations

import re

# Silent reading of English takes 238 words a minute in the mean of 190 studies, and hardly anyone exceeds 400
# (Brysbaert 2019, doi:10.1016/j.jml.2019.104047). Above 1,000 nobody reads; a rater may skim, so the bound is
# that and not the mean.
FASTEST, USUAL = 1000.0, 238.0  # words a minute
SLOW_TIMES, SLOW_AT_LEAST = 10.0, 600.0  # times the usual reading time; seconds
# Scripts without spaces: about two characters a word.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f"[{_UNSPACED}]{{1,2}}|[^\\W{_UNSPACED}]+")


def words(text: str) -> int:
    """How many words a reader of the text reads."""
    return sum(1 for _ in _WORD.finditer(text))


def too_fast(count: int, seconds: float) -> bool:
    """Whether so many words cannot have been read in that time."""
    return seconds < 60 * count / FASTEST


def too_slow(count: int, seconds: float) -> bool:
    """Whether most of that time went into something else than reading and judging."""
    return seconds > max(SLOW_AT_LEAST, SLOW_TIMES * 60 * count / USUAL)
