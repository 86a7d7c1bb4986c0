"""Running trials under Ray Tune: the one file that touches Tune."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ray import tune
from ray.tune.search import Searcher

from base.errors import ApportionError
from search.cluster.connection import ON_HEAD
from search.execution.trial import TUNE
from search.plan.step import Prepare, Step, Stop, Train
from search.trials.design_point import Trial
from search.trials.record import TrialRecord

PREPARATION = {"preparation": True}  # in place of a trial's configuration


class Conductor(Protocol):
    """Decides what is trained and follows it (`search.study.conductor`); called in the driver."""

    def next(self) -> Step: ...

    def prepared(self, found: Any) -> None: ...

    def unprepared(self, reason: str) -> None: ...

    def started(self, trial: Trial) -> None: ...

    def finished(self, record: TrialRecord) -> None: ...

    def failed(self, trial: Trial, reason: str) -> None: ...


class PlannedSearch(Searcher):
    """Tune's view of the plan: a trial at a time, nothing while it waits, the end when it has decided."""

    def __init__(self, conductor: Conductor, *, closing: Callable[[], None]) -> None:
        super().__init__()
        self._conductor, self._closing = conductor, closing

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that this project does itself

    def suggest(self, trial_id: str) -> Any:
        step = self._conductor.next()
        if isinstance(step, Stop):
            self._closing()
            return Searcher.FINISHED
        if isinstance(step, Prepare):
            return PREPARATION
        return step.trial.to_dict() if isinstance(step, Train) else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the callback passes it on, with the reason where a trial failed."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study resumes from its folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""


class _Relay(tune.Callback):
    """Passes on to the conductor what Tune reports to its callbacks."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that this project does itself

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.config != PREPARATION:
            self._conductor.started(Trial.from_dict(trial.config))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if failure := trial.last_result.get("failure"):
            self._failed(trial, failure)
        elif trial.config == PREPARATION:
            self._conductor.prepared(trial.last_result["found"])
        else:
            self._conductor.finished(trial.last_result["found"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._failed(trial, _reason(trial))

    def _failed(self, trial: Any, reason: str) -> None:
        if trial.config == PREPARATION:
            self._conductor.unprepared(reason)
        else:
            self._conductor.failed(Trial.from_dict(trial.config), reason)


def run_trials(
    work: Callable[[Trial], TrialRecord],
    conductor: Conductor,
    *,
    prepare: Callable[[], Any] | None = None,
    concurrent: int,
    storage: str,
    max_failures: int,
    closing: Callable[[], None] = lambda: None,
) -> None:
    """Do the `work` of each trial that `conductor` asks for, until it stops, and report each outcome to it.

    Where it asks for a preparation, `prepare` is called, in a process that runs trials afterwards.
    A trial whose work raises an error of ours has failed and leaves the others alone; one that loses its
    process is started again, at most `max_failures` times. `closing` is called when no further trial will
    be started, before processes are ended.
    """
    # A trial's own process only waits for its workers; a CPU for it would leave a machine one worker short.
    trainable = tune.with_resources(tune.with_parameters(_trainable, work=work, prepare=prepare), ON_HEAD)
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=PlannedSearch(conductor, closing=closing),
            num_samples=-1,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=storage,
            callbacks=[_Relay(conductor)],
            failure_config=tune.FailureConfig(max_failures=max_failures),
            verbose=0,
        ),
    ).fit()


def _trainable(
    config: dict[str, Any], work: Callable[[Trial], TrialRecord], prepare: Callable[[], Any] | None
) -> None:
    try:
        if config == PREPARATION and prepare is not None:
            tune.report({"found": prepare()})
        else:
            tune.report({"found": work(Trial.from_dict(config))})
    except ApportionError as error:
        # Reported as a result: raised, it would reach the terminal as Tune's traceback.
        tune.report({"failure": str(error)})


def _reason(trial: Any) -> str:
    """Why a trial failed, in one line where it is an error of ours, else its last line."""
    error = trial.get_error() if hasattr(trial, "get_error") else None
    cause = getattr(error, "cause", error)
    if isinstance(cause, ApportionError):
        return str(cause)
    lines = str(error).strip().splitlines() if error else []
    return lines[-1] if lines else f"see {trial.local_path}"
