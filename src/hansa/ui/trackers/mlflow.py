"""MLflow: a run of an experiment, on a tracking server or in a database."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

from . import Rounds, Tracked, figures

WAITS = (0.5, 2.0, 6.0)  # seconds before it is tried again
ENDED = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Mlflow:
    """Parameters and metrics of a run, in an experiment of MLflow's; a run that is resumed goes on
    as the one that it was there. MLflow tells its makers nothing of it.

    uri: of the server or database, else what MLflow itself takes from MLFLOW_TRACKING_URI.
    report: send the report at the end, too, which tells of clients and of this machine's paths.
    """

    uri: str | None = None
    experiment: str = "hansa"
    report: bool = field(default=False, compare=False)  # no other place

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Send each round as it comes, and the report at the end where it is wanted."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Metric, Param

        client, experiment = self._experiment()
        id, done = _begun(client, experiment, run)
        told = [Param(_name(k), str(v)) for k, v in run.parameters.items()]
        for i in range(0, 0 if done else len(told), 100):  # in one request; none changes
            client.log_batch(id, params=told[i : i + 100])
        for one in rounds:
            if one.round > done:
                at = (int(1000 * time.time()), one.round)
                client.log_batch(id, [Metric(_name(k), v, *at) for k, v in figures(one).items()])
        if self.report and run.report is not None:
            client.log_artifact(id, str(run.report))
        client.set_terminated(id, ENDED[rounds.ended])

    def _experiment(self) -> tuple[Any, str]:
        """A client of MLflow's, and the experiment's id there, which is made where there is none.

        Two processes may make database and experiment at one time, and one of them fails with an
        error of the database's: it then finds what the other has made.
        """
        for wait in WAITS:
            try:
                return self._made()
            except Exception:
                time.sleep(wait)
        return self._made()

    def _made(self) -> tuple[Any, str]:
        """The same, once."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri)
        if there := client.get_experiment_by_name(self.experiment):
            return client, there.experiment_id
        return client, client.create_experiment(self.experiment)


def _begun(client: Any, experiment: str, run: Tracked) -> tuple[str, int]:
    """The run as MLflow has it, called what it is called now, and how many of its rounds it holds.

    The number of rounds is a tag beside, for a resumed run may have another, and MLflow lets no
    parameter change.
    """
    from mlflow.entities import RunTag

    tags = {"hansa_run": run.id, "hansa_app": run.app, "hansa_plan": run.digest}
    tags |= {"hansa_rounds": str(run.planned)}
    tags |= {"tags": ", ".join(run.label.tags), "mlflow.note.content": run.label.note}
    for found in client.search_runs([experiment], f"tags.hansa_run = '{run.id}'"):
        client.update_run(id := found.info.run_id, "RUNNING", run.name)
        client.log_batch(id, tags=[RunTag(name, value) for name, value in tags.items()])
        return id, max([0, *(m.step for m in client.get_metric_history(id, "seconds"))])
    return client.create_run(experiment, None, tags, run.name).info.run_id, 0


def _name(name: str) -> str:
    """A name with what MLflow allows in one."""
    return re.sub(r"[^\w. :/-]", "_", name)
