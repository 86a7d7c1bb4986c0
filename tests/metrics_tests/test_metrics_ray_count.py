"""Counting on Ray: two workers, several sources, the exact number."""

import random
from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from metrics.diversity import diversity
from metrics.ray_count import count_on_ray
from metrics.tokens import tokenize


@pytest.mark.ray
@pytest.mark.slow
def test_ray_counts_what_one_process_counts() -> None:
    ray = pytest.importorskip("ray")
    words = [f"w{i}" for i in range(60)]

    def load_tokenizer() -> Tokenizer:  # local functions travel to the workers by value
        made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        return made

    def read(source: str) -> Iterator[str]:
        rng = random.Random(source)
        return (" ".join(rng.choices(words, k=rng.randrange(0, 9))) for _ in range(150))

    sources = ["a", "b", "c"]
    expected = tokenize((text for source in sources for text in read(source)), load_tokenizer())
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        measured = count_on_ray(sources, read, load_tokenizer, parts=3)
    finally:
        ray.shutdown()
    assert measured.diversity() == diversity(expected)
    assert (measured.prompts, measured.tokens) == (450, len(expected.ids))
