"""What a study says in the terminal: a live view while trials run, and plain lines where there is none."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.terminal.live import TRIALS, Rows, Standing, drawn, facts, notes, time_left

LIVE_EVERY_S, PLAIN_EVERY_S = 1.0, 20.0


class _Patient:
    """A stream to which nothing that becomes of the terminal or the log (closed, full, ASCII) is an error."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with contextlib.suppress(OSError):
            self._stream.write(text.encode(encoding, "replace").decode(encoding))

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Display:
    """Writes messages at once, and how far the study is about once a second; it never ends a study."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        console.file = cast("IO[str]", _Patient(console.file))
        if not console.is_terminal:
            console.width = 120  # a log file has no width of its own; tables must not be squeezed into 80
        self.console = console
        self._lock = threading.RLock()  # a message between the live view's erasure and its drawing tears it

    def say(self, text: str = "") -> None:
        """One line, as it is, above the live view where there is one."""
        with self._lock:
            self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Say what is being done, and how long it took once it is done."""
        started = time.monotonic()
        self.say(f"{text} ...")
        yield
        if (seconds := time.monotonic() - started) >= 1:
            self.say(f"  done in {seconds:.0f} s")

    @contextmanager
    def watching(self, standing: Callable[[], Standing], rows: Callable[[], Rows]) -> Iterator[None]:
        """Show where the study and its trials stand until the block ends, and leave the terminal clean.

        Both are called in another thread; what cannot be read is not shown.
        """
        stop = threading.Event()
        live = Live(console=self.console, auto_refresh=False, transient=True)

        def draw(now: Standing, reported: Rows | None) -> None:
            live.update(drawn(now, reported), refresh=True)

        show, every = (draw, LIVE_EVERY_S) if self.console.is_interactive else (self._news(), PLAIN_EVERY_S)

        def watch() -> None:
            while not stop.wait(every):
                now, reported = _read(standing), _read(rows)
                with self._lock:
                    if now and not stop.is_set():
                        show(now, reported)

        thread = threading.Thread(target=watch, daemon=True)
        try:
            if self.console.is_interactive:
                live.start()
            thread.start()
            yield
        finally:
            stop.set()
            with self._lock:
                live.update(Text())  # rich draws once more on stopping, also what is too high to be erased
                live.stop()
            thread.join(timeout=5)

    def _news(self) -> Callable[[Standing, Rows | None], None]:
        """Says of what it is shown the lines that it has not said last time."""
        said: dict[str, str] = {}

        def print_lines(now: Standing, reported: Rows | None) -> None:
            lines = facts(now) | notes(now, reported)
            for name, line in lines.items():
                if said.get(name) != line:
                    self.say(f"  {line}{time_left(now) if name == TRIALS else ''}")
            said.clear()
            said.update(lines)

        return print_lines


T = TypeVar("T")


def _read(source: Callable[[], T]) -> T | None:
    try:
        return source()
    except Exception:  # the study ends when its trials do, not when they cannot be looked at
        return None
