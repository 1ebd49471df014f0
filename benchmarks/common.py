"""What all benchmarks share: where public data lies, what machine this is, and how results are kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PACKAGES = ("hansa", "numpy", "scipy", "scikit-learn", "torch", "jax")

DATA = Path(os.environ.setdefault("HANSA_DATA", str(ROOT.parent / "shared" / "data")))  # read by hansa.datasets too


def shared(name: str) -> Path:
    """The folder of one public data set: in $HANSA_DATA, or in shared/data beside the repository."""
    if not (DATA / name).is_dir():
        raise SystemExit(f"No public data {name!r} in {DATA}: set HANSA_DATA to the folder that holds it.")
    return DATA / name


def machine() -> dict[str, Any]:
    """What a number depends on beside the code: processor, cores, memory, and the versions of what computed it."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := _version(name))},
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
    }


def save(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `rows`, with machine, commit and date, to benchmarks/results/NAME.json; whole or not at all."""
    result = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "machine": machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    part = RESULTS / f".{name}.part"
    part.write_text(_text(result, rows), encoding="utf-8")
    return part.replace(RESULTS / f"{name}.json")


def _text(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """JSON with a line for each row, so that a diff shows what has changed."""
    head = json.dumps(result, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain) for row in rows)
    return head + ',\n "rows": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON knows them."""
    return value.tolist()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit of the code; a plus sign where the code has changed since."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "src", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+" * bool(changed)


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
