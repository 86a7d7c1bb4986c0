"""Trials made elsewhere that a study goes on from: read, and refused where rewards are not comparable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from base.errors import ConfigError
from search.config.cost import Labelling
from search.config.hyperparameters import shown
from search.config.study import StudyConfig
from search.plan.space import Space
from search.study.folder import FREE, LABELS, StudyFolder, flat
from search.study.source import Source, csv_source
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord
from search.trials.shipped import find_trials

# Besides what may change within a study: prices, budget and further reward models enter no reward, a pool is
# known by its digest.
FREE_ELSEWHERE = (*FREE, "budget", "cost.", "pool.", "further_rewards")
ADVICE = "leave it out of search.earlier, or set search.earlier_group: own"


@dataclass(frozen=True)
class Earlier:
    """Trials made elsewhere as this study's, and the base model's reward where they tell it."""

    trials: list[TrialRecord]
    base_reward: float | None = None


def go_on(space: Space, pool_digest: str, folder: StudyFolder, say: Callable[[str], None]) -> None:
    """Keep the earlier trials in the study's folder and say whose they are; raises as `earlier_trials`.

    Trials that an earlier run of the study went on from and this one does not are named too: it would train
    their splits again.
    """
    earlier = earlier_trials(space, pool_digest, folder)
    if lost := without(folder.earlier(), [*earlier.trials, *folder.records().values()]):
        say(f"left out, since search.earlier names them no longer: {told(lost)}")
    folder.keep_earlier(earlier.trials, earlier.base_reward)
    if earlier.trials:
        say(f"going on from {told(earlier.trials)}")


def earlier_trials(space: Space, pool_digest: str, folder: StudyFolder) -> Earlier:
    """The trials that `search.earlier` names, as this study's; a training that comes twice counts once.

    Raises ConfigError, naming the first thing that differs, where a reward depends on something that is not
    the same here; with `search.earlier_group: own` none is refused, and each source is a group of its own.
    """
    config, found, base = space.config, list[TrialRecord](), None
    for name in config.search.earlier:
        source = read_source(name, folder)
        if config.search.earlier_group == "same":
            refuse_other(source, config, pool_digest)
            # A fitted reward model is fitted, and kept, when the base model is judged.
            fitted = any(one.kind == "fitted" for one in config.rewards)
            base = source.base_reward if base is None and not fitted else base
        found += (_adopted(record, source, space) for record in source.records)
    return Earlier(without(found, ()), base)


def read_source(name: str, folder: StudyFolder) -> Source:
    """Read a study's folder, or a CSV of trials with a YAML file of the same name beside it."""
    path = find_trials(Path(name))
    if path.resolve() == folder.path.resolve():
        raise ConfigError(f"search.earlier names {name}, which is this study's own folder: leave it out")
    if path.is_dir():
        other = StudyFolder(path)
        study = other.read_json("study.json") if other.begun else None
        if study is None:
            raise ConfigError(f"search.earlier names {name}, which holds no study: study.json is missing")
        configuration = yaml.safe_load((path / "config.yaml").read_text())
        records = [*other.earlier(), *other.records().values()]
        digest = study.get("pool", {}).get("digest", "")
        base = other.base(study.get("identity", ""))
        return Source(
            name=name,
            records=records,
            configuration=configuration,
            pool=digest,
            base_reward=base["base"]["reward"] if base else None,
        )
    return csv_source(path, name)


def refuse_other(source: Source, config: StudyConfig, pool_digest: str) -> None:
    """Raise ConfigError naming the first thing, of all that a reward depends on, that is not the same."""
    if source.configuration is None:
        raise ConfigError(
            f"search.earlier: nothing says how the trials of {source.name} were made (a study's folder does, "
            f"or a YAML file of the same name beside a CSV, with its configuration): {ADVICE}"
        )
    try:
        theirs = StudyConfig.model_validate(source.configuration)
    except (ValidationError, ConfigError) as error:
        raise ConfigError(
            f"search.earlier: the configuration of {source.name} is not of this version ({error}): {ADVICE}"
        ) from error
    then, now = (flat(one.model_dump(mode="json")) for one in (theirs, config))
    # The study's seed draws the dev prompts, and those that a head is fitted on.
    judges = (config.reward, config.dev_reward)
    seeded = config.evaluation.dev_prompts or any(one and one.kind == "fitted" for one in judges)
    free = FREE_ELSEWHERE if seeded else (*FREE_ELSEWHERE, "seed")
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field) and (field in LABELS or not field.startswith(free)):
            raise ConfigError(
                f"search.earlier: {source.name} was made with {field} = {then.get(field)!r}, "
                f"not {now.get(field)!r}: use the same, {ADVICE}"
            )
    kinds = {_kind(record.labelling) for record in source.records}
    if kinds - {_kind(labelling) for labelling in config.labellings}:
        raise ConfigError(
            f"search.earlier: the trials of {source.name} were trained on labels of another kind (the pool's "
            "scores, those of single raters, or told apart by kind: see search.raters and search.labels): "
            f"{ADVICE}"
        )
    if source.pool != pool_digest:
        raise ConfigError(
            f"search.earlier: {source.name} was made with another pool (digest {source.pool or 'unknown'}, "
            f"not {pool_digest}): name the same prompts, responses and held-out prompts under pool, {ADVICE}"
        )


def _kind(labelling: Labelling) -> tuple[bool, bool]:
    """Whether people's labels are those of single raters, and whether kinds of labels are told apart."""
    only_judge = labelling.human_share == 0
    return labelling.raters is not None and not only_judge, labelling.human_share is not None


def _adopted(record: TrialRecord, source: Source, space: Space) -> TrialRecord:
    """The record as one of this study's: its point in `space`, its cost at this study's prices."""
    config, group = space.config, record.group
    if config.search.earlier_group == "own":
        words = shown(dict(record.point.hyperparameters))
        group = " ".join([source.name, *words, *filter(None, [record.group])])
        point = replace(record.point, hyperparameters=space.default_hyperparameters)
    else:
        point = space.known(record.point)
    return replace(
        record,
        point=_in_space(point, space),
        cost=config.cost.of(point.split),
        # Answers and curves stay where the trial was made.
        results=tuple(replace(result, answers=(), history=(), policy="") for result in record.results),
        earlier=dict.fromkeys(record.seeds, source.name),
        group=group,
    )


def _in_space(point: DesignPoint, space: Space) -> DesignPoint:
    """`point` with the budget fraction that the space knows it by, or the one that it costs."""
    fraction = space.config.cost.of(point.split) / space.config.budget
    same = (p.budget_fraction for p in space.grid() if (p.split, p.draw) == (point.split, point.draw))
    return replace(point, budget_fraction=next(same, fraction))


def without(earlier: Iterable[TrialRecord], finished: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The earlier trials, less every training that stands in `finished` or before it in `earlier`."""
    seen = {training for record in finished for training in _trainings(record)}
    found = []
    for record in earlier:
        fresh = {seed for point, group, seed in set(_trainings(record)) - seen}
        seen.update(_trainings(record))
        if left := record.with_seeds(fresh):
            found.append(left)
    return found


def _trainings(record: TrialRecord) -> Iterator[tuple[DesignPoint, str, int]]:
    point = replace(record.point, budget_fraction=None)
    return ((point, record.group, seed) for seed in record.seeds)


def told(records: Sequence[TrialRecord]) -> str:
    """`54 trials (108 seeds) of studies/reference_sft.csv`, for the terminal and the report; "" for none."""
    counts: dict[str, list[int]] = {}
    for record in records:
        for source in dict.fromkeys(record.earlier.values()):
            trials, seeds = counts.get(source, [0, 0])
            counts[source] = [trials + 1, seeds + sum(one == source for one in record.earlier.values())]
    return "; ".join(f"{t:,} trials ({s:,} seeds) of {source}" for source, (t, s) in counts.items())
