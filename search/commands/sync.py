"""`apportion sync FOLDER [--uri URI]`: trials.csv, Optuna's history and MLflow, made again from a folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import ApportionError, ConfigError
from search.config.load import load_config
from search.tracking.config import ENVIRONMENT

if TYPE_CHECKING:
    from search.config.study import StudyConfig
    from search.study.folder import StudyFolder
    from search.tracking.projection import Projection


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a study's folder, in which none is running"
    )
    parser.add_argument(
        "--uri", default="", help="MLflow server or database (default: where the study was tracked last)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="longest wait for MLflow (s, default 60)"
    )


def run(args: argparse.Namespace) -> int:
    """Make all of it again and say where it is; 0 when done, 1 when MLflow did not take it in time."""
    from search.study.folder import StudyFolder

    folder = StudyFolder(args.folder)
    study = folder.read_json("study.json")
    if not folder.begun or study is None:
        raise ApportionError(f"{args.folder} holds no study: config.yaml or study.json is missing")
    config = _config(folder, args.uri, study["tracked_at"])
    with folder.locked():
        _restore(folder, config, study)
        projection = _shown(folder, config, args.timeout)
    if pending := projection.pending():
        print(pending)
        return 1
    print(f"{len(folder.finished())} finished trials of {config.name} are in MLflow: {projection.where()}")
    return 0


def _config(folder: StudyFolder, uri: str, tracked_at: str) -> StudyConfig:
    """The study's configuration, tracked at `uri`, where it says itself, or where it was tracked last."""
    path = str(folder.path / "config.yaml")
    config = load_config(path)
    if not (uri or config.tracking.uri or os.environ.get(ENVIRONMENT)):
        if "***" in tracked_at:
            raise ConfigError(
                f"the study was tracked at {tracked_at}: set {ENVIRONMENT} to it, secrets included"
            )
        uri = tracked_at
    return load_config(path, {"tracking.uri": uri}) if uri else config


def _restore(folder: StudyFolder, config: StudyConfig, study: dict[str, Any]) -> None:
    """What became of trials that a killed study left running, the table, and Optuna's history."""
    from search.plan.proposals import Proposals, database_url
    from search.plan.space import Space
    from search.study.earlier import without
    from search.study.tracked import settle
    from search.trials.design_point import Trial
    from search.trials.record import pooled
    from search.trials.trials_csv import write_trials

    settle(folder, study["identity"])
    records = folder.records()
    earlier = without(folder.earlier(), records.values())
    write_trials(folder.path / "trials.csv", pooled([*earlier, *records.values()]))
    if transferred := folder.transferred():
        write_trials(folder.path / "transfer.csv", pooled(transferred.values()))
    known = {one.trial: one for one in earlier if not one.group} | records
    space = Space(config, max_prompts=study["pool"]["profile"]["train_prompts"])
    url = database_url(config.search.storage, str(folder.optuna))
    Proposals(space, identity=study["identity"], url=url, warn=print).restore(
        {key: (Trial(space.known(one.point), one.seeds), one.reward) for key, one in known.items()}
    )


def _shown(folder: StudyFolder, config: StudyConfig, timeout_s: float) -> Projection:
    from search.study.tracked import follow

    projection = follow(folder, config)
    print(f"MLflow at {projection.target} is brought in line with {folder.path} ...", flush=True)
    projection.changed()
    projection.close(timeout_s)
    return projection
