"""Signatures with a key to agree with, which prove that its holder has it: XEdDSA.

    a = the scalar of an X25519 key,  A = the point of Edwards' curve that is its public key
    R = r·B,  h = SHA-512(R ‖ A ‖ message),  s = r + h·a mod L,  signature = R ‖ s
                                                                        (Perrin 2016, §2)

A signature verifies as Ed25519's. `r` is the scalar of an Ed25519 key that is made for the one
signature, and half of all scalars are none of such a key: made for a few requests in the life of a
key, and for nothing that signs often.
"""

from __future__ import annotations

import hashlib

from ..crypto.keys import P, PrivateKey, SigningKey, agreeable, verify

L = 2**252 + 27742317777372353535851937790883648493  # points in the group of B


def prove(key: PrivateKey, message: bytes) -> bytes:
    """64 bytes that only the holder of this key can make for this message."""
    once = SigningKey.fresh()
    r = _scalar(hashlib.sha512(once.secret).digest())
    a = _scalar(key.secret)
    point = _edwards(key.public)
    h = int.from_bytes(hashlib.sha512(once.public + point + message).digest(), "little")
    proofs = [once.public + ((r + h * one) % L).to_bytes(32, "little") for one in (a, -a)]
    (proof,) = [one for one in proofs if verify(point, message, one)]  # that of the point's sign
    return proof


def proven(public: bytes, message: bytes, proof: bytes) -> bool:
    """Has the holder of this X25519 key made the proof for this message?"""
    return agreeable(public) and verify(_edwards(public), message, proof)


def _scalar(secret: bytes) -> int:
    """What 32 bytes multiply a point by: a multiple of 8 (RFC 7748, §5)."""
    return (int.from_bytes(secret[:32], "little") & (2**254 - 8)) | 2**254


def _edwards(public: bytes) -> bytes:
    """y = (u - 1)/(u + 1), of the two points with this u the one that is written without a sign."""
    u = int.from_bytes(public, "little") % 2**255
    y = (u - 1) * pow(u + 1, -1, P) % P
    return y.to_bytes(32, "little")
