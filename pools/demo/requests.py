"""The requests of the demo pool: what a model is shown so that it writes more, and which lines will do.

A model's own lines have the long tail of words that people's requests have, which no grammar of ours has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

# Family -> requests of ours. Each family's requests begin alike, with its `OPENINGS`.
EXAMPLES: Mapping[str, Sequence[str]] = {
    "describe": (
        "Describe the smell of a bakery before sunrise.",
        "Describe an umbrella that has crossed three continents.",
        "Describe what a plumber keeps in the van.",
        "Describe the noise of a stadium after a missed penalty.",
        "Describe a harbour in thick fog.",
        "Describe your grandmother's kitchen drawer.",
        "Describe how frost spreads over a greenhouse.",
        "Describe the strangest hat in a carnival.",
    ),
    "explain": (
        "Explain to a child how rivers carve canyons.",
        "Explain why bread rises in a warm oven.",
        "Explain what an auditor does all day.",
        "Explain how a violin gets its sound.",
        "Explain to a tourist why the museum closes on Mondays.",
        "Explain the rules of curling.",
        "Explain why cheap batteries leak.",
        "Explain how penguins find their chicks in a crowd.",
    ),
    "story": (
        "Tell a story about a goat that stole the mayor's hat.",
        "Tell a story about two brothers and a broken tractor.",
        "Tell a story about an honest pirate.",
        "Tell a story about the last ferry of the evening.",
        "Tell a story about a clock that ran backwards.",
        "Tell a story about a dentist who was afraid of mirrors.",
        "Tell a story about potatoes, a flood and a brave postman.",
        "Tell a story about the quietest school in town.",
    ),
    "advise": (
        "Give advice on choosing boots for a muddy festival.",
        "Give advice to a nurse who must speak at a wedding.",
        "Give advice on keeping slugs away from lettuce.",
        "Give advice to a cousin who wants to sell paintings.",
        "Give advice on sleeping in a noisy hostel.",
        "Give advice to a baker whose cakes collapse.",
        "Give advice on packing crystal glasses.",
        "Give advice to a runner with a sore ankle.",
    ),
    "compare": (
        "Compare rowing across a lake with knitting a sweater.",
        "Compare a butcher's knife with a surgeon's scalpel.",
        "Compare living on a farm with living above a pub.",
        "Compare copper with aluminium.",
        "Compare a hurricane with an angry toddler.",
        "Compare chess with boxing.",
        "Compare opera with the songs of whales.",
        "Compare renting a flat with sharing a tent.",
    ),
    "note": (
        "Write a note to a neighbour whose dog dug up the tulips.",
        "Write a note to the caretaker about the leaking radiator.",
        "Write a note to an uncle who sent too much cheese.",
        "Write a note to your landlord about the squirrels in the attic.",
        "Write a note to a pilot after a rough landing.",
        "Write a note to the choir about lost trousers.",
        "Write a note to a sculptor who works in ice.",
        "Write a note to the orchard that sold you sour plums.",
    ),
}
OPENINGS: Mapping[str, str] = {
    "describe": "Describe",
    "explain": "Explain",
    "story": "Tell a story about",
    "advise": "Give advice",
    "compare": "Compare",
    "note": "Write a note to",
}

_HEAD = "Requests that people make of an assistant, each on another topic and in other words:"
_SHOWN = 4
_LETTERS = re.compile(r"[A-Za-z][A-Za-z' ,-]*[.?]")
_WORDS = (4, 16)  # fewest and most words of a request
_UNWANTED = re.compile(
    r"\b(kill|murder|suicid|dead\b|death|die[sd]?\b|dying|rape|sex|porn|nude|drug|gun|shot|shoot|bomb|war\b|"
    r"terror|racis|fat\b|slave|slum|abus|assault|blood|corpse|jew|muslim|nazi|hitler|prison|cancer|wife|"
    r"girlfriend|boyfriend|of the above|the following)",
    re.IGNORECASE,
)


def few_shot(family: str, rng: random.Random) -> str:
    """A numbered list of requests of `family`, drawn by `rng`; a model goes on after its last opening."""
    shown = [*rng.sample(EXAMPLES[family], _SHOWN), OPENINGS[family]]
    return "\n".join([_HEAD, *(f"{number}. {request}" for number, request in enumerate(shown, start=1))])


def tidy(family: str, continuation: str) -> str | None:
    """The request that a model's `continuation` of `few_shot` makes, or None where it will not do.

    It will do as one line of plain words that ends like a sentence, is neither short nor long, and names
    nothing that a demo had better leave alone.
    """
    request = f"{OPENINGS[family]} {continuation.strip()}"
    fits = _LETTERS.fullmatch(request) and _WORDS[0] <= len(request.split()) <= _WORDS[1]
    return request if fits and not _UNWANTED.search(request) else None
