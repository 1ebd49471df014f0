"""TensorBoard: an event file in the folder of the run, for `tensorboard --logdir runs`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import Rounds, Tracked, figures


@dataclass(frozen=True)
class TensorBoard:
    """Scores, ε and participation as scalars, the plan's settings as hyperparameters.

    folder: where; by default tensorboard/ in the folder of the run. It is written anew, so that a
    run that was resumed has each round once. TensorFlow is not needed, and not imported.
    """

    folder: str | Path | None = None

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Write an event for each round, which is on the disk when the next one comes."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = Path(self.folder or run.folder) / (run.id if self.folder else "tensorboard")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with open(folder / f"events.out.tfevents.{time.time():.0f}.hansa", "wb") as file:
            record = RecordWriter(file)

            def write(**what: Any) -> None:
                record.write(Event(wall_time=time.time(), **what).SerializeToString())
                file.flush()

            write(file_version="brain.Event:2")
            for summary in _about(run):
                write(summary=summary)
            for one in rounds:
                values = [{"tag": k, "simple_value": v} for k, v in figures(one).items()]
                write(step=one.round, summary={"value": values})


def _about(run: Tracked) -> Iterator[Any]:
    """What is told of the run itself: its hyperparameters."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.metadata import PLUGIN_NAME, SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = HParamsPluginData(version=0)
    for name, value in {"run": run.name, **run.parameters}.items():
        kind = "string_value" if isinstance(value, str) else "number_value"
        setattr(found.session_start_info.hparams[name], kind, value)
    plugin = {"plugin_name": PLUGIN_NAME, "content": found.SerializeToString()}
    about = SummaryMetadata(plugin_data=plugin)
    yield Summary(value=[{"tag": SESSION_START_INFO_TAG, "metadata": about}])
