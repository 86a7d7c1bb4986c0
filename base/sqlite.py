"""Addresses of SQLite files: SQLAlchemy, which Optuna and MLflow open them with, decodes what stands there."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

SCHEME = "sqlite:///"


def sqlite_uri(path: Path | str) -> str:
    """The address of a file, whose name may hold `%` and `?`."""
    return f"{SCHEME}{path}".replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path | None:
    """The file at an address; None where that is no SQLite file."""
    if not uri.startswith(SCHEME):
        return None
    return Path(unquote(uri.removeprefix(SCHEME).partition("?")[0]))
