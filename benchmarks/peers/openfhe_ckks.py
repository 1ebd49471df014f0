"""CKKS by OpenFHE: one key for all, N = 8192, two levels of 40 bits, 128-bit security by its own table.

For each line that it reads, a number of turns so far, it writes what one turn took: seconds of the processor to encrypt
d numbers, to add such a vector to another, and to open one; and its bytes.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import openfhe as fhe

SLOTS = 4096


def main(d: int) -> None:
    """Answer until nothing more is asked."""
    parameters = fhe.CCParamsCKKSRNS()
    parameters.SetMultiplicativeDepth(1)
    parameters.SetScalingModSize(40)
    parameters.SetRingDim(2 * SLOTS)
    parameters.SetBatchSize(SLOTS)
    context = fhe.GenCryptoContext(parameters)
    context.Enable(fhe.PKESchemeFeature.PKE)
    context.Enable(fhe.PKESchemeFeature.LEVELEDSHE)
    keys = context.KeyGen()
    v = np.random.default_rng(0).normal(size=d)
    parts = [v[i : i + SLOTS].tolist() for i in range(0, d, SLOTS)]
    for _ in sys.stdin:
        times = [time.process_time()]
        plain = [context.MakeCKKSPackedPlaintext(part) for part in parts]
        found = [context.Encrypt(keys.publicKey, one) for one in plain]
        data = [fhe.Serialize(one, fhe.BINARY) for one in found]
        times.append(time.process_time())
        total = [context.EvalAdd(one, one) for one in found]
        times.append(time.process_time())
        opened = [context.Decrypt(one, keys.secretKey) for one in total]
        times.append(time.process_time())
        first = np.array(opened[0].GetRealPackedValue()[: len(parts[0])])
        assert np.allclose(first, 2 * v[: len(parts[0])], atol=1e-3)
        steps = dict(zip(("encrypt", "add", "open"), np.diff(times).tolist(), strict=True))
        print(json.dumps({**steps, "bytes": sum(map(len, data))}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
