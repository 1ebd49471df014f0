"""Models: what a site keeps of the global model, as it was told last in each run.

    kit/models/RUN      plan, round, what a survey found, and what all clients were told

It is what every client of the round was told, and no secret. It goes when the run is left.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...codec import read, write
from ...errors import AppError, ProtocolError
from ...messages import Request
from ...private import settle
from ...spec import Vector

FOLDER = "models"


@dataclass(frozen=True)
class Told:
    """What was told in a round of a run, by the digest of its plan."""

    run: str
    plan: str
    round: int  # rounds done before
    found: Any = field(repr=False)
    broadcast: dict[str, Vector] = field(repr=False)


class Models:
    """The models that a site was told, in a kit's folder."""

    def __init__(self, kit: Path):
        self.folder = kit / FOLDER

    def keep(self, request: Request, found: Any) -> None:
        """Put what a question tells in the place of what was told before in its run."""
        match request.broadcast:
            case (dict(vectors), *_):
                pass
            case _:
                return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(request.session.run)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            write(file, (request.session.run, request.plan, request.round, found, vectors))
        os.replace(part, path)
        settle(self.folder)

    def of(self, run: str) -> Told:
        """What was told last in a run; AppError where nothing was, or it is damaged."""
        path = self._path(run)
        try:
            name, plan, round, found, vectors = read(path)
        except (OSError, ProtocolError, ValueError, TypeError) as error:
            raise AppError(
                f"There is no model of the run {run[:8]}… here.",
                "A site keeps what it was told when it was asked to train.",
                "Take part in a round first; hansa kit show kit/ lists the runs.",
            ) from error
        if name != run or not isinstance(vectors.get("x"), np.ndarray):
            raise AppError(f"{path} is no model of the run {run[:8]}….")
        return Told(name, plan, round, found, vectors)

    def drop(self, run: str) -> None:
        """Keep nothing of a run any more."""
        self._path(run).unlink(missing_ok=True)

    def _path(self, run: str) -> Path:
        """Where that of a run lies; a run's id is 32 hexadecimal digits, whatever a server says."""
        return self.folder / "".join(c for c in run if c.isalnum())[:64]
