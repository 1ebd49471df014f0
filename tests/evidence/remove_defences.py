"""Take each defence away, and see that the attacks on it succeed: a test that passes without its defence is a sham.

    python -m tests.evidence.remove_defences            all of them; writes benchmarks/results/defences.json
    python -m tests.evidence.remove_defences NAME …     some, to look at

The source is copied, one defence is taken out of the copy, and the tests that are marked with its name run on it in a
process of their own. Each test function must fail for one of its parameters at least, and by what it asserts: an error
on the way would also come from a copy that is merely broken.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from benchmarks.common import save
from tests.attacks.defence import Defence
from tests.attacks.defences import DEFENCES
from tests.marked import ROOT, marked

LIMIT = 900  # seconds that the tests of one defence may take
JOBS = min(2, os.cpu_count() or 1)  # defences at a time, each on a copy of its own
OUTCOMES, SOURCE, NAME = "HANSA_OUTCOMES", "HANSA_SOURCE", "HANSA_DEFENCE"  # what the process with the tests is told


def main(names: Sequence[str]) -> int:
    """Take these defences away, or all; how many shams there are."""
    if unknown := set(names) - DEFENCES.keys():
        raise SystemExit(f"No defence is called {', '.join(sorted(unknown))}.")
    chosen = [DEFENCES[name] for name in names] or list(DEFENCES.values())
    rows, free = list[dict[str, Any]](), SimpleQueue[Path]()
    with tempfile.TemporaryDirectory(prefix="hansa-defences-") as folder, ThreadPoolExecutor(JOBS) as pool:
        for job in range(JOBS):
            copy = Path(folder) / f"{job}" / "hansa"
            shutil.copytree(ROOT / "src" / "hansa", copy, ignore=shutil.ignore_patterns("__pycache__"))
            free.put(copy)
        if not names:
            _all_stand(copy)
        for some in pool.map(lambda defence: _on_one_of(free, defence), chosen):
            for row in some:
                rows.append(row)
                print(f"{row['outcome']:<24} {row['defence']}: {row['test'].split('::')[1]}  {row['by']}", flush=True)
    shams = [row for row in rows if row["outcome"] != "fails"]
    print(f"{len(rows)} attacks on {len(chosen)} defences, {len(shams)} shams")
    if not names:
        save("defences", rows)
    return len(shams)


def _all_stand(copy: Path) -> None:
    """With all defences every attack fails; else it would prove nothing that one succeeds without."""
    tests = sorted(set().union(*marked("guards").values()))
    found = _run(copy, tests)
    if wrong := [test for test in tests if set(found.get(test, ["did not run"])) != {"passed"}]:
        raise SystemExit(f"With all defences these tests do not pass: {', '.join(wrong)}")


def _on_one_of(free: SimpleQueue[Path], defence: Defence) -> list[dict[str, Any]]:
    """The same on a copy that nobody else works on."""
    copy = free.get()
    try:
        return list(_without(copy, defence))
    finally:
        free.put(copy)


def _without(copy: Path, defence: Defence) -> Iterator[dict[str, Any]]:
    """What each test that guards the defence says without it."""
    tests, begin = sorted(marked("guards")[defence.name]), time.monotonic()
    whole = {file: (copy / file).read_text(encoding="utf-8") for file, _, _ in defence.edits}
    for file, old, new in defence.edits:
        text = (copy / file).read_text(encoding="utf-8")
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    try:
        found = _run(copy, tests, defence)
    finally:
        for file, text in whole.items():
            (copy / file).write_text(text, encoding="utf-8")
    seconds = round(time.monotonic() - begin, 1)
    for test in tests:
        reply = found.get(test, ["did not run"])
        outcome = next((one for one in reply if one.startswith("fails")), "") or next(
            (one for one in reply if one != "passed"), "passes"
        )
        outcome, _, by = outcome.partition(": ")
        yield {
            "defence": defence.name,
            "file": defence.file,
            "test": test,
            "outcome": outcome,
            "by": by,
            "seconds": seconds,
        }


def _run(copy: Path, tests: Sequence[str], defence: Defence | None = None) -> dict[str, list[str]]:
    """Test → how it ended with each of its parameters, on the copy."""
    outcomes = copy.parent / "outcomes"
    outcomes.unlink(missing_ok=True)
    told = {OUTCOMES: str(outcomes), SOURCE: str(copy), NAME: defence.name if defence else "", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **told, "PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", __spec__.name, *tests]
    limit = LIMIT if defence else None
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {test: ["takes too long"] for test in tests}
    if not outcomes.exists():
        print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
        return {test: [f"pytest ends with {done.returncode}"] for test in tests}
    found = dict[str, list[str]]()
    for line in outcomes.read_text(encoding="utf-8").splitlines():
        test, outcome = json.loads(line)
        found.setdefault(test, []).append(outcome)
    return found


# ── in the process that runs the tests ──

_done = set[str]()  # functions that have failed as they must, whose other parameters need not run


def pytest_sessionstart() -> None:
    """The tests must be about the copy."""
    import hansa

    assert Path(hansa.__file__).parent == Path(os.environ[SOURCE])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only the parameters that attack this defence."""
    if (defence := DEFENCES.get(os.environ[NAME])) and defence.only:
        items[:] = [
            one for one in items if "[" not in one.nodeid or re.search(defence.only, one.nodeid.partition("[")[2])
        ]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """One failing parameter of a function is enough."""
    if _name(item) in _done:
        pytest.skip("it has failed already")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note how a test has ended, and whether by what it asserts."""
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, pytest.skip.Exception) or (error is None and call.when != "call"):
        return
    outcome = "passed" if error is None else _fault(error) if call.when == "call" else f"{call.when} fails"
    if outcome.startswith("fails: "):
        _done.add(_name(item))
    with Path(os.environ[OUTCOMES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([_name(item), outcome]) + "\n")


def _fault(error: BaseException) -> str:
    """Did the attack succeed: by an assertion, by a refusal that did not come, or by the end that it wants?"""
    if isinstance(error, BaseExceptionGroup):
        reply = [_fault(one) for one in error.exceptions]
        return next((one for one in reply if not one.startswith("fails")), reply[0])
    if str(error).startswith("Regex pattern did not match"):
        return "refused for another reason"
    defence, name = DEFENCES.get(os.environ[NAME]), type(error).__name__
    wanted = bool(defence) and re.fullmatch(defence.ends, name)
    if wanted or isinstance(error, AssertionError | pytest.fail.Exception):
        return f"fails: {' '.join(str(error).split())[:60]}"
    return f"ends with {name}"


def _name(item: pytest.Item) -> str:
    return item.nodeid.split("[")[0]


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
