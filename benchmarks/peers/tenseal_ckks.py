"""CKKS by TenSEAL, as NVFlare encrypts updates: one key for all, N = 8192, moduli of 60, 40 and 40 bits.

For each line that it reads, a number of turns so far, it writes what one turn took: seconds of the processor to encrypt
and serialise d numbers, to add such a vector to another, and to open one; and its bytes.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import tenseal as ts


def main(d: int) -> None:
    """Answer until nothing more is asked."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    context.global_scale = 2.0**40
    v = np.random.default_rng(0).normal(size=d)
    for _ in sys.stdin:
        times = [time.process_time()]
        data = ts.ckks_vector(context, v).serialize()
        times.append(time.process_time())
        total = ts.lazy_ckks_vector_from(data)
        total.link_context(context)
        other = ts.lazy_ckks_vector_from(data)
        other.link_context(context)
        total += other
        times.append(time.process_time())
        found = total.decrypt()
        times.append(time.process_time())
        assert np.allclose(found, 2 * v, atol=1e-3)
        steps = dict(zip(("encrypt", "add", "open"), np.diff(times).tolist(), strict=True))
        print(json.dumps({**steps, "bytes": len(data)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
