"""What is written when something happens to a trial: to the folder and the terminal."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

from metrics.reward.report import FittedReport, check_is_reward
from search.config.study import StudyConfig
from search.execution.trial import PREPARE, TUNE, WORK
from search.study.earlier import without
from search.study.folder import StudyFolder
from search.terminal.display import Display
from search.tracking.projection import Projection
from search.trials.attempts import Attempts
from search.trials.design_point import Trial
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import write_trials
from trainers.spec import Prepared, SeedResult
from trainers.workers.store import RUNS, discard, names_in


class Ledger:
    """Persists every trial in the study's folder, shows it in the terminal, and has the tracker follow."""

    def __init__(
        self,
        config: StudyConfig,
        folder: StudyFolder,
        display: Display,
        projection: Projection,
        attempts: Attempts,
    ) -> None:
        self.config, self.folder, self.display, self.projection = config, folder, display, projection
        self._attempts, self.identity = attempts, attempts.study
        self.finished_trials, self.transferred = folder.records(), folder.transferred()
        self._earlier = folder.earlier()
        self.failures: dict[str, str] = {}
        self.base_reward: float | None = None
        self.base: SeedResult | None = None
        self.reward_report: FittedReport | None = None
        self._agreement_with_people = ""
        self._read_base()

    @property
    def records(self) -> list[TrialRecord]:
        """One record for each split, draw and hyperparameters, all repetitions together."""
        return pooled([*self.earlier, *self.finished_trials.values()])

    @property
    def earlier(self) -> list[TrialRecord]:
        """Trials made elsewhere, without trainings that this study has made itself."""
        return without(self._earlier, self.finished_trials.values()) if self._earlier else []

    @property
    def _count(self) -> str:
        return f"[{len(self.finished_trials) + len(self.failures)}/{self.config.search.trials}]"

    def keep_base(self, prepared: Prepared) -> None:
        """Write down what is known before the first trial."""
        known = asdict(prepared)
        self.folder.keep_reward_model(known.pop("reward_artifact"))
        self.folder.write_json("base.json", {"identity": self.identity, **known})
        self._read_base()

    def _read_base(self) -> None:
        if kept := self.folder.base(self.identity):
            self.base_reward, report = kept["base"]["reward"], kept["reward_report"]
            self.reward_report = FittedReport.from_dict(report) if report else None
            self._agreement_with_people = kept.get("agreement_with_people", "")
            # What earlier trials tell of the base model is its reward alone.
            self.base = SeedResult.from_dict(kept["base"]) if "answers" in kept["base"] else None

    def reward_notes(self) -> dict[str, str]:
        """What a fitted reward model is worth, and how far the deciding one agrees with people, by name."""
        people = self._agreement_with_people
        return {
            **(self.reward_report.notes() if self.reward_report else {}),
            **({"agreement with people": people} if people else {}),
        }

    @property
    def reward_doubt(self) -> str:
        """Why the study's rewards should not be called so; "" unless a fitted model was forced to judge."""
        doubt = self.reward_report.doubt if self.reward_report else ""
        return f"Not a reward, but forced: {doubt}." if doubt else ""

    def check_reward(self) -> None:
        """Raise RewardError where a fitted model was once forced to be used, and no longer is."""
        models = (self.config.reward, *self.config.further_rewards, self.config.dev_reward)
        if self.reward_report:
            check_is_reward(self.reward_report, force=any(one.force for one in models if one))

    @property
    def interrupted(self) -> list[Trial]:
        """What an earlier run had planned or started and not finished, in that order."""
        done = self.finished_trials.keys() | self.transferred.keys()
        left = [one for one in self._attempts.unfinished() if one.key not in done]
        return [one.trial for one in left]

    def planned(self, trial: Trial) -> None:
        """A trial is the next to run."""
        self._attempts.planned(trial.key(self.identity), trial)

    def started(self, trial: Trial) -> None:
        """A trial is about to run."""
        self._attempts.started(trial.key(self.identity), trial)
        self.projection.changed()
        spent = f"budget fraction {trial.point.budget_fraction:g}"
        self.display.say(f"trial {trial.label} started: {len(trial.seeds)} seeds, {spent}")

    def seed_ended(self, key: str, result: SeedResult) -> None:
        """One seed of a running trial has ended; called in another thread."""
        if self._attempts.seed_ended(key, result):
            self.projection.changed()

    def finished(self, record: TrialRecord) -> None:
        """A trial has ended well: keep it, before anything else."""
        self.folder.save(record)
        (self.transferred if record.point.transfer else self.finished_trials)[record.trial] = record
        self._attempts.ended(record.trial, "FINISHED")
        self.projection.changed()
        self._tidy(record)
        self.write_table()
        which = f"[{record.point.transfer}]" if record.point.transfer else self._count
        self.display.say(f"{which} {record.point.label}: {_result(record)}")

    def write_table(self) -> None:
        """Write trials.csv anew, and transfer.csv where there are trials under other settings."""
        write_trials(self.folder.path / "trials.csv", self.records)
        if self.transferred:
            write_trials(self.folder.path / "transfer.csv", pooled(self.transferred.values()))

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial has ended badly; the others go on."""
        self._attempts.ended(trial.key(self.identity), "FAILED")
        self.projection.changed()
        self.failures[trial.label] = reason
        self.display.say(f"{self._count} {trial.label} FAILED: {reason}")

    def _tidy(self, record: TrialRecord) -> None:
        """Show the notes of the trial's trainings, and delete what a finished trial no longer needs."""
        for note in sorted({note for result in record.results for note in result.notes}):
            self.display.say(f"  {record.point.label}: {note}")
        if self.config.checkpoints.keep_policies == "best":
            self.folder.prune_policies([*self.finished_trials.values(), *self.transferred.values()])
        checkpoints = self.folder.checkpoints
        try:
            discard(checkpoints, f"{WORK}{record.trial}")
        except OSError as error:
            self.display.say(f"  its checkpoints could not be deleted from {checkpoints}: {error}")

    def discard_leftovers(self) -> None:
        """Delete what the study needs no more once it has ended: also what its runs left that were killed."""
        done = self.finished_trials.keys() | self.transferred.keys()
        unneeded = {RUNS, PREPARE + self.identity, *(f"{WORK}{key}" for key in done)}
        with suppress(OSError):  # nothing reads any of it again
            discard(str(self.folder.ray), TUNE)
            for name in unneeded & names_in(self.folder.checkpoints):
                discard(self.folder.checkpoints, name)


def _result(record: TrialRecord) -> str:
    noise = "" if record.reward_se is None else f" ± {record.reward_se:.4f}"
    return f"reward {record.reward:.4f}{noise}, diversity {record.diversity:.3f}, {record.seconds:.0f} s"
