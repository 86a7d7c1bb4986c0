"""A seeded grammar of writing tasks, each with one to three constraints that a program can check."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from base.errors import PoolError
from pools.types import Prompt

Constraint = dict[str, Any]

# A subject, and words that an answer about it could well contain.
TOPICS: dict[str, tuple[str, ...]] = {
    "baking bread": ("flour", "oven", "yeast"),
    "a night train": ("window", "station", "sleep"),
    "keeping bees": ("honey", "hive", "smoke"),
    "the first snow": ("silence", "gloves", "morning"),
    "repairing a bicycle": ("chain", "wheel", "patience"),
    "a lighthouse": ("storm", "lamp", "sailor"),
    "learning the violin": ("practice", "strings", "neighbour"),
    "city pigeons": ("crumbs", "roof", "square"),
    "growing tomatoes": ("water", "sunlight", "soil"),
    "an old library": ("dust", "shelf", "whisper"),
    "crossing a desert": ("sand", "shade", "camel"),
    "a broken clock": ("spring", "hour", "tick"),
    "moving to a new town": ("boxes", "street", "friend"),
    "volcanoes": ("lava", "ash", "mountain"),
    "a job interview": ("question", "handshake", "confidence"),
    "recycling glass": ("bottle", "furnace", "waste"),
    "the night sky": ("stars", "telescope", "dark"),
    "a family dinner": ("table", "soup", "laughter"),
    "robots in hospitals": ("nurse", "medicine", "machine"),
    "learning to swim": ("breath", "pool", "courage"),
    "saving money": ("budget", "coin", "habit"),
    "a rainy holiday": ("umbrella", "tent", "puddle"),
    "wind power": ("blade", "coast", "electricity"),
    "street musicians": ("guitar", "hat", "crowd"),
    "adopting a dog": ("leash", "walk", "trust"),
    "deep sea fish": ("pressure", "light", "teeth"),
    "a school garden": ("seeds", "children", "harvest"),
    "writing a diary": ("secret", "page", "memory"),
    "earthquakes": ("ground", "building", "tremor"),
    "a chess tournament": ("queen", "clock", "silence"),
    "making cheese": ("milk", "salt", "cellar"),
    "public transport": ("ticket", "bus", "traffic"),
    "running a marathon": ("shoes", "finish", "water"),
    "forgotten passwords": ("computer", "email", "reset"),
    "the invention of paper": ("ink", "fibre", "scroll"),
    "a haunted house": ("stairs", "candle", "shadow"),
    "planting trees": ("roots", "shovel", "forest"),
    "working from home": ("desk", "quiet", "meeting"),
    "mountain rescue": ("rope", "helicopter", "snow"),
    "coffee": ("cup", "beans", "morning"),
    "learning a language": ("grammar", "accent", "mistake"),
    "migrating birds": ("south", "wings", "season"),
    "a village market": ("apples", "bargain", "basket"),
    "space stations": ("orbit", "oxygen", "gravity"),
    "sourdough pancakes": ("butter", "pan", "batter"),
    "a power cut": ("candle", "fridge", "battery"),
    "good posture": ("spine", "chair", "stretch"),
    "the history of tea": ("leaf", "trade", "kettle"),
    "noisy neighbours": ("wall", "music", "door"),
    "glaciers": ("ice", "valley", "melting"),
    "photography": ("lens", "light", "frame"),
    "a lost wallet": ("police", "pocket", "honest"),
    "vaccines": ("doctor", "immune", "virus"),
    "a paper boat": ("river", "fold", "float"),
    "choosing a mattress": ("back", "sleep", "price"),
    "desert island survival": ("coconut", "fire", "raft"),
    "traffic lights": ("red", "corner", "driver"),
    "a wedding speech": ("glass", "love", "joke"),
    "hibernating bears": ("winter", "cave", "fat"),
    "online shopping": ("parcel", "click", "refund"),
    "medieval castles": ("moat", "tower", "siege"),
    "teaching fractions": ("pizza", "half", "number"),
    "a talking parrot": ("cage", "feathers", "words"),
    "cleaning a kitchen": ("sponge", "sink", "floor"),
    "honest advertising": ("promise", "customer", "truth"),
    "the smell of rain": ("earth", "summer", "stone"),
    "a football final": ("goal", "referee", "crowd"),
    "electric cars": ("battery", "charger", "road"),
    "quiet meditation": ("breath", "cushion", "thought"),
    "a travelling circus": ("tent", "acrobat", "elephant"),
    "fixing a leaking tap": ("washer", "wrench", "drip"),
    "whales": ("song", "ocean", "calf"),
    "grandparents": ("stories", "garden", "photo"),
    "the moon landing": ("rocket", "footprint", "dust"),
    "urban foxes": ("bin", "night", "tail"),
    "pottery": ("clay", "kiln", "wheel"),
}

AUDIENCES = (
    "a curious child", "a busy parent", "a retired teacher", "a nervous beginner", "a class of ten-year-olds",
    "a tired traveller", "your best friend", "a visitor from abroad", "a sceptical colleague",
    "a group of students", "an impatient customer", "a young farmer", "the readers of a local newspaper",
    "someone who has never heard of it",
)  # fmt: skip

# Task family -> ways to ask for it. {t} is a topic, {u} another one, {a} an audience.
FRAMES: dict[str, tuple[str, ...]] = {
    "explain": ("Explain {t} to {a}.", "How would you explain {t} to {a}?",
                "What should {a} know about {t}?"),
    "describe": ("Describe {t} so that {a} can picture it.", "Paint a picture of {t} in words.",
                 "What does {t} bring to mind? Describe it for {a}."),
    "advise": ("Give {a} advice about {t}.", "Share your best tip on {t} with {a}.",
               "What would you recommend to {a} who asks about {t}?"),
    "story": ("Tell {a} a very short story about {t}.", "Write a tiny tale in which {t} changes everything.",
              "Make up a story that begins with {t} and ends with {u}."),
    "headline": ("Write a newspaper item about {t}.", "Report a surprising piece of news about {t} for {a}.",
                 "Announce the discovery of something new about {t}."),
    "slogan": ("Invent a slogan for a museum of {t}.", "Advertise a weekend course on {t} to {a}.",
               "Sell {a} a magazine that is all about {t}."),
    "letter": ("Write a note to {a} in which you mention {t}.", "Write a postcard about {t} to {a}.",
               "Draft an email that invites {a} to an evening on {t}."),
    "persuade": ("Convince {a} that {t} matters.", "Argue that {t} is more important than {u}.",
                 "Persuade {a} to spend a day on {t}."),
    "compare": ("Compare {t} with {u}.", "What do {t} and {u} have in common?",
                "Say how {t} differs from {u}, for {a}."),
    "question": ("What would you ask an expert on {t}?", "Write a quiz question about {t} for {a}.",
                 "Which question about {t} still has no good answer?"),
    "steps": ("What comes first and what comes last in {t}? Tell {a}.",
              "Plan an afternoon about {t} for {a}.",
              "Outline a lesson on {t} for {a}."),
    "review": ("Review a film about {t}.", "Write an opinion on a new book called The Truth about {t}.",
               "Rate an exhibition on {t} for {a}."),
    "diary": ("Write a diary entry about {t}.", "Note down what you felt when you first met with {t}.",
              "Remember a day that was all about {t}."),
    "poem": ("Write a poem about {t}.", "Write a few lines of verse on {t} for {a}.",
             "Turn {t} and {u} into a small poem."),
    "define": ("Define {t} for a dictionary.", "What is meant by {t}? Answer for {a}.",
               "Say in your own words what {t} is."),
    "warn": ("Warn {a} of the dangers of {t}.", "What can go wrong with {t}? Tell {a}.",
             "Name the greatest mistake that people make with {t}."),
    "speech": ("Open a speech on {t} before {a}.", "Give a toast to {t}.",
               "Thank {a} for their help with {t}."),
    "imagine": ("Imagine a world without {t}.", "What will {t} look like in a hundred years?",
                "Suppose {t} could talk. What would it say to {a}?"),
}  # fmt: skip

OPENINGS = (
    "Today", "Perhaps", "Imagine", "Yesterday", "Never", "Listen", "Remember", "Sometimes", "Because", "Once",
    "Everyone", "Honestly", "Slowly", "Nobody", "Tomorrow", "Finally",
)  # fmt: skip

COUNT_NAMES = {1: "one", 2: "two", 3: "three", 4: "four"}

Maker = Callable[[random.Random, str], tuple[Constraint, str]]


def _counted(kind: str, counts: tuple[int, ...], wordings: tuple[str, ...]) -> Maker:
    def make(rng: random.Random, _: str) -> tuple[Constraint, str]:
        count = rng.choice(counts)
        name = COUNT_NAMES.get(count, str(count))
        text = rng.choice(wordings).format(n=name, s="" if count == 1 else "s")
        return {"kind": kind, "count": count}, text

    return make


def _plain(kind: str, wordings: tuple[str, ...], **fields: str) -> Maker:
    def make(rng: random.Random, _: str) -> tuple[Constraint, str]:
        return {"kind": kind, **fields}, rng.choice(wordings)

    return make


def _include(rng: random.Random, topic: str) -> tuple[Constraint, str]:
    word = rng.choice(TOPICS[topic])
    wording = rng.choice(('Use the word "{w}".', 'The word "{w}" must appear.', 'Mention "{w}".'))
    return {"kind": "include", "word": word}, wording.format(w=word)


def _opening(rng: random.Random, _: str) -> tuple[Constraint, str]:
    word = rng.choice(OPENINGS)
    wording = rng.choice(
        ('Begin with the word "{w}".', 'Start your answer with "{w}".', 'Let "{w}" be the first word.')
    )
    return {"kind": "opening", "word": word}, wording.format(w=word)


# Group -> its constraints. A prompt takes at most one of each group, so that no two contradict each other.
GROUPS: dict[str, tuple[Maker, ...]] = {
    "length": (
        _counted("sentences", (1, 2, 3), ("Use exactly {n} sentence{s}.",
                 "Answer in exactly {n} sentence{s}.",
                 "Your answer must have {n} sentence{s}, no more and no fewer.")),
        _counted("max_sentences", (1, 2), ("Write at most {n} sentence{s}.",
                 "No more than {n} sentence{s}, please.")),
        _counted("max_words", (8, 10, 12, 15, 20, 25), ("Use at most {n} words.",
                 "Do not use more than {n} words.", "Keep it to {n} words or fewer.")),
        _counted("bullets", (2, 3, 4), ("Answer with {n} bullet points.", "Give exactly {n} bullet points.")),
    ),
    "word": (_include,),
    "opening": (_opening,),
    "ending": (
        _plain("ending", ("End with a question mark.", "Finish on a question."), mark="?"),
        _plain("ending", ("End with an exclamation mark.", "Close with an exclamation mark."), mark="!"),
    ),
    "case": (
        _plain("lower", ("Use lowercase letters only.", "Write everything in lowercase.")),
        _plain("upper", ("Use capital letters only.", "WRITE EVERYTHING IN CAPITALS.")),
    ),
    "comma": (_plain("without", ("Do not use any commas.", "Write without commas."), mark=","),),
}  # fmt: skip
_GROUP_WEIGHTS = {"length": 7, "word": 3, "opening": 3, "ending": 1, "case": 1, "comma": 1}


def make_prompts(*, train: int, held_out: int, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """`train` and `held_out` prompts, no two alike, drawn from one stream seeded by `seed`.

    Each has its task family as `domain` and its constraints in `meta["constraints"]`; the families
    follow each other in turn, so that every part holds about as many of each. More held-out prompts
    never change the train prompts. Raises `PoolError` when the grammar cannot yield that many.
    """
    stream = _distinct(random.Random(seed), limit=20 * (train + held_out) + 100)
    prompts = [prompt for prompt, _ in zip(stream, range(train + held_out), strict=False)]
    if len(prompts) < train + held_out:
        raise PoolError(
            f"the demo grammar gave {len(prompts)} distinct prompts of {train + held_out} asked for"
        )
    return prompts[:train], prompts[train:]


def _distinct(rng: random.Random, *, limit: int) -> Iterator[Prompt]:
    seen: set[str] = set()
    for index in range(limit):
        prompt = _prompt(rng, tuple(FRAMES)[index % len(FRAMES)])
        if prompt.key not in seen:
            seen.add(prompt.key)
            yield prompt


def _prompt(rng: random.Random, frame: str) -> Prompt:
    topic, other = rng.sample(tuple(TOPICS), 2)
    task = rng.choice(FRAMES[frame]).format(t=topic, u=other, a=rng.choice(AUDIENCES))
    chosen = [rng.choice(GROUPS[group])(rng, topic) for group in _groups(rng)]
    content = " ".join([task, *(text for _, text in chosen)])
    return Prompt(content, domain=frame, meta={"constraints": [constraint for constraint, _ in chosen]})


def _groups(rng: random.Random) -> list[str]:
    """One to three groups without repetition, likelier ones more often, in random order."""
    left = dict(_GROUP_WEIGHTS)
    groups = []
    for _ in range(rng.choice((1, 2, 2, 3))):
        (group,) = rng.choices(tuple(left), weights=tuple(left.values()))
        groups.append(group)
        del left[group]
    return groups
