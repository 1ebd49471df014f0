"""Real nodes without a server: the bytes of a simulation, over TLS, and after kills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.noding import Nodes


@pytest.mark.promise("P620")
def test_nodes_end_with_the_bytes_of_a_simulation(tmp_path: Path) -> None:
    with Nodes(tmp_path) as nodes:
        for who in nodes.names:
            nodes.start(who)
        for who in nodes.names:
            assert nodes.running[who].code() == 0, nodes.running[who].said
        expected = nodes.simulated()
        for who in nodes.names:
            assert np.array_equal(nodes.model(who), expected[who])
    assert len({v.tobytes() for v in expected.values()}) == 4
