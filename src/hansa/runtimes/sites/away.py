"""Away: why a server is not reached, and when it makes no sense to try again.

no name, no listener, no proxy, silence, a link that ended     it is tried again
on no roster in the kit                                        the same: a newer one may come
403, or a certificate of another federation                    RefusedError, exit code 3
away for longer than the patience                              DeadlineError, exit code 4

It is tried again after up to FIRST seconds, then up to twice as long each time; up to SOON at most
while the server was there a moment ago, since it starts again then, and up to LONGEST later. The
draw is uniform from 0 on, so that parties do not come back all at once.
"""

from __future__ import annotations

import aiohttp

from ...errors import DeadlineError, RefusedError
from ...kits.listed import UnlistedError

FIRST = 0.5  # seconds before the second try, at most
SOON = 3.0  # between two, at most, until it has been away for RECENT
RECENT = 120.0
LONGEST = 30.0  # between two, at most

PROXY = {  # what a proxy answers to CONNECT → why
    403: "the proxy does not let it pass",
    407: "the proxy wants to know user and password",
}


def longer(pause: float, away: float) -> float:
    """The longest pause after one of so many seconds. away: seconds since the server was there."""
    if away < RECENT:
        return min(SOON, 2 * pause)
    return min(LONGEST, 2 * pause)


def why_away(error: BaseException) -> str:
    """Why a server is not reached, in words that no server chooses."""
    if _unlisted(error):
        return "it is not on the roster in the kit that counts: ask for the newest, hansa kit add"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "nobody knows its name"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "nor is the proxy"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return PROXY.get(error.status, "the proxy does not reach it")
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return "the link has ended"


def in_words(error: BaseException) -> str:
    """What an error says, but for the URL of a proxy, in which a password may be."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answers {error.status} ({error.message})"
    return str(error)


def check_patience(seconds: float, patience: float) -> None:
    """DeadlineError where the server was not reached for too long.

    seconds: since it was there, or since the first try. patience: seconds; infinite for no end.
    """
    if seconds > patience:
        raise DeadlineError(
            f"The server was not reached for {seconds:.0f} seconds.",
            f"This party gives up after {patience:g}.",
            "Start it again when the server runs; it goes on where it was.",
        )


def check_lasting(error: BaseException) -> None:
    """RefusedError where no later try is any better: the same, but for a server that is not on the
    roster in the kit, which is read at each try.
    """
    if not _unlisted(error):
        check_refused(error)


def _unlisted(error: BaseException) -> bool:
    """Does the server not count on the roster in the kit?"""
    if not isinstance(error, aiohttp.ClientConnectorCertificateError):
        return False
    return isinstance(error.certificate_error, UnlistedError)


def check_refused(error: BaseException) -> None:
    """RefusedError where it makes no sense to try again: the server does not know this party, or
    is none of its federation.
    """
    if isinstance(error, aiohttp.WSServerHandshakeError) and error.status == 403:
        raise RefusedError(
            "The server does not take this party.",
            "Its certificate is on no roster that counts: it was never enrolled, has been renewed, "
            "or was revoked.",
            "Ask who runs the federation for the newest roster.",
        ) from error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        raise RefusedError(
            "The server's certificate does not count in this federation.",
            f"{str(error.certificate_error).rstrip('.')}.",
            "Ask who runs the federation for the newest roster, and look at the address in the "
            "kit; somebody may stand between.",
        ) from error
