"""What keeps approved code from its party's keys, the network and its agent; and how each line reads without."""

from __future__ import annotations

from tests.attacks.defence import Defence

NEVER = "if False:"
BOX, WORKER, TALK = "sandbox.py", "runtimes/sites/worker.py", "runtimes/sites/talk.py"
QUOTA = "runtimes/sites/quota.py"

WORKERS = (
    Defence("a worker has no network", BOX, '"the network": (41, 42, 43, 49, 50, 288)', '"the network": ()'),
    Defence(
        "a worker's pair of sockets leads nowhere else",
        BOX,
        "    yield from _where(53, [*pair, (EQUAL, 1, 0, 1), _refused(), _made()])\n",
        "",
        also=(('"files on their way": (46, 307)', '"files on their way": ()'),),
    ),
    Defence(
        "no file is on its way between a worker's own sockets",
        BOX,
        '"files on their way": (46, 307)',
        '"files on their way": ()',
    ),
    Defence("no thread parts with the files of the others", BOX, "MISSING = (435, 437, 436,", "MISSING = (435, 437,"),
    Defence(
        "garbage ends its worker",
        WORKER,
        "except ProtocolError as error:",
        "except ZeroDivisionError as error:",
        ends="ProtocolError",
    ),
    Defence("a worker reads no key", BOX, "    _landlock(libc, [*SYSTEM, *reads], writes)\n", ""),
    Defence("a worker writes to its own folder alone", BOX, "(reads, READ | LIST),", "(reads, every),"),
    Defence(
        "a worker opens no file to others",
        BOX,
        '"rights of files": (76, 90, 91, 268, 452, 92, 93, 94, 260)',
        '"rights of files": ()',
    ),
    Defence("a kit is not shown as data", WORKER, "if kit == there or there in kit.parents:", NEVER),
    Defence("a worker signals nobody", BOX, "    for number in OWN_SIGNALS:\n", "    for number in ():\n"),
    Defence("a worker limits nobody", BOX, "    yield from _where(302, _only(0, [0, pid]))  # prlimit64\n", ""),
    Defence("a worker is one process", BOX, "    yield from _where(56, [_word(0), *thread])  # clone\n", ""),
    Defence("a worker knows little of its agent", WORKER, "        if name in NAMED or name.startswith(PASSED)\n", ""),
    Defence(
        "a worker has so much memory",
        BOX,
        "        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))\n",
        "        pass\n",
    ),
    Defence(
        "a worker's file has an end",
        BOX,
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))\n",
        "        pass\n",
    ),
    Defence(
        "a worker does not hide what it has open",
        BOX,
        "yield from _where(157, [_word(0), *mortal, *seen, _made()])",
        "yield from _where(157, [_word(0), *mortal, _made()])",
    ),
    Defence("a worker's threads have the same files", BOX, "THREAD = 0x10000 | 0x400", "THREAD = 0x10000"),
    Defence(
        "who hides from its agent is ended",
        QUOTA,
        "HIDING = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)",
        "HIDING = ()",
        also=(("times < BLIND", "True"),),
        ends="TimeoutExpired",
    ),
    Defence(
        "what a path cannot say is not hidden",
        QUOTA,
        "HIDING = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)",
        "HIDING = (errno.EACCES, errno.EPERM)",
        also=(("times < BLIND", "True"),),
        only="further",
    ),
    Defence(
        "what is mapped and not open is not hidden",
        QUOTA,
        "if hidden := mapped.keys() - {one.st_ino for one in held}:",
        NEVER,
        only="page",
    ),
    Defence(
        "a name is not two lines",
        QUOTA,
        'maps").read_bytes().split(b"\\n")',
        'maps").read_bytes().splitlines()',
        only="re",
    ),
    Defence(
        "a folder is looked at as the kernel names it",
        QUOTA,
        "    folder = folder.resolve()  # as the kernel names it\n",
        "",
    ),
    Defence(
        "where nobody looks any more a worker is ended",
        QUOTA,
        "except Exception as error:  # where",
        "except OSError as error:  # where",
        ends="TimeoutExpired",
        only="error0",
    ),
    Defence("who is not seen for long is ended", QUOTA, "times < BLIND", "True", ends="TimeoutExpired", only="error1"),
    Defence("a folder has so many names", QUOTA, "if len(held) > NAMES:", NEVER),
    Defence("no rule holds a file", BOX, '"files that rules hold": LANDLOCK', '"files that rules hold": ()'),
    Defence(
        "a disk is not filled at once", BOX, "    yield from _where(UNSUPPORTED, [_refused(errno.EOPNOTSUPP)])\n", ""
    ),
    Defence("a worker's folder has an end", QUOTA, "if most.written and found > most.written:", NEVER),
    Defence("a worker's shared memory has an end", QUOTA, "if most.memory and found > most.memory:", NEVER),
    Defence(
        "what a worker prints has an end",
        WORKER,
        "                if self.left <= 0:\n                    continue\n",
        "",
    ),
    Defence("what a worker says has an end", TALK, "if length > most:", NEVER),
    Defence("a worker answers what was asked", WORKER, "if number != self._number:", NEVER),
    Defence(
        "a plan is described by hansa's own pieces",
        "plan/pieces.py",
        "if _room(module) not in ROOMS or not kind.isidentifier():",
        NEVER,
    ),
    Defence("a secret that an app names is not taken", "runtimes/sites/agent.py", "if not self.repeats:", NEVER),
    Defence(
        "a worker dies with its agent", BOX, "    _checked(libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))\n", ""
    ),
)
