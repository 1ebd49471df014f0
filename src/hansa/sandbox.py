"""A sandbox for code that is not ours: the kernel keeps it from network, files and other processes.

    Landlock   files: it reads what is named, and writes to one folder (landlock(7))
    seccomp    calls: no socket but a pair with itself, no process, no program, no signal to others,
               no rights or times of files changed, no namespace, no call that is newer than this,
               no hiding from who has started it
    limits     memory, files, no core dump, no privileges; it dies with who has started it

Calls that nobody needs who computes are refused (seccomp(2)), in these groups:

    processes and programs        fork, vfork, execve, execveat
    the network                   socket, connect, accept, accept4, bind, listen
    files on their way            sendmsg, sendmmsg: one in a message that nobody takes is no
                                  process's, and is not counted
    files that rules hold         Landlock's own calls, once it is entered: a rule keeps a file
                                  that is deleted, and nobody counts that
    other processes               tkill, ptrace, kcmp, process_vm_readv, process_vm_writev,
                                  pidfd_send_signal, pidfd_open, pidfd_getfd, process_madvise,
                                  process_mrelease
    their share of the machine    setpriority, sched_setparam, sched_setscheduler, sched_setattr,
                                  ioprio_set, setpgid, setsid
    what is shared by number      shared memory, semaphores and messages of SysV and POSIX
    rights of files               truncate, chmod, fchmod, fchmodat, fchmodat2, chown, fchown,
                                  lchown, fchownat
    times and attributes          utime, utimes, futimesat, utimensat; set, get, list and remove
                                  an attribute
    what happens to files         inotify, fanotify
    file systems                  mount and what mounts anew, chroot, setns, unshare
    the kernel                    bpf, perf_event_open, userfaultfd, io_uring, keys

All of it holds for every thread, and for good. So it is entered before there is a second thread,
and so this file is a program: it imports nothing of hansa's before.

    python sandbox.py '{"lives": "hansa.cli.worker", "end": 5, "reads": ["/usr"], …}'

It then lives as that module has it, with the link of that number.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

LANDLOCK = (444, 445, 446)  # create_ruleset, add_rule, restrict_self: on all machines
SECCOMP = 317
NO_NEW_PRIVS = 38  # of prctl(2)
DEATH_SIGNAL = 1
DUMPABLE = 4  # without it, who counts its files does not see which it has open
X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
NEWEST = 463  # system calls from here on are not known here

# what Landlock tells apart in a file system, a bit each; a newer one knows more of them
EXECUTE = 1 << 0
WRITE = 1 << 1
READ = 1 << 2
LIST = 1 << 3
DEVICES = 1 << 6 | 1 << 11  # to make them
SOCKETS = 1 << 9
TRUNCATE = 1 << 14
CONTROL = 1 << 15  # ioctl(2) of a device
KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}  # ABI → how many
OF_FILES = EXECUTE | WRITE | READ | TRUNCATE | CONTROL

# What a Python program and its libraries read of a system that holds no records.
SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt/rocm",
    "/etc/alternatives",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/driver",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/modules",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/version",
    "/sys/bus",
    "/sys/class",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/sys/module",
)
PLAIN = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GRAPHICS = ("nvidia*", "nvidia-caps", "dri", "kfd")

# x86_64: the groups above, by number
REFUSED = {
    "processes and programs": (57, 58, 59, 322),
    "the network": (41, 42, 43, 49, 50, 288),
    "files on their way": (46, 307),
    "files that rules hold": LANDLOCK,
    "other processes": (200, 101, 312, 310, 311, 424, 434, 438, 440, 448),
    "their share of the machine": (141, 142, 144, 314, 251, 109, 112),
    "what is shared by number": (29, 30, 31, 64, 65, 66, 220, 67, 68, 69, 70, 71, 240),
    "rights of files": (76, 90, 91, 268, 452, 92, 93, 94, 260),
    "times and attributes": (132, 235, 261, 280, *range(188, 200)),
    "what happens to files": (253, 254, 294, 300, 301),
    "file systems": (155, 161, 165, 166, *range(428, 434), 442, 272, 308),
    "the kernel": (321, 298, 323, 425, 426, 427, 248, 249, 250),
}
# clone3, openat2, close_range, with which a thread parts with the files of the others: who asks
# is told to take the older call; memfd_create, memfd_secret: a file in memory is not counted
MISSING = (435, 437, 436, 319, 447)
UNSUPPORTED = 285  # fallocate fills a disk in no time; without it the C library writes zeros
THREAD = 0x10000 | 0x400  # CLONE_THREAD and CLONE_FILES: files of its own would not be counted
OWN_SIGNALS = (62, 234, 129, 297)  # kill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo

ALLOW = 0x7FFF0000
KILL = 0x80000000
REFUSE = 0x00050000  # and an errno
LOAD = 0x20  # of BPF: a word of what was called
AND = 0x54
RETURN = 0x06
EQUAL = 0x15
AT_LEAST = 0x35
ANY = 0x45  # of these bits

Step = tuple[int, int, int, int]  # code, how far on where it is so and where not, a number


def fault() -> str:
    """Why there is no such sandbox on this machine; nothing where there is one."""
    if sys.platform != "linux":
        return f"it is made of what Linux has, and this is {sys.platform}"
    if platform.machine() != "x86_64":
        return f"the calls of x86_64 are known to it, and this machine is {platform.machine()}"
    if _abi() < 1:
        return "this kernel has no Landlock, or whoever started this process forbids it"
    return ""


def enter(reads: Iterable[str], writes: str) -> None:
    """Let this process, for good, read what is named and the system, write to one folder, and
    compute; a path that is not there is left out.

    OSError where the kernel refuses.
    """
    libc = _libc()
    _checked(libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
    _landlock(libc, [*SYSTEM, *reads], writes)
    _seccomp(libc)


def limit(memory: int, written: int, starter: int) -> None:
    """Die with who has started this, leave no core dump, have so many bytes of memory and of each
    file and no privileges, and be the first to go where the machine has none left.

    memory, written: 0 for no limit. OSError where the kernel refuses; ProcessLookupError where who
    has started it is gone already.
    """
    import resource

    libc = _libc()
    _checked(libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != starter:
        raise ProcessLookupError("who has started this has ended")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if written:
        resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    with suppress(OSError):  # which some containers do not have
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    header = struct.pack("<Ii", 0x20080522, 0)  # version 3, this process
    _checked(libc.capset(header, bytes(24)))


def _libc() -> ctypes.CDLL:
    """The system's C library, which keeps the number of an error."""
    return ctypes.CDLL(None, use_errno=True)


def _checked(found: int) -> int:
    """What a call gave; OSError where that is an error."""
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def _abi() -> int:
    """Which Landlock the kernel has; below 1 for none."""
    return int(_libc().syscall(LANDLOCK[0], None, ctypes.c_size_t(0), 1))


def _landlock(libc: ctypes.CDLL, reads: Iterable[str], writes: str) -> None:
    """All that Landlock knows of is refused, but for these."""
    handled = (1 << KNOWN.get(_abi(), 16)) - 1
    attributes = struct.pack("<Q", handled)
    size = ctypes.c_size_t(len(attributes))
    rules = _checked(libc.syscall(LANDLOCK[0], attributes, size, 0))
    devices = [str(path) for name in GRAPHICS for path in Path("/dev").glob(name)]
    every = handled & ~(DEVICES | SOCKETS | EXECUTE)
    for paths, rights in (
        (reads, READ | LIST),
        ([*PLAIN, *devices], READ | LIST | WRITE | CONTROL),
        ([writes], every),
    ):
        for path in paths:
            _allow(libc, rules, path, rights & handled)
    _checked(libc.syscall(LANDLOCK[2], rules, 0))
    os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Below a path this may be done; a path that is not there is left out."""
    try:
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    if not os.path.isdir(path):
        rights &= OF_FILES
    try:
        attributes = struct.pack("<Qi", rights, there)
        _checked(libc.syscall(LANDLOCK[1], rules, 1, attributes, 0))
    finally:
        os.close(there)


# ── calls ─────────────────────────────────────────────────────────────────────────────────────────


def _seccomp(libc: ctypes.CDLL) -> None:
    """No call but those of `_program`, in any thread."""
    steps = list(_program(os.getpid()))
    code = b"".join(struct.pack("<HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(steps), ctypes.addressof(held))
    _checked(libc.syscall(SECCOMP, 1, 1, program))  # a filter, for all threads


def _program(pid: int) -> Iterator[Step]:
    """The filter: a call's number, machine and arguments → whether it is made."""
    yield LOAD, 0, 0, 4
    yield EQUAL, 1, 0, X86_64
    yield RETURN, 0, 0, KILL
    yield LOAD, 0, 0, 0
    yield AT_LEAST, 0, 1, NEWEST
    yield RETURN, 0, 0, REFUSE | errno.ENOSYS
    for number in MISSING:
        yield from _where(number, [_refused(errno.ENOSYS)])
    yield from _where(UNSUPPORTED, [_refused(errno.EOPNOTSUPP)])
    for numbers in REFUSED.values():
        for number in numbers:
            yield from _where(number, [_refused()])
    for number in OWN_SIGNALS:
        yield from _where(number, _only(0, [pid]))
    yield from _where(302, _only(0, [0, pid]))  # prlimit64
    thread = [(AND, 0, 0, THREAD), (EQUAL, 1, 0, THREAD), _refused(), _made()]
    yield from _where(56, [_word(0), *thread])  # clone
    mortal = [(EQUAL, 0, 1, DEATH_SIGNAL), _refused()]
    seen = [(EQUAL, 0, 1, DUMPABLE), _refused()]
    yield from _where(157, [_word(0), *mortal, *seen, _made()])  # prctl
    # a pair of streams of its own; of other kinds one end could be sent elsewhere
    pair = [_word(0), (EQUAL, 1, 0, 1), _refused(), _word(1), (AND, 0, 0, 15)]
    yield from _where(53, [*pair, (EQUAL, 1, 0, 1), _refused(), _made()])
    # sendto, without an address
    yield from _where(44, [_word(4), (EQUAL, 0, 2, 0), (LOAD, 0, 0, 52), *_zero()])
    for number, flags in ((2, 1), (257, 2)):  # open, openat: O_TRUNC wants a right to write
        shorter = [_word(flags), (ANY, 1, 0, os.O_TRUNC), _made(), (ANY, 0, 1, os.O_ACCMODE)]
        yield from _where(number, [*shorter, _made(), _refused()])
    yield _made()


def _where(number: int, body: Sequence[Step]) -> Iterator[Step]:
    """What is looked at for one call; it ends with an answer."""
    yield EQUAL, 0, len(body), number
    yield from body


def _only(argument: int, values: Sequence[int]) -> list[Step]:
    """Made where an argument is one of these."""
    tests = [(EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_word(argument), *tests, _refused(), _made()]


def _zero() -> list[Step]:
    """Made where what was loaded is 0."""
    return [(EQUAL, 1, 0, 0), _refused(), _made()]


def _word(argument: int) -> Step:
    """The lower word of an argument."""
    return LOAD, 0, 0, 16 + 8 * argument


def _refused(number: int = errno.EPERM) -> Step:
    """The call fails with this number: of what is not allowed, where none is said."""
    return RETURN, 0, 0, REFUSE | number


def _made() -> Step:
    """The call goes on to the kernel."""
    return RETURN, 0, 0, ALLOW


# ── the program ───────────────────────────────────────────────────────────────────────────────────


def begin(told: dict[str, Any]) -> None:
    """Limit this process, enter the sandbox where one is wanted, and live there.

    told: "memory", "written" (bytes) and "starter" (a process) of `limit`, "isolated", "reads" and
    "writes" of `enter`, "lives" (a module with a function live) and "end" (the link's number).
    """
    limit(told["memory"], told["written"], told["starter"])
    if told["isolated"]:
        enter(told["reads"], told["writes"])
    importlib.import_module(told["lives"]).live(told["end"])


if __name__ == "__main__":
    sys.path[:] = [one for one in sys.path if one != os.path.dirname(os.path.abspath(__file__))]
    begin(json.loads(sys.argv[1]))
