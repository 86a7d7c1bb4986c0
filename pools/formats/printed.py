"""Lists and objects as Python and numpy print them: what a table holds where nobody wrote JSON."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from itertools import islice
from typing import Any

_NAMES = {"None": None, "True": True, "False": False, "nan": float("nan"), "inf": float("inf")}
_WRAPPERS = {"array", "np", "numpy", "Decimal"}
_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_MOST_TOKENS = 200_000  # a second's work; after them comes the end, so that the value is not whole
_END = (tokenize.ENDMARKER, "")


def from_printed(text: str) -> object:
    """The value that a text spells, with arrays as lists; ValueError or SyntaxError where it spells none.

    Numpy prints no commas between items (`['a' 'b']`, which Python itself would take for one text).
    """
    with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
        try:
            printed = _Printed(text)
            value = printed.value()
        except tokenize.TokenError as error:
            raise ValueError(str(error)) from None
    if not printed.ended:
        raise ValueError("something follows the value")
    return value


class _Printed:
    """The tokens of a text, one of them read ahead."""

    def __init__(self, text: str) -> None:
        found = islice(tokenize.generate_tokens(io.StringIO(text).readline), _MOST_TOKENS)
        self._tokens = ((each.type, each.string) for each in found if each.type not in _LAYOUT)
        self._ahead = next(self._tokens, _END)

    @property
    def ended(self) -> bool:
        return self._ahead[0] == tokenize.ENDMARKER

    def value(self) -> Any:
        """The next value, whole."""
        kind, text = self._take()
        if kind in (tokenize.STRING, tokenize.NUMBER):
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
            if self._take()[0] not in (tokenize.OP, tokenize.NAME):
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

    def _take(self) -> tuple[int, str]:
        taken, self._ahead = self._ahead, next(self._tokens, _END)
        return taken
