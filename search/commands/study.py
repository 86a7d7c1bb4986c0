"""`apportion study [CONFIG.yaml] [--section.field VALUE ...]`: the main job."""

from __future__ import annotations

import argparse
from pathlib import Path

from base.errors import ConfigError
from search.commands.fields import add_fields, given
from search.config.load import load_config
from search.config.study import StudyConfig

DEFAULT = "demo.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: a configuration file, and every field of it by its dotted name."""
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help=f"a study (default: the shipped {DEFAULT})"
    )
    parser.add_argument(
        "--config", dest="config_option", metavar="CONFIG.yaml", help="the same, as an option"
    )
    parser.add_argument(
        "--output-dir", type=Path, metavar="FOLDER", help="the study's folder (default: runs/<name>)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="set an earlier study in that folder aside, start over"
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume the study in that folder; refuse to start a new one"
    )
    add_fields(parser, StudyConfig, title="study")


def run(args: argparse.Namespace) -> int:
    """Run the study and print what it found; returns 0, or 1 where the data cannot answer."""
    config = load_config(args.config_option or args.config or DEFAULT, given(args, StudyConfig))
    if args.fresh and args.resume:
        raise ConfigError("--fresh starts a study over and --resume resumes it: give one of them")
    path = args.output_dir or Path("runs") / config.name
    return _run(config, path, args.began, fresh=args.fresh, resume=args.resume)


def _run(config: StudyConfig, path: Path, began: float, *, fresh: bool, resume: bool) -> int:
    from base.timeline import Timeline
    from search.cluster.connection import how_to_see
    from search.study.folder import StudyFolder
    from search.study.mirror import Mirror, mirrored
    from search.study.run import run_study
    from search.study.summary import show_stopped
    from search.terminal.display import Display

    display, storage = Display(), config.cluster.shared()
    mirror = Mirror(storage, path.absolute().name, fresh=fresh) if storage else None
    folder = StudyFolder(path, mirror.checkpoints, mirror.policies) if mirror else StudyFolder(path)
    if fresh and (moved := folder.set_aside()):
        display.say(f"the earlier study was moved to {moved}")
    display.say(f"study {config.name}: {config.budget:g} {config.cost.unit}, folder {folder.path}")
    if way := how_to_see():
        display.say(way)
    with folder.locked(), mirrored(folder.path, mirror, display.say):
        if resume and not folder.begun:
            raise ConfigError(
                f"there is no study in {folder.path} to resume: leave --resume out to start one"
            )
        timeline = Timeline(folder.logs / "timeline.log", began)
        folder.logs.mkdir(exist_ok=True)
        timeline.reach("configuration read", "resumed study" if folder.begun else "new study")
        try:
            study = run_study(config, folder, display, timeline)
        except KeyboardInterrupt:
            show_stopped(display, folder)
            raise
    return 0 if study.recommendation else 1
