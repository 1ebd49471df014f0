"""Loops: generators of states.

The caller's `for` body is the callback; stop is `break`, resume is to pass a `State`.
"""

from .buffered import buffered as buffered
from .channel import Runtime as Runtime
from .synchronous import synchronous as synchronous
