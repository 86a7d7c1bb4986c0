"""What a study says in the terminal while it runs: bars where there is a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Rows = Mapping[str, Mapping[str, float]]
PLAIN_EVERY_S = 20.0


class Display:
    """Writes messages at once, and the progress of running trials about once a second."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        if not console.is_terminal:
            console.width = 120  # a log file has no width of its own; tables must not be squeezed into 80
        self.console = console

    def say(self, text: str = "") -> None:
        """One line, as it is."""
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
    def watching(self, read: Callable[[], Rows]) -> Iterator[None]:
        """Show what `read` returns until the block ends; a failing `read` shows nothing and ends nothing."""
        stop = threading.Event()
        show = self._bars if self.console.is_terminal else self._lines
        thread = threading.Thread(target=show, args=(read, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def _bars(self, read: Callable[[], Rows], stop: threading.Event) -> None:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            tasks: dict[str, TaskID] = {}
            while not stop.wait(1.0):
                for label, row in _readable(read).items():
                    if label not in tasks:
                        tasks[label] = progress.add_task(label, note="")
                    progress.update(tasks[label], completed=row["step"], total=row["steps"], note=_note(row))

    def _lines(self, read: Callable[[], Rows], stop: threading.Event) -> None:
        said: dict[str, str] = {}
        while not stop.wait(PLAIN_EVERY_S):
            for label, row in _readable(read).items():
                if said.get(label) != (note := _note(row)):
                    self.say(f"  {label}: {note}")
                    said[label] = note


def _readable(read: Callable[[], Rows]) -> Rows:
    try:
        return read()
    except Exception:  # the study ends when the trials do, not when the board cannot be read
        return {}


def _note(row: Mapping[str, float]) -> str:
    return f"seed {row['seed']:.0f}, step {row['step']:.0f} of {row['steps']:.0f}, loss {row['loss']:.3f}"
