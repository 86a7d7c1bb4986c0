"""Running trials under Ray Tune: the one file that touches Tune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ray import tune
from ray.tune.search import Searcher

from base.errors import ApportionError, TrainingError
from search.cluster.connection import ON_HEAD
from search.execution.trial import TrialOutcome
from search.plan.step import Step, Stop, Train
from search.trials.design_point import Point


class Conducted(Protocol):
    """Whoever says what is trained and follows it (`search.study.conductor`); called in the driver."""

    def next(self) -> Step: ...

    def started(self, point: Point) -> None: ...

    def finished(self, outcome: TrialOutcome) -> None: ...

    def failed(self, point: Point, reason: str) -> None: ...


@dataclass(frozen=True)
class Opening:
    """`work` that all trials wait for, done where the first of them will be; `done` gets what it finds."""

    work: Callable[[], Any]
    done: Callable[[Any], None]


class PlannedSearch(Searcher):
    """Tune's view of the plan: a point at a time, nothing while it waits, the end when it has decided.

    `stage` is "due" before the opening, "open" once trials may run, and between the two "opening".
    """

    def __init__(self, conductor: Conducted, *, opening: bool, closing: Callable[[], None]) -> None:
        super().__init__()
        self._conductor, self._closing = conductor, closing
        self.stage = "due" if opening else "open"
        self.failure = ""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that this project does itself

    def suggest(self, trial_id: str) -> Any:
        if self.stage != "open":
            due, self.stage = self.stage == "due", "opening"
            return {"point": None} if due else Searcher.FINISHED if self.failure else None
        step = self._conductor.next()
        if isinstance(step, Stop):
            self._closing()
            return Searcher.FINISHED
        return {"point": step.point.to_dict()} if isinstance(step, Train) else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the conductor hears of it from the callback, which knows why a trial failed."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the folder's trials and Optuna's database are what a study goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""


class _Relay(tune.Callback):
    """Tells the conductor what Tune tells its callbacks."""

    def __init__(self, conductor: Conducted, search: PlannedSearch, opening: Opening | None) -> None:
        self._conductor, self._search, self._opening = conductor, search, opening

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that this project does itself

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if point := _point(trial.config):
            self._conductor.started(point)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if failure := trial.last_result.get("failure"):
            self._failed(trial, failure)
        elif _point(trial.config):
            self._conductor.finished(trial.last_result["outcome"])
        elif self._opening:
            self._opening.done(trial.last_result["outcome"])
            self._search.stage = "open"

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._failed(trial, _reason(trial))

    def _failed(self, trial: Any, reason: str) -> None:
        if point := _point(trial.config):
            self._conductor.failed(point, reason)
        else:
            self._search.failure = reason


def run_trials(
    work: Callable[[Point], Any],
    conductor: Conducted,
    *,
    concurrent: int,
    storage: str,
    max_failures: int,
    opening: Opening | None = None,
    closing: Callable[[], None] = lambda: None,
) -> None:
    """Do the `work` of each point that `conductor` asks for, until it stops, and tell it what came out.

    A trial whose work raises an error of ours has failed and leaves the others alone; one that loses its
    process is started again, at most `max_failures` times. `closing` is called when no further trial will
    be started, before processes are ended. Raises TrainingError where the `opening` fails.
    """
    search = PlannedSearch(conductor, opening=opening is not None, closing=closing)
    # A trial's own process only waits for its workers; a CPU for it would leave a machine one worker short.
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, work=work, first=opening and opening.work), ON_HEAD
    )
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=-1,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=storage,
            callbacks=[_Relay(conductor, search, opening)],
            failure_config=tune.FailureConfig(max_failures=max_failures),
            verbose=0,
        ),
    ).fit()
    if search.failure:
        raise TrainingError(search.failure)


def _trainable(config: dict[str, Any], work: Callable[[Point], Any], first: Callable[[], Any]) -> None:
    try:
        point = _point(config)
        tune.report({"outcome": work(point) if point else first()})
    except ApportionError as error:
        # Told as a result without an outcome: raised, it would reach the terminal as Tune's traceback.
        tune.report({"failure": str(error)})


def _point(config: dict[str, Any]) -> Point | None:
    """The point of a trial; None for the opening."""
    return Point.from_dict(config["point"]) if config["point"] else None


def _reason(trial: Any) -> str:
    """Why a trial failed, in one line where it is an error of ours, else its last line."""
    error = trial.get_error() if hasattr(trial, "get_error") else None
    cause = getattr(error, "cause", error)
    if isinstance(cause, ApportionError):
        return str(cause)
    lines = str(error).strip().splitlines() if error else []
    return lines[-1] if lines else f"see {trial.local_path}"
