"""Examples that need not fit in memory: an Arrow file, of which only what is asked for is read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from base.errors import PoolError
from pools.types import Compared, Example, Examples, MemoryExamples, Message, Prompt, Rating, Response

_BATCH = 256  # rows of one Arrow batch: all of the file that is in memory at a time

T = TypeVar("T")


class Packed(NamedTuple):
    """One row of the file: `Prompt.key`, how many responses, and both as `pools.stored` writes them."""

    key: str
    size: int
    prompt: str
    responses: str

    @classmethod
    def of(cls, example: Example) -> Packed:
        """The row of an example."""
        prompt, responses = example.prompt, example.responses
        packed = pack_responses(responses, example.compared)
        return cls(prompt.key, len(responses), pack_prompt(prompt), packed)

    def example(self) -> Example:
        """The example of a row."""
        return _example(self.prompt, self.responses)


class StoredExamples(Examples):
    """Examples in the Arrow file `path`, made anew at each access; it is pickled as the path alone.

    Going through them holds one batch in memory at a time. The file is opened where it is read: PoolError
    where this machine does not have it.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.folder, self._count = path, path.parent, count

    @classmethod
    def write(cls, path: Path, rows: Iterable[Packed]) -> StoredExamples:
        """Write the file anew, with one batch of `rows` in memory at a time."""
        import pyarrow

        kinds = (pyarrow.string(), pyarrow.int64(), pyarrow.string(), pyarrow.string())
        schema = pyarrow.schema(list(zip(Packed._fields, kinds, strict=True)))
        count, stream = 0, iter(rows)
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, schema) as out:
            while batch := list(itertools.islice(stream, _BATCH)):
                count += len(batch)
                columns = [pyarrow.array(*each) for each in zip(zip(*batch, strict=True), kinds, strict=True)]
                out.write_batch(pyarrow.record_batch(columns, schema=schema))
        return cls(path, count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        indices = range(self._count)[index]
        return self.take([indices])[0] if isinstance(indices, int) else self.take(indices)

    def __iter__(self) -> Iterator[Example]:
        return self._stream(["prompt", "responses"], _example)

    def keys(self) -> Iterator[str]:
        """See `Examples`."""
        return self._stream(["key"], str)

    def sizes(self) -> Iterator[int]:
        """See `Examples`."""
        return self._stream(["size"], int)

    def texts(self) -> Iterator[str]:
        """See `Examples`."""
        return (prompt.text for prompt in self._stream(["prompt"], unpack_prompt))

    def take(self, rows: Sequence[int]) -> MemoryExamples:
        """See `Examples`; each batch is read once where the indices rise."""
        import pyarrow

        batch: Any = None
        found, held = [], -1
        with _opened(self.path, pyarrow.memory_map) as file:
            for index in rows:
                if held != index // _BATCH:
                    held, batch = index // _BATCH, file.get_batch(index // _BATCH)
                row = index % _BATCH
                found.append(_example(*(batch[name][row].as_py() for name in ("prompt", "responses"))))
        return MemoryExamples(found)

    def _stream(self, columns: Sequence[str], make: Callable[..., T]) -> Iterator[T]:
        import pyarrow

        # Read, not mapped: the system would leave a map's pages in memory for as long as it has room.
        with _opened(self.path, pyarrow.OSFile) as file:
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                yield from map(make, *(batch[name].to_pylist() for name in columns))


def _example(prompt: str, responses: str) -> Example:
    return Example(unpack_prompt(prompt), *unpack_responses(responses))


@contextmanager
def _opened(path: Path, how: Callable[[str], Any]) -> Iterator[Any]:
    import pyarrow

    try:
        source = how(str(path))
    except OSError as error:
        raise PoolError(
            f"the pool's copy {path} cannot be read ({error}): trials read it on the cluster's head, "
            "so start the study there"
        ) from error
    with source, pyarrow.ipc.open_file(source) as file:
        yield file


@contextmanager
def on_disk(
    location: Path, way: str = "give another --output-dir, or raise pool.stream_above to read it into memory"
) -> Iterator[None]:
    """Within the block, PoolError for what prevents writing a pool to `location`, with a `way` out."""
    try:
        yield
    except OSError as error:
        raise PoolError(
            f"the pool is larger than pool.stream_above, and cannot be kept on disk in {location}: {error}; "
            f"{way}"
        ) from error


_encode = json.JSONEncoder(default=str, check_circular=False).encode


def pack_prompt(prompt: Prompt) -> str:
    """The prompt as one line of JSON; what JSON has no form for in its `meta` (a date) becomes a text."""
    content = prompt.content
    turns = content if isinstance(content, str) else [(turn.role, turn.content) for turn in content]
    return _encode([turns, prompt.domain, prompt.meta])


def unpack_prompt(text: str) -> Prompt:
    """The prompt that `pack_prompt` made a text of."""
    content, domain, meta = json.loads(text)
    turns = content if isinstance(content, str) else tuple(Message(*turn) for turn in content)
    return Prompt(turns, domain, meta)


def pack_responses(responses: Iterable[Response], compared: Compared | None = None) -> str:
    """The responses, and what was compared, as one line of JSON; scores come back to the last bit."""
    listed = [(each.text, each.score, each.source, *_further(each)) for each in responses]
    return _encode(listed if compared is None else {"responses": listed, "compared": compared})


def unpack_responses(text: str) -> tuple[tuple[Response, ...], Compared | None]:
    """What `pack_responses` made a text of."""
    listed, compared = json.loads(text), None
    if isinstance(listed, dict):
        listed, compared = listed["responses"], tuple((a, b) for a, b in listed["compared"])
    return tuple(_response(*each) for each in listed), compared


def _further(response: Response) -> tuple[Any, ...]:
    """What few pools have of a response: its ratings, and a judge's score with its error."""
    judged = response.judge_score, response.judge_score_se
    if judged != (None, None):
        return (_plain(response.ratings), *judged)
    return (_plain(response.ratings),) if response.ratings else ()


def _plain(ratings: Iterable[Rating]) -> list[tuple[str, float, tuple[int, ...]]]:
    return [(each.rater, each.worth, each.among) for each in ratings]


def _response(
    text: str, score: float, source: str, ratings: Iterable[tuple[Any, ...]] = (), *judged: float | None
) -> Response:
    own = tuple(Rating(who, worth, tuple(of)) for who, worth, of in ratings)
    return Response(text, score, source, own, *judged)
