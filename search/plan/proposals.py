"""Optuna's study: what it proposes, and its history in a database; the one file that touches Optuna."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from base.sqlite import sqlite_uri
from search.config.hyperparameters import Choices, Domain, Scalar
from search.plan.space import Space
from search.trials.design_point import DesignPoint, Trial, digest

# How long another writer may hold a sqlite file before this one gives up (s).
LOCKED_S = 20
T = TypeVar("T")


class Proposals:
    """Every trial of the study, told to Optuna, and the points that Optuna would try next.

    The database is a projection of the folder's trials, made anew where it differs from them. One that fails
    later is left alone: the history goes on in memory, until `mend` or the next run brings them in line.
    """

    def __init__(
        self, space: Space, *, identity: str, url: str, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self.space, self._url, self._warn = space, url, warn
        # A changed space is another Optuna study: a parameter keeps its values for ever.
        shape: dict[str, Any] = {name: str(domain) for name, domain in space.hyperparameters.items()} | {
            "budget_fractions": space.fractions
        }
        if space.config.search.tune == "per_split":
            shape["tune"] = "per_split"
        if len(space.labellings) > 1:
            shape["labelled"] = {f"{k}{how}": space.fractions_of(k, how) for k, how in space.labelled}
        self._name = f"{space.config.name} {digest({'study': identity, 'space': shape})}"
        self._numbers: dict[str, int] = {}
        self._log: dict[str, tuple[Trial, float | None]] = {}
        self._asked: tuple[DesignPoint, Any] | None = None
        self._failed = False
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = self._open(_storage(url))
        except (StorageInternalError, SQLAlchemyError) as error:
            self._to_memory(error)

    @property
    def trials(self) -> list[Any]:
        """Optuna's own view of its trials."""
        return list(self._study.trials)

    def restore(self, finished: Mapping[str, tuple[Trial, float]]) -> None:
        """Make the history anew, from the finished trials by key, where the database holds another."""
        self._log = dict(finished)
        self._do(self._restore)

    def holds(self, point: DesignPoint) -> bool:
        """Whether the point can be proposed: one that was tried before the space was changed may not."""
        return self._coordinates(point) is not None

    def propose(self, fixed: Mapping[str, Scalar]) -> DesignPoint:
        """The point that Optuna would try next, with some of its coordinates `fixed` by name."""
        return self._do(lambda: self._propose(fixed))

    def start(self, key: str, trial: Trial) -> None:
        """A trial begins, proposed or not."""
        self._log[key] = (trial, None)
        self._do(lambda: self._start(key, trial))

    def finish(self, key: str, reward: float | None) -> None:
        """A trial has ended, with its reward or, where it failed, with None."""
        trial, _ = self._log.pop(key)
        if reward is not None:
            self._log[key] = (trial, reward)
        self._do(lambda: self._finish(key, reward))

    def mend(self) -> None:
        """Bring the database, if it has failed, in line with the history; leave it if it fails again."""
        if self._failed:
            with suppress(StorageInternalError, SQLAlchemyError):
                self._study = self._open(_storage(self._url))
                self._restore()
                self._failed = False

    def _restore(self) -> None:
        held = [
            (trial.user_attrs.get("trial"), trial.value if trial.state == TrialState.COMPLETE else None)
            for trial in self._study.get_trials(deepcopy=False)
        ]
        if Counter(held) != Counter(
            (key, reward) for key, (trial, reward) in self._log.items() if self.holds(trial.point)
        ):
            optuna.delete_study(study_name=self._name, storage=self._storage)
            self._study = self._open(self._storage)
            self._fill()
        # Drawn anew for each length of the history, so that a resumed study does not repeat its proposals.
        self._study.sampler = _sampler(self.space, len(self._log))

    def _fill(self) -> None:
        for key, (trial, reward) in self._log.items():
            self._add(key, trial, reward)

    def _propose(self, fixed: Mapping[str, Scalar]) -> DesignPoint:
        self._drop_asked()
        self._study.enqueue_trial(dict(fixed))
        trial = self._study.ask()
        point = self.space.walk(lambda name, domain: _suggest(trial, name, domain))
        self._asked = (point, trial)
        return point

    def _start(self, key: str, trial: Trial) -> None:
        if self._asked is not None and self._asked[0] == trial.point:
            asked = self._asked[1]
            asked.set_user_attr("trial", key)
            asked.set_user_attr("plan", trial.to_dict())
            self._numbers[key], self._asked = asked.number, None
        else:
            self._drop_asked()
            self._add(key, trial, None)

    def _finish(self, key: str, reward: float | None) -> None:
        if (number := self._numbers.pop(key, None)) is not None:
            state = TrialState.FAIL if reward is None else TrialState.COMPLETE
            self._study.tell(number, reward, state=state)

    def _drop_asked(self) -> None:
        """A proposal that was not taken up has failed, for it must not stay running."""
        if self._asked is not None:
            self._study.tell(self._asked[1], state=TrialState.FAIL)
            self._asked = None

    def _add(self, key: str, trial: Trial, reward: float | None) -> None:
        """Put a trial into the history that Optuna has not proposed: finished, or else running."""
        coordinates = self._coordinates(trial.point)
        if coordinates is None:
            return  # tried before the space was changed: Optuna's space does not hold it
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING if reward is None else TrialState.COMPLETE,
                value=reward,
                params={name: value for name, (value, _) in coordinates.items()},
                distributions={name: distribution for name, (_, distribution) in coordinates.items()},
                user_attrs={"trial": key, "plan": trial.to_dict()},
            )
        )
        if reward is None:
            self._numbers[key] = self._study.get_trials(deepcopy=False)[-1].number

    def _coordinates(self, point: DesignPoint) -> dict[str, tuple[Any, BaseDistribution]] | None:
        """The point's value and Optuna's distribution by name; None where the space does not hold it."""
        values: dict[str, Any] = self.space.fixed_hyperparameters(point.hyperparameters)
        values |= {"responses": point.responses, "selection": point.selection, "strength": point.strength}
        values |= vars(point.labelling)
        found: dict[str, tuple[Any, BaseDistribution]] = {}

        def follow(name: str, domain: Domain) -> Any:
            value = values.get(name, point.budget_fraction)
            if not domain.holds(value):
                raise LookupError(name)
            found[name] = (value, _distribution(domain))
            return value

        try:
            return found if self.space.walk(follow) == point else None
        except LookupError:
            return None

    def _open(self, storage: BaseStorage) -> Any:
        self._storage = storage
        return optuna.create_study(
            storage=storage,
            study_name=self._name,
            direction="maximize",
            sampler=_sampler(self.space, 0),
            load_if_exists=True,
        )

    def _do(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (StorageInternalError, SQLAlchemyError) as error:
            self._to_memory(error)
            return action()

    def _to_memory(self, error: Exception) -> None:
        self._warn(
            f"Optuna's database {self._url.rpartition('@')[2]} failed ({_cause(error)}): its "
            "history goes on in memory and is mended in the database at the end of this run, or by the next"
        )
        self._failed = True
        self._study, self._asked, self._numbers = self._open(InMemoryStorage()), None, {}
        self._fill()


def _cause(error: BaseException) -> str:
    """The first line of what lies at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0]


def database_url(asked: str, default: str) -> str:
    """Where Optuna keeps its study: `asked` with the environment's $NAMES filled in, else a sqlite file."""
    return os.path.expandvars(asked) if asked else sqlite_uri(default)


def _storage(url: str) -> BaseStorage:
    if not url:
        return InMemoryStorage()
    waits = {"connect_args": {"timeout": LOCKED_S}} if url.startswith("sqlite") else {}
    return RDBStorage(url, engine_kwargs=waits)


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    match distribution := _distribution(domain):
        case CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
        case FloatDistribution():
            return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.values)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _sampler(space: Space, drawn: int) -> Any:
    """The sampler asked for, seeded; the pilot takes the place of its random start."""
    seed = space.config.seed + 1_000 * drawn
    match space.config.search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=2)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=2)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
