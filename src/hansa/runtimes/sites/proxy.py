"""Proxy: what stands between a site and its server, where nobody gets out otherwise.

A site says CONNECT to it, and inside speaks TLS with its server: the proxy sees a name, a port and
how many bytes pass. Which one it is says the owner, or the environment as for other programs.

    --proxy URL                                 this one
    --proxy ''                                  none
    HTTPS_PROXY, unless NO_PROXY has the host   that one; both may be in small letters
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ...errors import AppError
from ...kits.names import host_and_port


def proxy_to(address: str, named: str | None) -> str | None:
    """The proxy on the way to a server, as a URL; None for none.

    address: of the server. named: by the owner; None leaves it to the environment. AppError for
    what is no URL of a proxy, without showing it: a password may be in it.
    """
    found = named
    host, _ = host_and_port(address)
    if found is None and not proxy_bypass(host):
        found = getproxies().get("https")
    if not found:
        return None
    if "://" not in found:
        found = f"http://{found}"
    if not _is_http(found):
        raise AppError(
            "The proxy, from --proxy or HTTPS_PROXY, is no URL of an HTTP proxy.",
            "A site says CONNECT to it, which SOCKS does not know.",
            "Write it as http://proxy.example.org:3128, or http://USER:PASSWORD@HOST:PORT.",
        )
    return found


def _is_http(url: str) -> bool:
    """Is it the URL of something that speaks HTTP, with a host, and with a port that can be?"""
    try:
        found = urlsplit(url)
        return found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        return False
