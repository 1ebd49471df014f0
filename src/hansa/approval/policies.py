"""Policies: what the owner of the data allows, as a TOML file in the kit's folder.

Each entry is a field of `Policy`, and its own checks are those of the file.

    min_cohort = 3        no plan whose rounds may end with fewer clients
    epsilon = 4.0         of all runs on the data here, at
    delta = 1e-6

The file is kit/policy.toml, in mode 0600; who attends has read it once, at the start.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import private
from ..config import did_you_mean, inline
from ..errors import AppError, PlanError, StoreError
from ..parties.policy import Policy

FILE = "policy.toml"
ABOUT: Mapping[str, str] = {
    "min_cohort": "No plan whose rounds may end with fewer clients.",
    "max_rounds": "No plan with more rounds.",
    "sees": 'What a party other than you may see of your vector, at most: "sum", or "each".',
    "colluding": "So many of server and helpers may collude, and still see no more.",
    "stated": "Is a stranger's word believed for what its piece reveals or gives away?",
    "drawn": "Only plans that draw in public who is added with whom, so that no server chooses?",
    "min_noise": "No plan with less noise: its multiplier z.",
    "reports": "May losses and scores be told?",
    "epsilon": "What all runs on the data here may give away together, at most: ε at δ.",
    "delta": "δ of it.",
    "unit": 'Of whom: the whole "client", or one "example" of it.',
}
HEAD = """\
# What the owner of the data allows. `hansa join` reads it when it starts, and refuses each plan,
# and each run, that asks for more, whatever the server says.
"""


def text_of(policy: Policy) -> str:
    """The file, with a comment above each entry; one that allows all is commented out."""
    lines = [HEAD]
    for one in fields(policy):
        value = getattr(policy, one.name)
        entry = f'# {one.name} = "sum"'
        if value is not None:
            entry = f"{one.name} = {inline(value)}"
        lines.append(f"# {ABOUT[one.name]}\n{entry}\n")
    return "\n".join(lines)


def write_policy(path: Path, policy: Policy) -> None:
    """Put a policy at `path`; StoreError where there is a file."""
    if path.exists():
        raise StoreError(
            f"{path} is there already.",
            "What an owner allows is changed by its owner, and not written over.",
            "Edit it, or delete it first.",
        )
    private.write(path, text_of(policy).encode())


def read_policy(folder: Path) -> Policy | None:
    """The policy in a kit's folder; None where there is none.

    AppError for an entry that is none of a policy's, and for a value that bounds nothing;
    StoreError where others than its owner can read it.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found = tomllib.loads(private.read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AppError(
            f"{path} is not TOML: {error}.",
            "A policy has an entry on each line.",
            "Write a new one: hansa policy new kit/policy.toml",
        ) from None
    return _policy(path, found)


def _policy(path: Path, found: Mapping[str, Any]) -> Policy:
    """The policy of these entries; AppError names the file that they are from."""
    known = [one.name for one in fields(Policy)]
    unknown = [name for name in found if name not in known]
    if unknown:
        raise AppError(
            f"{path} has the entry {unknown[0]!r}.",
            f"A policy has {', '.join(known)}; what it does not know it would not hold.",
            did_you_mean(unknown[0], known),
        )
    try:
        return Policy(**found)
    except (PlanError, TypeError) as error:
        if isinstance(error, PlanError):
            raise AppError(f"{path}: {error.found}", error.why, error.instead) from None
        raise AppError(f"{path}: {error}.", "A value has the wrong type.", "Mend it.") from None
