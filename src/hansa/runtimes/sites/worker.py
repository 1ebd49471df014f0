"""Worker: the process that runs an approved app, as the agent sees it that has started it.

    agent                         kit, book, policy, link: no code of the app's is imported here
      │ a pair of sockets
    worker                        the app, its model, the data: no key, no network (hansa.sandbox)

It is started with the copy of the app that was approved, unpacked anew, and with a folder of its
own that goes with it. It holds nothing that is needed twice: where it ends, another one is started
for the next question. What its code prints is put into the agent's log, line by line, and no more
than is read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ... import errors, native, sandbox
from ...approval.approvals import APPS, check_approved
from ...approval.bundle import Bundle, fresh, unpacked
from ...errors import AppError, HansaError, ProtocolError, WorkerError, printable
from .quota import Limits, Quota
from .talk import receive, send

log = logging.getLogger("hansa.sites")

LIFE = "hansa.cli.worker"  # what it runs
SCRATCH = "scratch"  # in a kit: the folders of workers
GRACE = 2.0  # seconds to end in order
ANSWER = 2**26  # bytes of an answer beside its vectors
WORDS = 4000  # letters of what a worker says of an error
SHOWN = 2**16  # bytes of what it prints, for one question
LINE = 2**12
# what is passed on of the environment: how to compute, and nothing that names a person or a key
PASSED = ("OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "KMP_", "CUDA_", "CUBLAS_", "NVIDIA_", "XLA_",
          "JAX_", "KERAS_", "TF_", "TORCH_", "LC_")  # fmt: skip
NAMED = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "PYTHONHASHSEED")
ERRORS = ("PlanError", "DataError", "PolicyError", "ProtocolError", "RestartedError", "RoundError",
          "AppError")  # fmt: skip


@dataclass(frozen=True)
class Workplace:
    """Where and for whom a worker works.

    bundle: the app. kit: the folder that holds its approval. config: what is other than the app
    says. data: a client's; None for a helper. reads: what else it may read. limits: what
    it may have of the machine. isolated: is it kept in a sandbox?
    """

    bundle: Bundle
    kit: Path
    who: str
    config: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None
    reads: tuple[Path, ...] = ()
    limits: Limits = Limits()
    isolated: bool = True

    def check(self) -> None:
        """AppError where there is no sandbox here, or one that would show the worker the kit."""
        if not self.isolated:
            return
        if why := sandbox.fault():
            raise AppError(
                "Approved code cannot be kept from the keys and the network here.",
                f"It would run in a sandbox, and {why}.",
                "Take Linux 5.13 or later on x86_64, with Landlock; or read the app as you would a "
                "program that you install, and write --no-isolation.",
            )
        for path in self.named():
            if not path.exists():
                raise AppError(
                    f"There is nothing at {path}.",
                    "What the app's code may read is said before it runs.",
                    "Put it there, or name another path.",
                )
        kit = self.kit.resolve()
        for path in (*self.readable(), *map(Path, sandbox.SYSTEM)):
            there = path.resolve()
            if kit == there or there in kit.parents:
                raise AppError(
                    f"The kit lies in {path}, which the app's code may read.",
                    "It would read the keys.",
                    "Put the kit elsewhere, or the data into a folder of its own.",
                )

    def readable(self) -> list[Path]:
        """What the app's code may read beside the system, the app and its own folder."""
        return [*map(Path, _python()), *self.named()]

    def named(self) -> list[Path]:
        """What its owner has named for it."""
        if self.data is None:
            return list(self.reads)
        return [self.data, *self.reads]


class Worker:
    """A worker, started when it is first asked; one question at a time.

    AppError where it cannot work there.
    """

    def __init__(self, place: Workplace):
        place.check()
        self.place = place
        self.life = 0  # how many were started
        self._number = 0
        self._held: contextlib.ExitStack | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._printed = _Printed()
        self._quota = Quota(place.limits)

    @property
    def pid(self) -> int:
        """Of the process; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def begin(self) -> None:
        """See that there is one, which has loaded the app; what keeps it from that is raised."""
        if self._process is not None and self._process.poll() is not None:
            log.warning("%s", self._ended().found)  # nothing was asked of it
        if self._process is None:
            self._start()

    def ask(self, what: str, most: int = ANSWER, **fields: Any) -> Any:
        """What it answers, in so many bytes at most.

        What it says of an error is raised as that, DataError and the like; WorkerError where its
        code fails otherwise, where it ends, and where it says what is no answer.
        """
        self.begin()
        return self._ask({"what": what, **fields}, most)

    def close(self) -> None:
        """End it, and delete its folder."""
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
            self._link.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
            self._process.kill()
            self._process.wait()
        if self._held is not None:
            self._held.close()
        self._held = None
        self._process = None
        self._link = None

    def _start(self) -> None:
        """Start one: with the app as it was approved, unpacked anew."""
        check_approved(self.place.kit, self.place.bundle, Path(self.place.bundle.app))
        self._held = contextlib.ExitStack()
        kit = self.place.kit.absolute()  # its working folder is another
        app = self._held.enter_context(unpacked(self.place.bundle, kit / APPS))
        scratch = self._held.enter_context(fresh(kit / SCRATCH))
        _carry_programs(scratch)
        self._link, its = socket.socketpair()
        with its:
            told = self._told(app, scratch, its.fileno())
            self._process = subprocess.Popen(
                [sys.executable, str(Path(sandbox.__file__).resolve()), json.dumps(told)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=_environment(scratch),
                pass_fds=[its.fileno()],
                process_group=0,  # Ctrl-C is for the agent, which ends its worker itself
            )
        assert self._process.stdout is not None
        self._printed.follow(self._process.stdout)
        self._quota.watch(self._process, scratch)
        self.life += 1
        self._ask(
            {
                "what": "app",
                "app": str(app),
                "config": dict(self.place.config),
                "who": self.place.who,
                "data": None if self.place.data is None else str(self.place.data.absolute()),
            },
            ANSWER,
        )

    def _told(self, app: Path, scratch: Path, end: int) -> dict[str, Any]:
        """What the program of a sandbox is told."""
        reads = [app.parent, *self.place.readable()]
        return {
            "lives": LIFE,
            "starter": os.getpid(),
            "end": end,
            "isolated": self.place.isolated,
            "memory": self.place.limits.memory,
            "written": self.place.limits.written,
            "reads": [str(path.absolute()) for path in reads],
            "writes": str(scratch),
        }

    def _ask(self, message: dict[str, Any], most: int) -> Any:
        """One question and its answer."""
        assert self._link is not None
        self._number += 1
        self._printed.left = SHOWN
        try:
            send(self._link, self._number, message)
            found = receive(self._link, most)
        except OSError:
            found = None
        except ProtocolError as error:
            raise self._nonsense(error.found) from error
        if found is None:
            raise self._ended()
        number, said = found
        if number != self._number:
            raise self._nonsense("It answers what was not asked.")
        match said:
            case {"answer": answer, **more} if not more:
                return answer
            case {"error": str(name), "words": [str(what), str(why), str(instead)]}:
                raise _error(name, (what, why, instead))
        raise self._nonsense("It is no answer.")

    def _ended(self) -> WorkerError:
        """What is raised where the process has ended; the next question starts another one."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)  # the link ends a little before the process
        how = self._quota.passed or _how(self._process.poll())
        self.close()
        return WorkerError(
            f"The worker of {self.place.who} {how}.",
            "It runs the app's code; what was asked is not answered.",
            "Another one is started for the next question. Look at what it has printed, how much "
            "memory it may have, and how much it may write: --memory, --scratch.",
        )

    def _nonsense(self, found: str) -> WorkerError:
        """What is raised where a worker says what none of hansa's says; it is ended."""
        self.close()
        return WorkerError(
            f"The worker of {self.place.who} has said what no worker says, and was ended. {found}",
            "Code of the app has written where hansa's own writes.",
            "Look at the app.",
        )


def numbers(size: int) -> int:
    """Bytes of an answer with vectors of so many numbers: sixteen of them, and what is beside."""
    return ANSWER + 16 * 8 * size


@dataclass
class _Printed:
    """What a worker's code prints: a line in the log for each, and for one question no more than
    SHOWN bytes.
    """

    left: int = SHOWN

    def follow(self, pipe: IO[bytes]) -> None:
        """Read to the end, in a thread of its own, so that nobody waits who prints."""
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(LINE):
                if self.left <= 0:
                    continue
                self.left -= len(line)
                text = printable(line.decode(errors="replace")).rstrip()
                log.info("app: %s", text)
                if self.left <= 0:
                    log.warning("app: what else it prints now is not shown")


def _error(name: str, words: tuple[str, str, str]) -> HansaError:
    """What a worker says of an error, as that error."""
    kind: type[HansaError] = WorkerError
    if name in ERRORS:
        kind = getattr(errors, name)
    return kind(*(printable(one[:WORDS]) for one in words))


def _how(code: int | None) -> str:
    """How a process has ended, as a clause."""
    if code is None:
        return "answers no more"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"has ended with the code {code}"


def _python() -> Iterator[str]:
    """Where Python's own modules are, those that are installed, and hansa."""
    yield from dict.fromkeys([sys.prefix, sys.base_prefix, sys.exec_prefix])
    yield from dict.fromkeys(sysconfig.get_paths().values())
    yield from _paths()


def _paths() -> list[str]:
    """Where modules are looked for beside Python's own: hansa's folder, and what the user names.

    The working folder is none of them, which Python puts there by itself.
    """
    ours = str(Path(native.__file__).resolve().parents[2])
    named = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    installed = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    added = [one for one in sys.path[1:] if one.endswith(("site-packages", "dist-packages"))]
    return list(dict.fromkeys(os.path.abspath(one) for one in (ours, *named, *installed, *added)))


def _environment(scratch: Path) -> dict[str, str]:
    """What a worker knows of the agent's environment."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in NAMED or name.startswith(PASSED)
    }
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(scratch))
    more = {"PYTHONPATH": os.pathsep.join(_paths()), "PYTHONUNBUFFERED": "1"}
    return {**passed, **homes, **more, "MPLCONFIGDIR": str(scratch)}


def _carry_programs(scratch: Path) -> None:
    """Put hansa's native programs where a worker finds them, who starts no compiler.

    They are compiled here, once, where PyTorch is there and a compiler is.
    """
    if find_spec("torch") is None or not native.compiler():
        return
    from ...models.dense import loaded

    if isinstance(loaded(), str):
        return
    there = scratch / "hansa" / "programs"
    there.mkdir(mode=0o700, parents=True)
    for program in native.folder().glob("*.so"):
        shutil.copyfile(program, there / program.name)
        (there / program.name).chmod(0o700)
