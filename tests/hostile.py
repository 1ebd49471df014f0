"""An app that was approved, and that tries all that code could try beside a party's keys; and its worker, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hansa.approval.approvals import approve
from hansa.approval.packing import pack
from hansa.errors import DataError
from hansa.runtimes.sites.worker import Worker, Workplace

APP = '''
import ctypes, json, mmap, os, resource, signal, socket, struct, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
import hansa

LINK = next(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")
            and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"))
HERE = Path(__file__).parent


def call(port):
    with socket.create_connection(("127.0.0.1", port), 5) as there:
        there.sendall(b"a record")


def datagram(path):
    one, _ = socket.socketpair(type=socket.SOCK_DGRAM)
    one.sendmsg([b"a record"], [], 0, path)


def write(path):
    with open(path, "a") as file:
        file.write("x")


def read_bytes(path):
    return open(path, "rb").read().decode("latin-1")


def shorten(path):
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def stay():
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)


def more_memory(size):
    return len(bytearray(size))


def old_call():
    """A socket by the system calls of 32 bits, whose numbers are others."""
    return ctypes.CDLL(None).syscall(0x40000000 + 41, 2, 1, 0)


def in_a_thread(port):
    found = []
    def work():
        try:
            found.append(call(port))
        except OSError as error:
            found.append(error)
    one = threading.Thread(target=work)
    one.start()
    one.join()
    if isinstance(found[0], OSError):
        raise found[0]


def fill(files, size, how):
    """Files of so many bytes, with a name or without; and wait for what comes of it."""
    kept = []
    one, other = socket.socketpair()
    for i in range(files):
        file = open(f"fill-{i}", "w+b")
        file.write(os.urandom(size))
        file.flush()
        if how == "in flight":
            socket.send_fds(one, [b"x"], [file.fileno()])
        else:
            kept.append(mmap.mmap(file.fileno(), 0) if how == "mapped" else file)
        if how != "named":
            os.unlink(f"fill-{i}")
        if how in ("mapped", "in flight"):
            file.close()
    time.sleep(20)


def reserve(size):
    """Room for a file: of the kernel's own call, and of the C library's."""
    with open("reserved", "wb") as file:
        found = ctypes.CDLL(None).fallocate(file.fileno(), 0, ctypes.c_long(0), ctypes.c_long(size))
        os.posix_fallocate(file.fileno(), 0, size)
    return [found, os.path.getsize("reserved")]


def peep(files, size):
    """Files that are deleted and closed, of each of which one page is mapped."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    for i in range(files):
        with open(f"peep-{i}", "w+b") as file:
            file.write(os.urandom(size))
            file.flush()
            libc.mmap(None, 4096, 1, 1, file.fileno(), 0)
        os.unlink(f"peep-{i}")
    time.sleep(20)


def dig(files, size, depth, name="d" * 200):
    """Files in folders within folders; of long names, further down than a path can say."""
    for _ in range(depth):
        os.mkdir(name)
        os.chdir(name)
    for i in range(files):
        Path(f"dug-{i}").write_bytes(os.urandom(size))
    time.sleep(20)


def share(size):
    """Memory that is said to be shared with other processes, of which there are none."""
    with mmap.mmap(-1, size) as shared:
        for i in range(0, size, 4096):
            shared[i] = 1
        time.sleep(20)


def garbage(data):
    os.write(LINK, bytes.fromhex(data))
    time.sleep(1)
    os._exit(0)


def say(number, value):
    from hansa import codec
    data = codec.dumps(value)
    os.write(LINK, struct.pack("<QQ", number, len(data)) + data)


TRIES = {
    "call": call,
    "in a thread": in_a_thread,
    "32 bits": old_call,
    "local": lambda path: socket.socket(socket.AF_UNIX).connect(path),
    "datagram": datagram,
    "read": read_bytes,
    "list": lambda path: sorted(os.listdir(path)),
    "write": write,
    "shorten": shorten,
    "truncate": lambda path: os.truncate(path, 0),
    "chmod": lambda path: os.chmod(path, 0o777),
    "rename": lambda path: os.rename(path, path + ".gone"),
    "unlink": os.unlink,
    "fork": stay,
    "spawn": lambda: subprocess.run(["/bin/true"], check=True),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda: os.kill(os.getppid(), 0),
    "limits": lambda *both: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, both),
    "immortal": lambda: ctypes.CDLL(None).prctl(1, 0, 0, 0, 0),
    "apart": lambda: ctypes.CDLL(None).syscall(56, 0x10900, 0, 0, 0, 0),
    "apart later": lambda: ctypes.CDLL(None).syscall(436, 10_000, 10_001, 2),
    "share": share,
    "peep": peep,
    "rules": lambda: ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1),
    "reserve": reserve,
    "dig": dig,
    "memfd": lambda: ctypes.CDLL(None).syscall(319, b"x", 0),
    "hidden": lambda: ctypes.CDLL(None).prctl(4, 0, 0, 0, 0),
    "traced": lambda: ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0),
    "starter": lambda name: read_bytes(f"/proc/{os.getppid()}/{name}"),
    "environ": lambda word: word in read_bytes("/proc/self/environ") + json.dumps(dict(os.environ)),
    "files": lambda: len(os.listdir("/proc/self/fd")),
    "memory": more_memory,
    "fill": fill,
    "far": lambda place: os.pwrite(os.open("far", os.O_CREAT | os.O_WRONLY), b"x", place),
    "print": lambda lines: print("x" * 1000 + "\\n", end="") or [print("y" * 1000) for _ in range(lines)][:0],
    "print without end": lambda size: sys.stdout.write("z" * size) and None,
    "die": lambda number: os.kill(os.getpid(), number),
    "exit": lambda: os._exit(7),
    "hang up": lambda: (os.close(LINK), Path("hung").touch(), time.sleep(600)),
    "garbage": garbage,
    "say": say,
    "where": lambda: [os.getcwd(), os.environ["HOME"], str(HERE), os.getpid()],
}


def read(path):
    """What was tried, and what came of it, as an error: this is no data."""
    asked = json.loads(Path(path).read_text())
    try:
        found = TRIES[asked["try"]](*asked["with"])
    except BaseException as error:
        found = {"error": type(error).__name__, "errno": getattr(error, "errno", None)}
    raise ValueError("found" + json.dumps(found))


app = hansa.App(hansa.Plan(hansa.Softmax(3, 2), sample=hansa.Everyone(deadline=9)), hansa.Sites(read, "*.json"))
'''
REFUSED = ({"error": "PermissionError", "errno": 1}, {"error": "PermissionError", "errno": 13})


AGENT = """
import sys
from pathlib import Path
from hansa.runtimes.sites import worker
from tests.hostile import Hostile

worker.GRACE = 60  # it does not end it by itself
made = Hostile(Path(sys.argv[1]))
made.tries("immortal")
print(made.worker.pid, flush=True)
made.tries("hang up")
"""  # of which the worker lives on without a link


class Hostile:
    """A kit's folder with a secret in it, and a worker that runs the app above."""

    def __init__(self, folder: Path, **more: Any):
        self.kit = folder / "kit"
        self.kit.mkdir(mode=0o700)
        self.secret = self.kit / "secret"
        self.secret.write_text("forty-two")
        self.data = folder / "data.json"
        self.data.touch()
        (folder / "app.py").write_text(APP)
        bundle = pack(folder / "app.py")
        approve(self.kit, bundle, "officer")
        self.worker = Worker(Workplace(bundle, self.kit, "north", data=self.data, **more))
        self.plan = self.worker.ask("about")["plan"]

    def tries(self, what: str, *words: Any) -> Any:
        """What came of it: what it found, or the error in its way."""
        self.data.write_text(json.dumps({"try": what, "with": words}))
        asked: Mapping[str, Any] = {"plan": self.plan, "found": None, "read": b"", "hash": False}
        try:
            return self.worker.ask("data", **asked)
        except DataError as error:
            return json.loads(error.found.partition("found")[2])
