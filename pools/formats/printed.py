"""Lists and objects as Python and numpy print them: what a table holds where nobody wrote JSON."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

# Strings are matched without a way back, which would cost memory for every escape.
_TOKEN = re.compile(
    r"""\s*(?:(?P<literal>'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"|\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+)"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<mark>[-\[\](){},:=.]))""",
    re.DOTALL,
)
_NAMES = {"None": None, "True": True, "False": False, "nan": float("nan"), "inf": float("inf")}
_WRAPPERS = {"array", "np", "numpy", "Decimal"}
_MOST_TOKENS = 20_000  # then comes the end, so that the value is not whole: it is looked at more than once
_END = ("", "")


def from_printed(text: str) -> object:
    """The value that a text spells, with arrays as lists; ValueError or SyntaxError where it spells none.

    Numpy prints no commas between items (`['a' 'b']`, which Python itself would take for one text).
    """
    with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
        printed = _Printed(text)
        value = printed.value()
    if not printed.ended:
        raise ValueError("something follows the value")
    return value


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each token; ValueError at what is none."""
    position, end = 0, len(text.rstrip())
    while position < end:
        if (found := _TOKEN.match(text, position)) is None:
            raise ValueError(f"no value at character {position + 1}")
        yield str(found.lastgroup), found[str(found.lastgroup)]
        position = found.end()


class _Printed:
    """The tokens of a text, one of them read ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = islice(_tokens(text), _MOST_TOKENS)
        self._ahead = next(self._tokens, _END)

    @property
    def ended(self) -> bool:
        return self._ahead == _END

    def value(self) -> Any:
        """The next value, whole."""
        kind, text = self._take()
        if kind == "literal":
            return ast.literal_eval(text)
        if text == "-":
            return -float(self.value())
        if text in ("[", "("):
            return self._items("]" if text == "[" else ")")
        if text == "{":
            return self._object()
        if text in _NAMES:
            return _NAMES[text]
        if text in _WRAPPERS:
            return self._wrapped()
        raise ValueError(f"{text!r} is no value")

    def _items(self, end: str) -> list[Any]:
        found = []
        while self._ahead[1] != end:
            found.append(self.value())
            self._skip(",")
        self._take()
        return found

    def _object(self) -> dict[str, Any]:
        found = {}
        while self._ahead[1] != "}":
            key = self.value()
            if not (isinstance(key, str) and self._skip(":")):
                raise ValueError("a name and a colon were expected")
            found[key] = self.value()
            self._skip(",")
        self._take()
        return found

    def _wrapped(self) -> Any:
        """What `array(...)` or `np.float64(...)` holds, whatever it says of its type."""
        while not self._skip("("):
            kind, text = self._take()
            if kind != "name" and text != ".":
                raise ValueError("a bracket was expected")
        held = self.value()
        while self._take()[1] != ")":
            if self.ended:
                raise ValueError("a bracket is open")
        return held

    def _skip(self, text: str) -> bool:
        if self._ahead[1] != text:
            return False
        self._take()
        return True

    def _take(self) -> tuple[str, str]:
        taken, self._ahead = self._ahead, next(self._tokens, _END)
        return taken
