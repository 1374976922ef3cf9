"""An event file for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from gradtape.runs.exporters._source import Source, needed


def write(source: Source, folder: Path) -> None:
    """Write a scalar ``channel/column`` per step; every event bears the time at which the run began."""
    with needed("tensorboard"):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    tags, time = source.tags(), source.started
    with open(folder / "events.out.tfevents.0.gradtape", "wb") as stream:
        events = RecordWriter(stream)
        events.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
        for channel in source.series.names():
            for column, series in source.columns(channel):
                tag = tags[channel, column]
                for step, value in zip(series.steps.tolist(), series.values[:, 0].tolist(), strict=True):
                    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                    events.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())
