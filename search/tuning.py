"""Running trials under Ray Tune with Optuna: the one file that touches Tune."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from ray import tune
from ray.tune.search.optuna import OptunaSearch

from pools.errors import ApportionError
from search.cluster import ON_HEAD
from search.config import SearchConfig
from search.space import dimensions, pilot, point_of
from search.trial import Shared, TrialOutcome, run_point


class Observer(Protocol):
    """Whoever follows the study; called in the driver, as things happen."""

    def started(self, choice: Mapping[str, Any]) -> None: ...

    def finished(self, outcome: TrialOutcome) -> None: ...

    def failed(self, choice: Mapping[str, Any], reason: str) -> None: ...


class ReplicatingOptunaSearch(OptunaSearch):
    """Optuna's proposals, numbered per point.

    The space is discrete, and a sampler that likes a point proposes it again. The number makes the trial
    train new seeds of that point, so that a repetition sharpens its mean instead of training it twice.
    """

    def suggest(self, trial_id: str) -> Any:
        choice = super().suggest(trial_id)
        if isinstance(choice, dict):
            seen: Counter[str] = self.__dict__.setdefault("_seen", Counter())
            name = json.dumps(choice, sort_keys=True)
            choice["repeat"] = seen[name]
            seen[name] += 1
        return choice

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "failure" not in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        super().on_trial_complete(trial_id, result, error or "failure" in (result or {}))


class _Relay(tune.Callback):
    """Tells the observer what Tune tells its callbacks."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that this project does itself

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._observer.started(trial.config)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if failure := trial.last_result.get("failure"):
            self._observer.failed(trial.config, failure)
        else:
            self._observer.finished(trial.last_result["outcome"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._observer.failed(trial.config, _reason(trial))


def run_trials(shared: Shared, *, concurrent: int, observer: Observer) -> None:
    """Run the study's trials: the pilot's points first, then what Optuna proposes.

    A trial that fails is told to the observer and leaves the others alone.
    """
    search = shared.config.search
    optuna_search = ReplicatingOptunaSearch(
        {name: tune.choice(values) for name, values in dimensions(search).items()},
        metric="reward",
        mode="max",
        points_to_evaluate=pilot(search)[: search.trials],
        sampler=_sampler(search, shared.config.seed),
    )
    # A trial's own process only waits for its workers. Holding any CPU would leave a machine one worker short.
    trainable = tune.with_resources(tune.with_parameters(_trainable, shared=shared), ON_HEAD)
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=optuna_search,
            num_samples=search.trials,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=shared.storage, callbacks=[_Relay(observer)], verbose=0
        ),
    ).fit()


def _trainable(config: dict[str, Any], shared: Shared) -> None:
    point = point_of(shared.config, config, max_prompts=shared.max_prompts, repeat=config["repeat"])
    try:
        outcome = shared.finished.get(point.key(shared.identity)) or run_point(point, shared)
    except ApportionError as error:
        # Told as a result without a reward: raised, it would reach the terminal as Tune's traceback.
        tune.report({"failure": str(error)})
        return
    tune.report({"reward": outcome.record.reward, "outcome": outcome})


def _sampler(search: SearchConfig, seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    match search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)


def _reason(trial: Any) -> str:
    """Why a trial failed, in one line where it is an error of ours, else its last line."""
    error = trial.get_error() if hasattr(trial, "get_error") else None
    cause = getattr(error, "cause", error)
    if isinstance(cause, ApportionError):
        return str(cause)
    lines = str(error).strip().splitlines() if error else []
    return lines[-1] if lines else f"see {trial.local_path}"
