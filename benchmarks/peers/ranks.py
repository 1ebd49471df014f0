"""A program in several processes that find each other, as `torchrun` would start them; the first has our input.

python ranks.py PROCESSES PROGRAM …
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

processes, program = int(sys.argv[1]), [sys.executable, *sys.argv[2:]]
with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
os.environ |= {name: str(value) for name, value in (world | {"TORCHELASTIC_RUN_ID": 0}).items()}
for rank in range(1, processes):
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    subprocess.Popen(program, env=os.environ | place, stdin=subprocess.DEVNULL, stdout=2)
os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
os.execv(program[0], program)
