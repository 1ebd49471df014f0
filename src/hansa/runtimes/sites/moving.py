"""Moving: how who dials in fetches a blob and sends one, in parts that go on where a link broke."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp import ClientResponse, ClientSession

from ...codec import Frame
from .control import Blob
from .spool import PART, Spool

TRIES = 8  # of one answer, on one link


class GoneError(Exception):
    """What was asked is asked no more."""


class NonsenseError(Exception):
    """The server says what no server says: its link ends, and its party lives."""


async def fetch_part(http: ClientSession, url: str, blob: Blob, spool: Spool, **more: Any) -> None:
    """The next part of a blob, into the spool as it comes; GoneError where it is offered no more,
    NonsenseError for more than a part has, ClientError for less. more: of the request.
    """
    there = spool.there(blob)
    last = min(there + PART, blob.size) - 1
    headers = {"Range": f"bytes={there}-{last}", **more.pop("headers", {})}
    async with http.get(url, headers=headers, **more) as response:
        if response.status == 404:
            raise GoneError
        _check(response, "be fetched")
        with spool.appending(blob, there) as append:
            async for chunk in response.content.iter_any():
                there += len(chunk)
                if there > last + 1:
                    raise NonsenseError("The server sent more than a part has.")
                append(chunk)
    if there <= last:
        raise aiohttp.ClientError("a part came that is not whole")


async def send_parts(
    http: ClientSession, url: str, frames: list[Frame], blob: Blob, offset: int, **more: Any
) -> None:
    """Send a blob, which these frames hold, from where the server has it; what is not expected any
    more is not sent to its end. more: of the request.
    """
    tries = TRIES
    named = more.pop("headers", {})
    while offset < blob.size:
        part = _part(frames, offset)
        last = offset + part.getbuffer().nbytes - 1
        headers = {"Content-Range": f"bytes {offset}-{last}/{blob.size}", **named}
        async with http.put(url, data=part, headers=headers, **more) as response:
            if response.status in (404, 408):
                return
            if response.status == 409 and tries:
                tries -= 1
                offset = _offset(response)
                continue
            _check(response, "be sent")
            offset = last + 1


def _part(frames: list[Frame], offset: int) -> BytesIO:
    """The next part of these bytes, from the one at `offset` on."""
    part = BytesIO()
    for frame in frames:
        view = memoryview(frame)
        part.write(view[offset : offset + PART - part.tell()])
        offset = max(0, offset - len(view))
    part.seek(0)
    return part


def _offset(response: ClientResponse) -> int:
    """Up to which byte the server has an answer; ClientError where it does not say."""
    found = response.headers.get("Upload-Offset", "")
    if not re.fullmatch(r"[0-9]{1,19}", found):
        raise aiohttp.ClientError("it does not say where to go on")
    return int(found)


def _check(response: ClientResponse, what: str) -> None:
    """An error where the server does not take or give a part; it is tried again then."""
    if response.status >= 400:
        raise aiohttp.ClientError(f"a part could not {what} ({response.status})")
