"""100,000 messages without sense behind a valid certificate: the server lives, and its memory comes to a rest.

python -m tests.evidence.fuzz_sites        writes benchmarks/results/fuzz_sites.json
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import save
from tests.attacks.fuzzing import Fuzzer, resident
from tests.attacks.intruders import Attacked

MESSAGES, EVERY, GROWTH = 100_000, 20_000, 8.0  # how many, after how many memory is looked at, MiB in the last 60,000
REST = 45.0  # seconds after which nothing is left of a link that ended


def main(messages: int, every: int) -> int:
    """Say all of them, and see that somebody else is answered; 1 where not, or where memory grew."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        attacked = Attacked(Path(folder))
        fuzzer = Fuzzer(attacked, seed=1)
        began = time.perf_counter()
        found = asyncio.run(fuzzer.run(messages, every))
        seconds = time.perf_counter() - began
        time.sleep(REST)
        rest = round(resident(), 1)
        attacked.end(fuzzer.session)
        lives = asyncio.run(attacked.lives())
        attacked.gateway.close()
    row = {
        "messages": messages,
        "seconds": round(seconds, 1),
        **fuzzer.count,
        "every": every,
        "MiB": found,
        "MiB at rest": rest,
        "lives": lives,
    }
    sys.stdout.write(f"{row}\n")
    if messages == MESSAGES:
        save("fuzz_sites", [row])
    return int(not lives or rest - found[min(1, len(found) - 1)] > GROWTH)


if __name__ == "__main__":
    told = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(told or (MESSAGES, EVERY))))
