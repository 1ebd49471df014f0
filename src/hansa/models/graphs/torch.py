"""Steps over tensors that stay in their places, each replayed as one CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..fused.torch import log
from .recent import Recent

MOST, OFTEN = 16, 16  # graphs of one model; steps of one form and shape that are worth a capture
WARM = 3  # runs before a capture, as PyTorch's own make_graphed_callables has them


@dataclass(frozen=True)
class Ready:
    """A step, and the batch that it reads."""

    batch: list[Tensor]
    go: Callable[[], object]


class Graphs:
    """The CUDA graphs of one model's steps, in one pool of memory; on a CPU, or not `wanted`, there are none.

    None leaves anything in the pool that is read after it, and no two run at once, so all may share it in any order.
    `captured` counts the captures.
    """

    def __init__(self, device: torch.device, wanted: bool):
        self.device, self.captured = device, 0
        self._wanted = wanted and device.type == "cuda"
        self._kept: Recent[Ready] = Recent(MOST, OFTEN)
        self._side: torch.cuda.Stream | None = None

    def find(self, which: Hashable) -> Ready | None:
        """The step of that name, if it is captured."""
        return self._kept.find(which)

    def due(self, which: Hashable, steps: int) -> bool:
        """Is it worth a capture, with so many steps to come?"""
        return self._wanted and self._kept.due(which, steps)

    def capture(self, which: Hashable, step: Ready) -> Ready:
        """The step as a graph; as it is where it cannot be one, and the log says why, once for the model.

        It runs WARM times before: it must be at a point where that changes nothing.
        """
        with torch.cuda.device(self.device):
            if self._side is None:  # CUDA captures on no default stream, and one pool belongs to one stream
                self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                self._pool = torch.cuda.graph_pool_handle()
            main = torch.cuda.current_stream()
            self._side.wait_stream(main)
            try:
                with torch.cuda.stream(self._side):  # gives the stream back also where a capture breaks off
                    found = self._captured(step, self._side)
            finally:
                main.wait_stream(self._side)
        if isinstance(found, str):
            log.warning("Clients train at once without a CUDA graph: %s", found)
            self._wanted = False
            return step
        self.captured += 1
        self._kept.keep(which, found)
        return found

    def _captured(self, step: Ready, side: torch.cuda.Stream) -> Ready | str:
        """The graph, or why there is none; an error of the step itself is raised as it is."""
        for _ in range(WARM - 1):
            step.go()
        try:
            with _unsynchronised():  # found here, it leaves no broken capture behind
                step.go()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=side):
                step.go()
        except RuntimeError as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Ready(step.batch, graph.replay)


@contextmanager
def _unsynchronised() -> Iterator[None]:
    """An error where the CPU would wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(action="ignore"):  # that this way of looking does not find all
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
