"""The fork server: a fresh interpreter that imports once what workers need; they are its forks.

It runs no code of the user's, computes nothing and has one thread, so that no lock, pool or GPU is
inherited; what it has imported lies in memory once for all. Where that cannot be, its children are
fresh interpreters.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from glob import glob
from typing import Any

import numpy as np

from .worker import work

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# TensorFlow and PyArrow (in scikit-learn) start threads
IMPORTED = ("hansa.models.torch", "hansa.models.jax")
START = "from hansa.runtimes.processes.forkserver import live; live()"
FRESH = "from hansa.runtimes.processes.worker import work; work({})"
GRACE = 0.5  # seconds to end the workers in order


class ForkServer:
    """The process that starts the workers of a model, and outlives them.

    Each has the other end of one of `links`; that of `link` is the server's own, on which it is
    asked how workers have ended, and whose end is its own.
    """

    def __init__(self, model: Any, workers: int):
        found = (one.__module__ for one in type(model).__mro__ if one.__module__ in IMPORTED)
        module = ""
        if sys.platform == "linux":
            module = next(found, "hansa.runtimes.processes.worker")
        pairs = [socket.socketpair() for _ in range(1 + workers)]
        self.link, *self.links = (ours for ours, _ in pairs)
        ends = [its.fileno() for _, its in pairs]
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, module, *map(str, ends)],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a client's code prints is not what the program says
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=ends,
            process_group=0,  # Ctrl-C is for the program, which ends its workers itself
        )
        for _, its in pairs:
            its.close()

    def code(self, worker: int) -> int | None:
        """How this worker has ended: an exit code, or −1 times a signal's number.

        None where the server has ended, too, and so nobody knows.
        """
        with suppress(BrokenPipeError, ConnectionResetError):
            self.link.send(struct.pack("<i", worker))
            if answer := self.link.recv(4):
                return int(struct.unpack("<i", answer)[0])
        return None

    def end(self) -> int:
        """End all workers, what they have started, and the fork server; its own exit code.

        They have GRACE seconds to end in order, and are killed then.
        """
        # not a process that the program forked
        if self._process.returncode is None and self._owner == os.getpid():
            try:
                with suppress(OSError):  # it may have ended, be stopped, or still import
                    self.link.shutdown(socket.SHUT_WR)
                    self.link.settimeout(GRACE)
                    # nothing, once no worker is left: not every system waits for what others leave
                    self.link.recv(4)
            finally:
                with suppress(PermissionError, ProcessLookupError):  # nobody is left
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()  # only now may another group get its number
        return self._process.returncode or 0


def live() -> None:
    """The life of a fork server, and of each worker after it.

    Its arguments are the module to import, or "" where workers are to be fresh interpreters, and
    the numbers of its own end and of the workers' ends of the links.
    """
    # a program may ignore it, and then nobody can be waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    module, own, *ends = sys.argv[1], *map(int, sys.argv[2:])
    if module:
        importlib.import_module(module)
        # a fork has none of the others, and the locks that they hold
        if len(glob("/proc/self/task/*")) != 1:
            os.execv(sys.executable, [sys.executable, "-c", START, "", *sys.argv[2:]])
        gc.collect()
        gc.freeze()  # a collection would write to every object, and so copy it
    pids = []
    while ends:
        end = ends.pop(0)
        others = (own, *ends)
        if module:
            pid = os.fork()
        else:
            pid = fresh(end, others)
        if pid == 0:
            for other in others:
                os.close(other)
            # it was seeded at import, and code of the user's may draw from it
            np.random.seed()  # noqa: NPY002
            work(end)
        os.close(end)
        pids.append(pid)
    wait(socket.socket(fileno=own), pids)


def fresh(end: int, others: tuple[int, ...]) -> int:
    """Start a worker that inherits nothing but its end of a link; its process id."""
    actions = [(os.POSIX_SPAWN_CLOSE, other) for other in others]
    command = [sys.executable, "-c", FRESH.format(end)]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)


def wait(program: socket.socket, pids: list[int]) -> None:
    """Say how workers have ended, when asked; end with the program, and all that are left first."""
    codes = dict[int, int]()  # a process can be waited for once
    with suppress(ConnectionResetError, BrokenPipeError):
        while asked := program.recv(4):
            (worker,) = struct.unpack("<i", asked)
            if worker not in codes:
                codes[worker] = os.waitstatus_to_exitcode(os.waitpid(pids[worker], 0)[1])
            program.send(struct.pack("<i", codes[worker]))
    left = [pid for worker, pid in enumerate(pids) if worker not in codes]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    for pid in left:
        os.waitpid(pid, 0)
    os.killpg(0, signal.SIGKILL)  # what workers have started, and this process
