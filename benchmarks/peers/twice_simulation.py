"""The plain loop twice at once, in two processes that share nothing but the machine: what its second core can give.

python twice_simulation.py SETTING

A round is one of each, and takes as long as the slower.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PLAIN = [sys.executable, str(Path(__file__).with_name("plain_simulation.py")), sys.argv[1], "1"]

both = [subprocess.Popen(PLAIN, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
for line in sys.stdin:
    for one in both:
        assert one.stdin
        one.stdin.write(line)
        one.stdin.flush()
    first, second = (json.loads(one.stdout.readline()) for one in both if one.stdout)
    if "seconds" in first:
        first["seconds"] = [max(pair) for pair in zip(first["seconds"], second["seconds"], strict=True)]
    print(json.dumps(first), flush=True)
for one in both:
    assert one.stdin
    one.stdin.close()
    one.wait()
