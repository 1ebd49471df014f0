"""MLflow: a run of an experiment, on a tracking server or in a database."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any

from . import Rounds, Tracked, figures

ENDED = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Mlflow:
    """Parameters, metrics and the report of a run, in an experiment of MLflow's; a run that is
    resumed goes on as the one that it was there. MLflow tells its makers nothing of it.

    uri: of the server or database, else what MLflow itself takes from MLFLOW_TRACKING_URI.
    """

    uri: str | None = None
    experiment: str = "hansa"

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Send each round as it comes, and the report at the end."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri)
        id, done = self._begun(client, run)
        told = [Param(_name(k), str(v)) for k, v in run.parameters.items()]
        for i in range(0, 0 if done else len(told), 100):  # in one request; none changes
            client.log_batch(id, params=told[i : i + 100])
        for one in rounds:
            if one.round > done:
                at = (int(1000 * time.time()), one.round)
                client.log_batch(id, [Metric(_name(k), v, *at) for k, v in figures(one).items()])
        if report := run.report:
            client.log_artifact(id, str(report))
        client.set_terminated(id, ENDED[rounds.ended])

    def _begun(self, client: Any, run: Tracked) -> tuple[str, int]:
        """The run as MLflow has it, and how many of its rounds it holds."""
        there = client.get_experiment_by_name(self.experiment)
        experiment = there.experiment_id if there else client.create_experiment(self.experiment)
        for found in client.search_runs([experiment], f"tags.hansa_run = '{run.id}'"):
            client.update_run(id := found.info.run_id, "RUNNING")
            return id, max([0, *(m.step for m in client.get_metric_history(id, "seconds"))])
        tags = {"hansa_run": run.id, "hansa_app": run.app, "hansa_plan": run.digest}
        tags |= {"tags": ", ".join(run.label.tags), "mlflow.note.content": run.label.note}
        return client.create_run(experiment, None, tags, run.name).info.run_id, 0


def _name(name: str) -> str:
    """A name with what MLflow allows in one."""
    return re.sub(r"[^\w. :/-]", "_", name)
