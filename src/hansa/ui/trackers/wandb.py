"""Weights & Biases: a run in the folder of the run, to be sent when somebody says so."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from . import Rounds, Tracked, figures

QUIET: dict[
    str, Any
] = {  # what the library would tell beside: the machine's name and load, its packages, code
    "host": "-",
    "silent": True,
    "console": "off",
    "disable_git": True,
    "save_code": False,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


@dataclass(frozen=True)
class Wandb:
    """Config and metrics of a run, for Weights & Biases.

    mode: "offline" writes to the folder of the run, and `wandb sync` sends it; by default what
    WANDB_MODE says, or else offline. Of the machine it tells the system and Python's version.
    report: send the report at the end, too, which tells of clients and of this machine's paths.
    """

    project: str = "hansa"
    mode: Literal["online", "offline"] | None = field(default=None, compare=False)
    report: bool = field(default=False, compare=False)  # no other place

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Log each round as it comes; where it is wanted, the report as an artefact at the end."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = self.mode or os.environ.get("WANDB_MODE", "offline")
        there = wandb.init(
            project=self.project,
            id=run.id,
            name=run.name,
            tags=run.label.tags,
            notes=run.label.note,
            config={**run.parameters, "app": run.app, "digest": run.digest},
            dir=run.folder,
            resume="allow",
            reinit="create_new",  # several runs of a process may go on at one time
            mode=mode,
            settings=wandb.Settings(**QUIET),
        )
        for one in rounds:
            if one.round >= there.step:
                there.log(figures(one), step=one.round)
        if self.report and run.report is not None:
            there.log_artifact(run.report, f"report-{run.id}", "report")
        there.finish(exit_code=int(rounds.ended == "failed"))
