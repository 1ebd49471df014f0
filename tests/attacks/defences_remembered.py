"""Defences of what clients remember for transforms."""

from __future__ import annotations

from tests.attacks.defence import Defence

TOPK, TRANSFORMS, PLAN = "transforms/topk.py", "transforms/__init__.py", "plan/__init__.py"
NEVER = "if False:"

REMEMBERED = (
    Defence("what is owed stands before its bound", TOPK, "self.feedback and bool(bounded),", "False,", only="clip"),
    Defence("what is owed is not weighed", TOPK, "self.feedback and spec.weighed,", "False,", only="weight"),
    Defence("no noise is left out", TOPK, "bool(spec.noise.multiplier),", "False,", only="noise"),
    Defence("what is owed is owed in the same numbers", TOPK, "bool(spec.rotated),", "False,", only="rotation"),
    Defence("what is no number is not owed", TOPK, "if not np.isfinite(u).all():", NEVER),
    Defence(
        "who remembers a sample of fixed size amplifies nothing",
        "plan/checks.py",
        "if amplified and not amplified.rate and (found := remembering(plan)):",
        NEVER,
    ),
    Defence(
        "who remembers unasked amplifies nothing",
        "plan/client.py",
        "if client_state and amplified and not amplified.rate:",
        NEVER,
    ),
    Defence("many vectors have no memory of one", TRANSFORMS, "if at.remembered and not alone:", NEVER),
    Defence(
        "an algorithm sees nothing of a transform's memory",
        "plan/client.py",
        "for name, one in client_state.items() if name != PIPE}",
        "for name, one in client_state.items()}",
    ),
    Defence("an algorithm replaces no transform's memory", "plan/client.py", "if PIPE in client_state:", NEVER),
    Defence(
        "what a transform remembers is no model",
        "app/personal.py",
        "not client_state.keys() - {PIPE},",
        "not client_state,",
    ),
)
