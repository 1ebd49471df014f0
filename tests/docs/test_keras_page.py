"""The programs of the Keras page that want another backend than TensorFlow, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "keras.md"
PROGRAMS = re.findall(r"```py\n# KERAS_BACKEND=(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("backend, program", PROGRAMS, ids=[backend for backend, _ in PROGRAMS])
def test_single_examples_are_hidden_on_other_backends(backend: str, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_both_backends_are_shown() -> None:
    assert [backend for backend, _ in PROGRAMS] == ["jax", "torch"]
