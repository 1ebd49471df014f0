"""The cryptography under verified and masked sums: prime fields, expanded seeds, proofs on shares,
Prio3 and PINE; shared secrets, masks and boxes.

    field ← kernels     arithmetic mod p over whole arrays; the kernels are compiled by numba
    xof                 short seeds into long pseudorandom vectors
    flp ← circuits      fully linear proofs, and the statements that Prio3 proves with them
    vdaf                what Prio3 and PINE share: seeds, states, refusals
    prio3               verified counts, sums and histograms
    pine ← norms        verified sums of vectors of bounded Euclidean norm
    keys ← identity     keys of parties, and who they are
    shamir              secrets that some of many holders open together
    masks, sealing      what two parties add to their vectors, and what they tell each other alone

Nothing here is constant-time: Python, NumPy and numba give no such guarantee. What is compared with
a secret is compared by `hmac.compare_digest`; secrets come from `secrets`. Importing these modules
imports no numba.
"""
