"""MLflow: a run of an experiment, on a tracking server or in a database."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any

from . import Rounds, Tracked, figures

RUN = "hansa.run"  # the tag by which a resumed run is found again
ENDED = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
MOST = 100  # parameters in one request


@dataclass(frozen=True)
class Mlflow:
    """Parameters, metrics and the report of a run, in an experiment of MLflow's.

    uri: of the server or database, else what MLflow itself takes from MLFLOW_TRACKING_URI. A run
    that is resumed goes on as the one that it was there. MLflow tells its makers nothing of it.
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
        for i in range(0, 0 if done else len(told), MOST):
            client.log_batch(id, params=told[i : i + MOST])
        for one in rounds:
            if one.round > done:
                now = int(1000 * time.time())
                values = figures(one).items()
                client.log_batch(id, [Metric(_name(k), v, now, one.round) for k, v in values])
        if run.report is not None:
            client.log_artifact(id, str(run.report))
        client.set_terminated(id, ENDED[rounds.ended])

    def _begun(self, client: Any, run: Tracked) -> tuple[str, int]:
        """The run as MLflow has it, and how many of its rounds it holds."""
        there = client.get_experiment_by_name(self.experiment)
        experiment = there.experiment_id if there else client.create_experiment(self.experiment)
        for found in client.search_runs([experiment], f"tags.`{RUN}` = '{run.id}'"):
            client.update_run(found.info.run_id, status="RUNNING")
            seen = client.get_metric_history(found.info.run_id, "seconds")
            return found.info.run_id, max((one.step for one in seen), default=0)
        tags = {RUN: run.id, "hansa.plan": run.digest, "tags": ", ".join(run.label.tags)}
        tags |= {"mlflow.note.content": run.label.note, "mlflow.source.name": run.app}
        began = int(1000 * run.started.timestamp())
        begun = client.create_run(experiment, began, tags, run.name)
        return begun.info.run_id, 0


def _name(name: str) -> str:
    """A name with what MLflow allows in one."""
    return re.sub(r"[^\w. :/-]", "_", name)
