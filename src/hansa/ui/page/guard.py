"""Who is answered: GET alone, of this machine's own pages, or of who knows the token.

Any web page may let a browser ask 127.0.0.1, and by a name of its own that leads there (DNS
rebinding) read the answer. So a name that is no loopback's gets none, and a page of elsewhere gets
none. A server that others reach answers who has its token, and asks that of itself too: anybody can
write `Host: localhost`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

LOOPBACK = re.compile(r"(?i)(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")
COOKIE = "hansa-ui-{}"  # with the port, for a browser sends a host's cookies to all of its ports
TOKEN = web.AppKey("token", str)
HEADERS = {
    # nothing but what this server sends; no markup that came with a name could run or load
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "hansa",
}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guarded(request: web.Request, handler: Answer) -> web.StreamResponse:
    """The answer to who may have one; HTTP's own words to others.

    405 for what is not GET, 421 for another name, 403 for a page of elsewhere, 401 without the
    token. None of them has read anything of the store.
    """
    if request.method != "GET":
        raise web.HTTPMethodNotAllowed(request.method, ["GET"])
    token = request.app.get(TOKEN)
    if token is None and not _own_name(request):
        raise web.HTTPMisdirectedRequest(text="This page is for http://127.0.0.1 and localhost.")
    if _of_elsewhere(request):
        raise web.HTTPForbidden(text="No page of elsewhere is answered.")
    if token is not None and not _same(request.cookies.get(_cookie(request), ""), token):
        return _let_in(request, token)
    return await handler(request)


async def head(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer says to the browser, errors too; but for what is no HTTP, which aiohttp
    refuses itself, in plain text.
    """
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = HEADERS["Server"]


def _own_name(request: web.Request) -> bool:
    """Was this machine asked by a name that no page of elsewhere has?"""
    hosts = request.headers.getall("Host", [])
    return len(hosts) == 1 and LOOPBACK.fullmatch(hosts[0]) is not None


def _of_elsewhere(request: web.Request) -> bool:
    """Does a page of another origin ask, and not a person that follows a link?"""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if request.headers.get("Sec-Fetch-Mode") == "navigate":
        return False
    return site not in ("none", "same-origin")


def _let_in(request: web.Request, token: str) -> web.Response:
    """Who brings the token gets a cookie, and the page without it in its address."""
    if not _same(request.query.get("token", ""), token):
        raise web.HTTPUnauthorized(text="Write ?token=… behind the address, as hansa ui has shown.")
    found = web.HTTPSeeOther(f"/{request.path.lstrip('/')}")  # of here: //host/ is elsewhere
    found.set_cookie(_cookie(request), token, httponly=True, samesite="Lax")
    raise found


def _cookie(request: web.Request) -> str:
    """Its name, which no server at another port has."""
    _, port, *_ = request.get_extra_info("sockname", ("", 0))
    return COOKIE.format(port)


def _same(given: str, token: str) -> bool:
    """Is it the token? How long that takes tells nothing of it."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())
