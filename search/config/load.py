"""Reading a configuration: YAML with overrides, checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from base.errors import ConfigError, did_you_mean
from base.settings import Settings, fields_of
from search.config.hyperparameters import Range
from search.config.study import StudyConfig

S = TypeVar("S", bound=Settings)


def find_config(name: str) -> Path:
    """The file called `name`: as given, or among the configurations that are installed with the project.

    A script that `ray submit` copied elsewhere thus still finds `configs/demo.yaml`.
    """
    if Path(name).is_file():
        return Path(name)
    import configs

    folder = Path(str(configs.__file__)).parent
    shipped = folder / f"{Path(name).name.removesuffix('.yaml')}.yaml"
    if Path(name).parent.name in ("", "configs") and shipped.is_file():
        return shipped
    choices = sorted(path.name for path in folder.glob("*.yaml"))
    raise ConfigError(f'no configuration "{name}"; a path, or one of {", ".join(choices)}')


def load_config(source: str, overrides: Mapping[str, str] | None = None) -> StudyConfig:
    """Read the YAML at `source`, apply overrides (`section.field` to a text in YAML), and check it whole.

    Raises ConfigError naming each wrong field, its value and what is accepted.
    """
    path = find_config(source)
    return checked(StudyConfig, read_tree(path), overrides or {}, str(path))


def read_tree(path: Path) -> dict[str, Any]:
    """The fields in a YAML file; ConfigError where it holds none."""
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}; a mapping of fields was expected")
    return tree


def checked(model: type[S], tree: dict[str, Any], overrides: Mapping[str, str], where: str) -> S:
    """The settings of `tree` and the overrides; ConfigError, beginning with `where`, for wrong fields."""
    for name, text in overrides.items():
        _assign(tree, name, _parse(model, name, text))
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(_explain(model, one) for one in error.errors())
        raise ConfigError(f"{where}: {problems}") from error


def _parse(model: type[Settings], name: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{name} {text}: not a valid value ({error})") from error
    wanted = dict(fields_of(model))[name].annotation
    # A shell user writes 2,3,4 where YAML wants [2, 3, 4].
    if str(wanted).startswith("tuple"):
        return value if isinstance(value, list) else [yaml.safe_load(part) for part in text.split(",")]
    if any(value == choice and type(value) is type(choice) for choice in get_args(wanted)):
        return value
    # YAML takes a name like `no` or `1e3` for something else: what it is, the field's own type says.
    return text if isinstance(value, bool | int | float) else value


def _assign(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, leaf = name.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if isinstance(tree, list):
            raise ConfigError(
                f"--{name}: {section} is a list in the file, so that it is not clear which entry is meant: "
                "change it there"
            )
    tree[leaf] = value


def _explain(model: type[Settings], error: Any) -> str:
    """One pydantic error as `field = value: what is wrong, and what would be right`."""
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    if error["type"] == "extra_forbidden":
        return f'unknown field "{name}"{did_you_mean(location[-1], _siblings(model, location[:-1]))}'
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = f"{name} = {error['input']!r}: " if name and not isinstance(error["input"], dict) else ""
    return f"{shown}{message}"


def _siblings(model: Any, sections: Sequence[str]) -> list[str]:
    for section in (each for each in sections if not each.isdigit()):  # indices of a list
        kinds = (model.model_fields[section].annotation, *get_args(model.model_fields[section].annotation))
        found = [kind for kind in kinds if hasattr(kind, "model_fields")]
        if not found:
            return list(Range.model_fields)  # an entry of search.space
        model = found[0]
    return list(model.model_fields)
