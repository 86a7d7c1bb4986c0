"""The study's folder: what is in it, who may write to it, and what an earlier run left there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from base.errors import ConfigError
from base.files import write_whole
from search.config.study import StudyConfig
from search.trials.design_point import digest
from search.trials.record import TrialRecord
from trainers.workers.store import discard

# Fields that may change between two runs of one study, because no finished trial depends on them.
FREE = (
    "tracking.",
    "resources.",
    "cluster.",
    "checkpoints.",
    "search.",
    "transfer.",
    "name",
    "trainer.micro_batch_tokens",
    "pool.stream_above",
    "reward.timeout",
    "dev_reward.timeout",
    "reward.force",
    "dev_reward.force",
)
# Fields that studies had not always, each with the value that changes nothing.
NEWER = {
    "further_rewards": [],
    "cost.per_judged": 0,
    "evaluation.engine": "own",
    "trainer.average_tail": 0,
}
# What trials train on, which stands in their design points.
LABELS = ("search.agreement",)


class StudyFolder:
    """`config.yaml`, `study.json`, a file for each finished trial under `trials/` and for each that was ever
    started under `attempts/`, the trials made elsewhere in `earlier.json`, and the study's results.

    `checkpoints` and `policies` are where workers keep those of running trials, and what they have trained:
    URIs or folders that all nodes of a cluster see.
    """

    def __init__(self, path: Path, checkpoints: str = "", policies: str = "") -> None:
        self.path = path.absolute()
        self.trials = self.path / "trials"
        self.attempts = self.path / "attempts"
        self.ray = self.path / "ray"
        self.checkpoints = checkpoints or str(self.ray)
        self.reward_model = self.path / "reward_model"
        self.optuna = self.path / "optuna.db"
        self.policies = policies or str(self.path / "policies")
        self.logs = self.path / "logs"
        self.samples = self.path / "system_metrics.jsonl"
        self.pool = self.path / "pool"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; a second study in the same folder is refused while it is held.

        A pool that was kept on disk for the study is deleted at the end: it would be read anew in any case.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"another study is running in {self.path}: wait for it, or pass --output-dir"
            ) from error
        try:
            yield
        finally:
            shutil.rmtree(self.pool, ignore_errors=True)
            lock.release()

    @property
    def begun(self) -> bool:
        """Whether a study was ever started here."""
        return (self.path / "config.yaml").exists()

    def adopt(self, config: StudyConfig) -> None:
        """Take the folder for `config`: write its configuration, or check that the one written is the same.

        Raises ConfigError naming the first field that differs and that finished trials depend on.
        """
        written = self.path / "config.yaml"
        if written.exists() and any(self.trials.glob("*.json")):
            before, now = (
                compared(yaml.safe_load(written.read_text())),
                compared(config.model_dump(mode="json")),
            )
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name) and not _free(name, before.get(name), now.get(name)):
                    raise ConfigError(
                        f"{self.path} holds trials with {name} = {before.get(name)!r}, "
                        f"not {now.get(name)!r}: pass --fresh to set them aside and start over, "
                        "or another --output-dir"
                    )
        write_whole(written, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        self.trials.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)

    def set_aside(self) -> Path | None:
        """Move an earlier study out of the way, under the first free number; returns where it went."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return None
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        os.rename(self.path, target)
        return target

    def save(self, record: TrialRecord) -> None:
        """Keep a finished trial; the file is whole or absent, whatever happens meanwhile."""
        write_whole(self.trials / f"{record.trial}.json", json.dumps(record.to_dict(), indent=1))

    def base(self, identity: str) -> dict[str, Any] | None:
        """What is known before the first trial of the study that `identity` stands for (`base.json`).

        Whoever made its earlier trials may have judged the same base model.
        """
        kept, earlier = self.read_json("base.json"), self.read_json("earlier.json")
        if kept and kept["identity"] == identity:
            return kept
        if earlier and earlier["base_reward"] is not None:
            return {"identity": identity, "base": {"reward": earlier["base_reward"]}, "reward_report": None}
        return None

    def keep_reward_model(self, files: Mapping[str, bytes]) -> None:
        """Keep the files of the fitted reward model."""
        for name, content in files.items():
            self.reward_model.mkdir(exist_ok=True)
            (self.reward_model / name).write_bytes(content)

    def kept_reward_model(self) -> dict[str, bytes]:
        """The files of the fitted reward model by name; none where none was fitted."""
        return {path.name: path.read_bytes() for path in self.reward_model.glob("*")}

    def prune_policies(self, records: Iterable[TrialRecord]) -> None:
        """Of the policies that these trials saved keep one: the best seed's of the best trial, by reward.

        One that cannot be reached now is deleted when the next trial ends.
        """
        for _, policy in saved_policies(records)[:-1]:
            folder, _, name = policy.rpartition("/")
            with suppress(OSError):
                discard(folder, name)

    def records(self) -> dict[str, TrialRecord]:
        """The finished trials that answer the study's own question, by key."""
        return {key: one for key, one in self._all_records().items() if not one.point.transfer}

    def transferred(self) -> dict[str, TrialRecord]:
        """The finished trials under other settings (`transfer`), by key."""
        return {key: one for key, one in self._all_records().items() if one.point.transfer}

    def _all_records(self) -> dict[str, TrialRecord]:
        return {path.stem: self.record(path.stem) for path in sorted(self.trials.glob("*.json"))}

    def record(self, trial: str) -> TrialRecord:
        """One of them."""
        return TrialRecord.from_dict(json.loads((self.trials / f"{trial}.json").read_text()))

    def keep_earlier(self, records: Sequence[TrialRecord], base_reward: float | None = None) -> None:
        """Keep the trials that were made elsewhere, in place of any kept before (`earlier.json`).

        `base_reward` is that of the base model, where they tell it for this study too.
        """
        if records or (self.path / "earlier.json").exists():
            kept = {"base_reward": base_reward, "trials": [record.to_dict() for record in records]}
            self.write_json("earlier.json", kept)

    def earlier(self) -> list[TrialRecord]:
        """The trials made elsewhere that the study goes on from."""
        kept = self.read_json("earlier.json") or {"trials": []}
        return list(map(TrialRecord.from_dict, kept["trials"]))

    def finished(self) -> dict[str, int]:
        """Their keys alone, each with when its file was written (ms since 1970)."""
        return {path.stem: path.stat().st_mtime_ns // 1_000_000 for path in self.trials.glob("*.json")}

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write `value` to the file `name`, whole."""
        write_whole(self.path / name, json.dumps(value, indent=2) + "\n")

    def note_study(self, **values: Any) -> None:
        """Add to what `study.json` says, or replace it by name."""
        self.write_json("study.json", {**(self.read_json("study.json") or {}), **values})

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The content of the file `name`, or None where there is none."""
        path = self.path / name
        return json.loads(path.read_text()) if path.exists() else None


def saved_policies(records: Iterable[TrialRecord]) -> list[tuple[str, str]]:
    """Trial and location of each policy that these trials saved, the best seed's of the best trial last.

    Policies of other settings come first: their rewards are not comparable.
    """
    saved = [
        (not record.point.transfer, record.reward, result.reward, record.trial, result.policy)
        for record in records
        for result in record.results
        if result.policy
    ]
    return [(trial, policy) for *_, trial, policy in sorted(saved)]


def _free(name: str, before: Any, now: Any) -> bool:
    """Whether a field may change from `before` to `now`.

    Whether raters label at all, and whether kinds of labels are told apart, may not.
    """
    if name in ("search.raters", "search.labels"):
        return bool(before) == bool(now)
    return name.startswith(FREE) and name not in LABELS


def study_identity(config: StudyConfig, pool_digest: str) -> str:
    """Stands for all that a trial's result depends on besides its design point and seeds."""
    fields = {
        name: value
        for name, value in compared(config.model_dump(mode="json")).items()
        if not name.startswith(FREE)
    }
    return digest({"pool": pool_digest, **fields})


def compared(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a configuration as studies are compared by them.

    Without those of NEWER where they change nothing, and `fit_head` where no layers are tuned, as studies
    were before there could be any.
    """
    found = dict(tree)
    for name in ("reward", "dev_reward"):
        if found.get(name):
            found[name] = _judging(found[name])
    found["further_rewards"] = [
        {name: value for name, value in _judging(one).items() if name != "force"}
        for one in found.get("further_rewards") or ()
    ]
    return {name: value for name, value in flat(found).items() if name not in NEWER or value != NEWER[name]}


def _judging(reward: Mapping[str, Any]) -> dict[str, Any]:
    """A reward model's fields, `fit_head` only where layers are tuned."""
    tunes = reward.get("kind") == "fitted" and reward.get("fit_head") == "best"
    return {name: value for name, value in reward.items() if name != "fit_head" or tunes}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a configuration, by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves
