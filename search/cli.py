"""The console script `apportion`: finds the command, and turns errors meant for users into one plain line."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import time
from collections.abc import Sequence

from base.errors import ApportionError, did_you_mean

# Modules are imported only when their command is called: `apportion recommend` needs neither Ray nor torch.
COMMANDS = {
    "study": "run a study: search the split, fit reward on diversity, recommend",
    "recommend": "recommend a split for any budget, from a study folder or a CSV of trials",
    "sync": "bring MLflow, Optuna's history and trials.csv in line with a study's folder",
    "plan": "a split before the first label, from past studies; the next batch after some labels",
    "pool": "check a pool file, or make one from prompts: responses and their scores",
    "diversity": "measure the prompt diversity of files of any size",
    "select": "choose which prompts to label first",
    "augment": "propose new prompts that raise diversity",
    "label": "labels out to raters as tasks, and back into a scored pool",
    "demo-pool": "rebuild the demo pool that ships with the project",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2: bad input, 130: Ctrl-C, 1: a closed pipe)."""
    began = time.time()
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="apportion", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if arguments[:1] == [name]:
            module = importlib.import_module(f"search.commands.{name.replace('-', '_')}")
            module.configure(command)
            command.set_defaults(run=module.run, options=command.format_help, began=began)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_not_options(unknown, args.options()))
    try:
        status = int(args.run(args) or 0)
        sys.stdout.flush()
        return status
    except ApportionError as error:
        print(f"apportion {args.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough
        _drop_output()
        return 1
    except OSError as error:
        print(
            f"apportion {args.command}: {error.filename or 'standard output'}: {error.strerror}",
            file=sys.stderr,
        )
        _drop_output()
        return 2
    except KeyboardInterrupt:
        return 130


def _not_options(unknown: Sequence[str], described: str) -> str:
    """What to say of arguments that no option of the help text `described` takes."""
    options = [*dict.fromkeys(re.findall(r"--[a-z][\w.-]*", described))]
    said = [f"{each}{did_you_mean(each.partition('=')[0], options)}" for each in unknown]
    return f"unrecognized arguments: {' '.join(said)}"


def _drop_output() -> None:
    """Let Python end without a second complaint of what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
