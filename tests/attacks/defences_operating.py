"""Defences of operations: what logs and metrics tell, what a process leaves, which backups count."""

from __future__ import annotations

from tests.attacks.defence import Defence

WATCH, STORE, KIT = "runtimes/sites/watch.py", "store/backup.py", "runtimes/sites/backup.py"
NEVER = "if False:"

OPERATING = (
    Defence("metrics are for this machine", "cli/operating.py", 'LOOPBACK = "127.0.0.1"', 'LOOPBACK = "0.0.0.0"'),
    Defence(
        "who was in a secret sample is not told",
        "runtimes/sites/__init__.py",
        "gateway.watch.hidden = plan.encoded_spec.hidden",
        "gateway.watch.hidden = False",
    ),
    Defence(
        "of a secret sample there are no traces",
        WATCH,
        "            return None\n        return self.traces",
        "            pass\n        return self.traces",
    ),
    Defence("a log has no words of a party", "runtimes/sites/greeting.py", 'return "invalid"', "return str(error)"),
    Defence(
        "no core dump has a key",
        "private.py",
        "    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n",
        "    assert resource\n",
    ),
    Defence("what is written is for its owner", "private.py", "os.umask(0o077)", "os.umask(0o022)"),
    Defence(
        "no debugger reads a key",
        "private.py",
        "ctypes.CDLL(None, use_errno=True).prctl(DUMPABLE, 0, 0, 0, 0)",
        "ctypes.CDLL(None, use_errno=True).prctl(DUMPABLE, 1, 0, 0, 0)",
    ),
    Defence(
        "a backup is checked before it is put back",
        "backups.py",
        "if name not in listed or not path.is_file() or digest_of(path) != listed[name]:",
        NEVER,
    ),
    Defence("a store is checked on the way", STORE, "if found != sha256:", NEVER),
    Defence(
        "a run that is held is not put back",
        STORE,
        'if files.held(store.folder / run / "lock"):',
        NEVER,
        also=(("if lock is None:", NEVER), ("held.enter_context(closing(lock))", "lock and lock.close()")),
    ),
    Defence("a run from before a backup is void", KIT, '(f"INSERT INTO void SELECT run, {now} FROM runs", ()),', ""),
    Defence(
        "a forgotten run counts as begun", "runtimes/sites/site.py", "known.count(plan) + restored", "known.count(plan)"
    ),
    Defence(
        "a restored kit draws anew",
        KIT,
        "        private.write(part / SECRET, secrets.token_bytes(LENGTH))\n",
        "        assert secrets and private and LENGTH\n",
    ),
    Defence(
        "a kit is backed up at one moment",
        KIT,
        'file.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;")',
        "pass",
        also=(("_copy_book(held[path], target)", "copy(path, target)"),),
    ),
)
