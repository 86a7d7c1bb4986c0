"""The main job: `python search/run.py [CONFIG.yaml] [--section.field VALUE ...]`.

The same as `apportion study`, as a script: `ray submit` copies this one file to the head node and runs it
there, so it may rely on nothing but the installed packages.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # The script's own folder would put its neighbours (`search/fit/models.py`, ...) in the way of other
    # packages' modules, here and in every Ray worker.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]

    from search.cli import main

    sys.exit(main(["study", *sys.argv[1:]]))
