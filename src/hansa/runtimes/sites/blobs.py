"""Blobs: what travels beside the messages, at the server's end, by HTTP.

    part_of, read     a part of an answer, from its Content-Range into a spool
    stream            a blob, or the Range of it that is asked for
    under_way         how much of that one party may do at a time

Nothing is held in memory but the piece that is just moving, and what is more than was said ends.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from aiohttp import web

from ...errors import ProtocolError
from .control import Blob
from .posts import Post, Posts
from .spool import PART

PIECE = 2**18  # bytes that are read at once
REQUESTS = 8  # for blobs, of one party at a time
RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


@contextlib.contextmanager
def under_way(post: Post) -> Iterator[None]:
    """Count a party's request for a blob while it lasts; HTTPTooManyRequests for too many."""
    if post.requests >= REQUESTS:
        raise web.HTTPTooManyRequests
    post.requests += 1
    try:
        yield
    finally:
        post.requests -= 1


async def stream(
    request: web.Request, path: Path, blob: Blob, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The part of a file that is asked for, or all; asyncio itself sends tiny pieces over TLS."""
    asked = request.http_range
    start = asked.start or 0
    stop = min(asked.stop or blob.size, blob.size)
    if not 0 <= start < stop:
        raise web.HTTPRequestRangeNotSatisfiable
    whole = stop - start == blob.size
    response = web.StreamResponse(status=200 if whole else 206, headers=headers)
    response.content_length = stop - start
    response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    response.etag = blob.sha256
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        await response.prepare(request)
        while start < stop and (piece := file.read(min(PIECE, stop - start))):
            await response.write(piece)
            start += len(piece)
    return response


def asked_for(request: web.Request, blob: Blob) -> int:
    """How many bytes of a blob a party wants; 0 where what it wants is no range."""
    try:
        return len(range(*request.http_range.indices(blob.size)))
    except ValueError:
        return 0


def part_of(request: web.Request, blob: Blob) -> tuple[int, int]:
    """Where a part begins, and how long it is; HTTPBadRequest where it is no part of the blob."""
    found = RANGE.fullmatch(request.headers.get("Content-Range", ""))
    if found is None:
        raise web.HTTPBadRequest(text="Content-Range: bytes first-last/size")
    first, last, size = map(int, found.groups())
    if size != blob.size or not first <= last < size or last - first >= PART:
        raise web.HTTPBadRequest(text="no part of what was announced")
    return first, last - first + 1


async def read(
    request: web.Request, posts: Posts, post: Post, blob: Blob, start: int, length: int
) -> None:
    """Put a part into the spool, as it comes; HTTPBadRequest where it is longer than it says, and
    ProtocolError where another one has begun since.
    """
    post.upload = request
    read = 0
    with post.spool.appending(blob, start) as append:
        async for chunk in request.content.iter_any():
            read += len(chunk)
            if read > length:
                raise web.HTTPBadRequest(text="longer than its range")
            if posts.expected(post.who, blob.sha256) is None:
                raise web.HTTPNotFound
            if post.upload is not request:
                raise ProtocolError("A later upload of the answer has begun.")
            append(chunk)
