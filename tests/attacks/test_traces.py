"""Traces of a server whose ε rests on nobody knowing who took part."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.attacks.intruders import Attacked
from tests.contracts.test_traces import a_round, collector, otel

import hansa as h

__all__ = ["otel"]  # skips where it is not installed

SECRET_SAMPLE = h.Plan(
    h.Softmax(4, 3),
    pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.GaussianNoise(1.0)),
    sample=h.Poisson(0.5, deadline=60),
)


@pytest.mark.promise("P566")
@pytest.mark.guards("of a secret sample there are no traces")
def test_of_a_secret_sample_there_are_no_traces(tmp_path: Path) -> None:
    from hansa.runtimes.sites.traces import Traces

    attacked = Attacked(tmp_path, SECRET_SAMPLE)
    with collector() as (url, received):
        with Traces.to(url) as traces:
            attacked.gateway.watch.traces = traces
            assert asyncio.run(a_round(attacked)) == ""
        attacked.gateway.close()
    assert received == []
