"""`hansa doctor`: what is installed, and what this machine has.

    machine      hansa, Python, system, cores, memory, compiler
    extras       for each the versions that are there, or how to install it
    backends     which accelerators PyTorch and JAX see, where they are installed

Nothing is written, and nothing leaves this machine.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from .. import __version__
from .options import command

# an extra of the package → what it brings, by the name under which it is installed
EXTRAS = {
    "torch": ("torch",),
    "keras": ("keras", "tensorflow-cpu"),
    "jax": ("jax",),
    "sklearn": ("scikit-learn",),
    "xgboost": ("xgboost-cpu",),
    "privacy": ("dp-accounting",),
    "ray": ("ray",),
    "postgres": ("psycopg",),
    "metrics": ("scikit-learn", "torchmetrics", "lifelines"),
    "sites": ("aiohttp", "msgspec", "cryptography", "prometheus-client"),
    "ui": ("aiohttp",),
    "otel": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny",),
    "wandb": ("wandb",),
    "pdf": ("fpdf2", "uharfbuzz"),
    "driving": ("highway-env", "gymnasium"),
    "verified": ("cryptography", "numba", "pycryptodome"),
}


@command
def doctor() -> None:
    """Say what is installed, and what this machine has; nothing is changed.

    Example: hansa doctor
    """
    from rich.table import Table

    from ..ui.terminal import out

    table = Table.grid(padding=(0, 2))
    for name, value in (*_machine(), *_extras(), *_backends()):
        table.add_row(name, value)
    out().print(table)


def _machine() -> Iterator[tuple[str, str]]:
    """What runs, and on what."""
    from .. import native

    yield "hansa", __version__
    yield "python", f"{platform.python_version()}, {sys.executable}"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "cores", f"{_cores()} of {os.cpu_count()} for this process"
    if memory := _memory():
        yield "memory", f"{memory:.1f} GiB"
    yield "compiler", " ".join(native.compiler()) or "none: dense networks train without it"


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> float:
    """GiB of memory; 0 where the system does not say."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return 0.0
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _extras() -> Iterator[tuple[str, str]]:
    """Each extra: the versions that are installed, or how to install it."""
    for extra, packages in EXTRAS.items():
        found = {name: _version(name) for name in packages}
        if all(found.values()):
            yield extra, ", ".join(f"{name} {version}" for name, version in found.items())
        else:
            missing = ", ".join(name for name, version in found.items() if not version)
            how = f"pip install 'hansa[{extra}]', or '.[{extra}]' in hansa's own folder"
            yield extra, f"{missing} is not installed: {how}"


def _version(package: str) -> str:
    """The version of an installed package; nothing where it is not installed."""
    from importlib import metadata  # here, so that --help is quick

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _backends() -> Iterator[tuple[str, str]]:
    """Which accelerators the libraries see that are there."""
    for library in ("torch", "jax"):
        if find_spec(library) is not None:
            devices = import_module(f"..models.{library}.devices", __package__)
            yield f"{library} on", devices.named()
