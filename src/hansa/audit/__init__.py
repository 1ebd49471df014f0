"""Audit: what an attacker can do to a plan, measured by attacking it.

| attack | unit | the attacker knows | sees | and gives |
|---|---|---|---|---|
| `canaries` | client | all but the coins | each published mean | a lower bound on ε |
| `membership` | record | all but the coins | the final model | AUC, members at 1 % false alarms |
| `inversion` | record | plan, first weights, label, range | one update, or a sum | the record |
| `linear` | peer | the graph's weights | what its neighbours say | whose first values are open |

Each is a lower bound on what can be done. That an attack fails does not show that a plan is
private; that it succeeds shows that it is not.
"""

from .canary import Canaries, canaries
from .inversion import Inversion, inversion
from .linear import Linear, linear
from .membership import Membership, membership
from .report import ATTACKS, AuditReport, audit

__all__ = [
    "ATTACKS",
    "AuditReport",
    "Canaries",
    "Inversion",
    "Linear",
    "Membership",
    "audit",
    "canaries",
    "inversion",
    "linear",
    "membership",
]
