"""A study and its MLflow server on one machine, and the faults that they are put under."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

TRIAL, WORKER, RAYLET = "ray::ImplicitFunc", "ray::RayTrainWorker", "raylet/raylet"
# How long a study may take to end, and how long it may show no sign (s).
STOP_S, STILL_S = 150.0, 240.0
RESTART_PAUSE_S = 2.0


class Server:
    """An `mlflow server` on loopback with its own database, at one port for all its lives."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.database, self._folder = folder / "server.db", folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers some seconds later."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
            )

    def look_after(self) -> None:
        """Start it again if it has ended by itself, as it does where its database is locked at its start."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it and its workers at once."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._process = None

    def answers(self) -> bool:
        """Whether it is up."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
            return bool(answer.status == 200)
        return False

    def wait(self) -> None:
        """Return once it answers; raises TimeoutError after four minutes."""
        deadline = time.monotonic() + 240
        while not self.answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the MLflow server did not come up: {self._folder / 'server.log'}")
            time.sleep(0.2)


class Study:
    """A study that is started again with the same command whenever its process has ended.

    Each start is a session of its own, by which its processes are known. `steps` is the file to which
    DeepSpeed adds a line for each step of training.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str], folder: Path, log: Path, steps: Path):
        self.folder, self.log, self._command, self._env, self._steps = folder, log, command, env, steps
        self.starts = 0
        self.unasked: list[str] = []  # ends that no fault accounts for, with the study's last words
        self._may_end_until = 0.0  # by the monotonic clock
        self._sessions: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = self._moved = time.monotonic()
        self._seen: tuple[int, ...] = ()

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._sessions.add(self._process.pid)
        self.starts += 1
        self._may_end_until, self._moved = 0.0, time.monotonic()

    def may_end(self) -> None:
        """What happens to it now may end it soon."""
        self._may_end_until = time.monotonic() + STOP_S

    @property
    def pid(self) -> int | None:
        """Its process, None between two of them."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def finished(self) -> bool:
        """Whether it came to its own end."""
        return self._process is not None and self._process.poll() == 0

    def processes(self) -> list[psutil.Process]:
        """All processes of all its starts."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) in self._sessions and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def named(self, part: str) -> list[psutil.Process]:
        """Those of its last start whose command holds `part`."""
        found = []
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.pid and part in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def trials(self) -> int:
        """How many trials are finished."""
        return len(list((self.folder / "trials").glob("*.json")))

    def steps(self) -> int:
        """How many steps were trained, in all attempts together."""
        lines = self._steps.read_text().splitlines() if self._steps.exists() else []
        return sum(line[:1].isdigit() for line in lines)  # each engine begins with a line of names

    def look_after(self) -> None:
        """Start it again if it has ended before its time; kill it if it shows no sign for minutes."""
        now = time.monotonic()
        if self.pid is None and not self.finished:
            if now > self._may_end_until:
                self._note(f"exit status {self._process.poll() if self._process else None}")
                self.may_end()
            if now - self._ended > RESTART_PAUSE_S:
                self.start()
            return
        self._ended = now
        seen = tuple(path.stat().st_size for path in (self.log, self._steps) if path.exists())
        if seen != self._seen:
            self._seen, self._moved = seen, now
        elif now - self._moved > STILL_S and self.pid is not None:
            self._note(f"no sign for {STILL_S:.0f} s")
            self.kill()

    def kill(self) -> None:
        """End its process at once."""
        if self._process is not None:
            self.may_end()
            self._process.kill()
            self._process.wait()

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole group of the process in the foreground."""
        if self.pid is not None:
            self.may_end()
            os.killpg(self.pid, signal.SIGINT)

    def _note(self, what: str) -> None:
        self.unasked.append(f"{what}: {self.log.read_text()[-1500:]}")


@dataclass
class Scene:
    """A study, what it depends on, and what has to be put right again later."""

    study: Study
    server: Server
    clock: Path  # holds how far the study's clock is set back (s)
    disk: Path | None  # the small file system that the study's folder lies on, None where there is none
    rng: random.Random
    _later: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)

    def later(self, what: str, longest_s: float, undo: Callable[[], None]) -> str:
        """Call `undo` at a random moment within so many seconds; returns in words after how many."""
        seconds = self.rng.uniform(1, longest_s)
        self._later.append((time.monotonic() + seconds, what, undo))
        return f"for {seconds:.0f} s"

    def lasting(self, what: str) -> bool:
        """Whether that is still to be put right."""
        return any(name == what for _, name, _ in self._later)

    def tick(self) -> None:
        """Put right what is due, and start the study, or the server, again if it has ended."""
        for entry in [one for one in self._later if one[0] <= time.monotonic()]:
            self._later.remove(entry)
            entry[2]()
        self.study.look_after()
        self.server.look_after()
        time.sleep(0.2)

    def pass_time(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let so much time pass, or less where `until` holds or the study finishes; whether `until` holds."""
        deadline = time.monotonic() + seconds
        while not (held := until()) and time.monotonic() < deadline and not self.study.finished:
            self.tick()
        return held

    def put_right(self) -> None:
        """Put everything right at once."""
        for entry in self._later:
            entry[2]()
        self._later.clear()


@dataclass(frozen=True)
class Fault:
    """One kind: how often in a hundred it comes, when it can be, and what brings it about and says so."""

    share: int
    possible: Callable[[Scene], bool]
    strike: Callable[[Scene], str]


def _running(scene: Scene) -> bool:
    return scene.study.pid is not None


def _has(part: str) -> Callable[[Scene], bool]:
    return lambda scene: bool(scene.study.named(part))


def _kill_named(part: str) -> Callable[[Scene], str]:
    def strike(scene: Scene) -> str:
        processes = scene.study.named(part)
        if part == RAYLET:
            scene.study.may_end()
        for process in processes[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return f"process {', '.join(str(process.pid) for process in processes[:1]) or 'already gone'}"

    return strike


def _kill_study(scene: Scene) -> str:
    pid = scene.study.pid
    scene.study.kill()
    return f"process {pid}"


def _interrupt(scene: Scene) -> str:
    """Once, or twice within a moment, as impatient people do."""
    times = scene.rng.choice([1, 2])
    for _ in range(times):
        scene.study.interrupt()
        time.sleep(0.2)
    began = time.monotonic()
    ended = scene.pass_time(STOP_S, until=lambda: scene.study.pid is None)
    if not ended and not scene.study.finished:
        scene.study.unasked.append(f"not stopped by Ctrl-C within {STOP_S:.0f} s")
        scene.study.kill()
    return f"{'twice' if times == 2 else 'once'}, ended after {time.monotonic() - began:.1f} s"


def _server_up(scene: Scene) -> bool:
    busy = any(scene.lasting(one) for one in ("mlflow_killed", "mlflow_slow"))
    return not busy and scene.server.answers()


def _kill_server(scene: Scene) -> str:
    scene.server.kill()
    return scene.later("mlflow_killed", 15, scene.server.start)


def _pause_server(scene: Scene) -> str:
    scene.server.send(signal.SIGSTOP)
    return scene.later("mlflow_slow", 15, lambda: scene.server.send(signal.SIGCONT))


def _lock(scene: Scene, what: str, database: Path, longest_s: float) -> str:
    """Hold an exclusive lock on a database, once its present writer has let go of it."""
    connection = sqlite3.connect(database, timeout=10, isolation_level=None)
    try:
        connection.execute("begin exclusive")
    except sqlite3.OperationalError as error:
        connection.close()
        return f"not had: {error}"
    return scene.later(what, longest_s, connection.close)


def _lock_mlflow(scene: Scene) -> str:
    return _lock(scene, "mlflow_locked", scene.server.database, 15)


def _optuna(scene: Scene) -> Path:
    return scene.study.folder / "optuna.db"


def _lock_optuna(scene: Scene) -> str:
    """Shorter and longer than the study waits for it (20 s)."""
    return _lock(scene, "optuna_locked", _optuna(scene), 30)


def _fill_disk(scene: Scene) -> str:
    assert scene.disk is not None
    ballast = scene.disk / "ballast"
    scene.study.may_end()
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))

    def free() -> None:
        ballast.unlink(missing_ok=True)

    return scene.later("disk_full", 10, free)


def _set_clock_back(scene: Scene) -> str:
    before = float(scene.clock.read_text())
    seconds = scene.rng.choice([2.0, 60.0, 3600.0]) * scene.rng.uniform(0.5, 1)
    partial = scene.clock.with_suffix(".partial")
    partial.write_text(str(before + seconds))
    os.replace(partial, scene.clock)
    return f"by {seconds:.0f} s"


FAULTS = {
    "study_killed": Fault(7, _running, _kill_study),
    "ctrl_c": Fault(7, _running, _interrupt),
    "raylet_killed": Fault(6, _has(RAYLET), _kill_named(RAYLET)),
    "trial_killed": Fault(10, _has(TRIAL), _kill_named(TRIAL)),
    "worker_killed": Fault(12, _has(WORKER), _kill_named(WORKER)),
    "mlflow_killed": Fault(10, _server_up, _kill_server),
    "mlflow_slow": Fault(10, _server_up, _pause_server),
    "mlflow_locked": Fault(10, lambda scene: not scene.lasting("mlflow_locked"), _lock_mlflow),
    "optuna_locked": Fault(
        10, lambda scene: _optuna(scene).exists() and not scene.lasting("optuna_locked"), _lock_optuna
    ),
    "disk_full": Fault(8, lambda scene: not scene.lasting("disk_full"), _fill_disk),
    "clock_set_back": Fault(10, _running, _set_clock_back),
}

CLOCK = '''"""The clock of every Python process of a study, as far behind as the file $SOAK_CLOCK says (s)."""

import os
import time

_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_read_at, _behind = float("-inf"), 0.0


def _set_back():
    global _read_at, _behind
    if _monotonic() - _read_at > 0.2:
        _read_at = _monotonic()
        with open(os.environ["SOAK_CLOCK"]) as file:
            _behind = float(file.read())
    return _behind


if "SOAK_CLOCK" in os.environ:
    time.time = lambda: _time() - _set_back()
    time.time_ns = lambda: _time_ns() - int(_set_back() * 1e9)
'''


def sequence(count: int, rng: random.Random, left_out: Sequence[str]) -> list[str]:
    """The kinds of `count` faults, mixed: by their shares, and each at least once where they suffice."""
    kinds = [kind for kind in FAULTS if kind not in left_out]
    shares = [FAULTS[kind].share for kind in kinds]
    whole = [count * share // sum(shares) for share in shares]
    found = [kind for kind, number in zip(kinds, whole, strict=True) for _ in range(number)]
    missing = [kind for kind in kinds if kind not in found]
    found += rng.sample(missing, min(len(missing), count - len(found)))
    found += rng.choices(kinds, shares, k=count - len(found))
    rng.shuffle(found)
    return found


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path | None]:
    """A file system of that `size` at `folder`; None, and a plain folder, where none may be mounted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "soak", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
