"""Identities of real sites: keys and requests at a party, and an authority that answers them.

hansa enroll          at the party: makes keys and a request, prints its words
hansa provision       at the authority: begins a federation, or answers a request
hansa kit add, show   at the party: makes its folder a kit, and looks at it

    party                                          authority
    enroll   writes keys, secret, request.pem
             request.pem     ──── e-mail ────▶     provision --sign
             words           ─── telephone ──▶     --words
             answer          ◀─── e-mail ─────     writes the answer, and the next roster.json
             words           ◀── telephone ───     of the federation
    kit add  writes certificate, roster, kit.toml

Each ends with 2 where a file is not what it should be, words are others, or they are not given and
nobody can be asked.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AppError
from .options import command, commands
from .there import policy_of, print_plainly

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..kits import Kit

kit = typer.Typer(help="Make a party's kit whole, and look at it.")
commands.add_typer(kit, name="kit")

KitFolder = Annotated[
    Path, typer.Argument(metavar="KIT", help="The folder of a kit.", show_default=False)
]
Pki = Annotated[
    Path, typer.Option(metavar="DIR", help="The folder of the authority.", show_default=False)
]
Words = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS", help="The words that were heard by telephone.", show_default=False
    ),
]


@command
def enroll(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of the kit.", show_default=False)
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the party is called.", show_default=False),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE", help="client, helper, server, gateway or peer.", show_default=False
        ),
    ] = None,
    listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Where a peer is dialled by others.", show_default=False
        ),
    ] = "",
    renew: Annotated[
        bool, typer.Option("--renew", help="Ask for a new certificate for this kit.")
    ] = False,
) -> None:
    """Make a party's keys, where it is, and a request to be enrolled.

    No private key leaves the folder. The words that are printed are read to the operator by
    telephone; with --renew none are needed, since the keys that are on the roster sign.

    Example: hansa enroll --name north --role client --out kit/
    """
    from ..crypto.identity import ROLES
    from ..kits.enrol import REQUEST, enrol
    from ..kits.words import words
    from ..ui.terminal import out as console

    if renew:
        _renew(out, bool(name or role), listen)
        return
    if name is None or role not in ROLES:
        raise AppError(
            f"--name {name or '(nothing)'} and --role {role or '(nothing)'} name no party.",
            f"A party has a name, and one of the roles {', '.join(ROLES)}.",
            f"Write for example hansa enroll --name north --role client --out {out}.",
        )
    if (role == "peer") != bool(listen):
        raise AppError(
            f"--listen {listen or '(nothing)'} does not go with --role {role}.",
            "A peer, and nobody else, names where others dial it.",
            f"Write hansa enroll --name {name} --role peer --listen HOST:PORT --out {out}.",
        )
    request = enrol(out, name, role, listen)  # type: ignore[arg-type]
    console().print(words(request.message), style="bold")
    told = "Send it to the operator, and read them these words by telephone."
    console().print(f"wrote {out / REQUEST}. {told}", soft_wrap=True)


def _renew(out: Path, named: bool, listen: str) -> None:
    """Ask for a new certificate; AppError where the command names the party anew."""
    from ..kits.enrol import REQUEST, renew
    from ..ui.terminal import out as console

    if named:
        raise AppError(
            "--renew takes neither --name nor --role.",
            "A kit keeps its name and role.",
            f"Write hansa enroll --renew --out {out}.",
        )
    renew(out, listen)
    told = f"wrote {out / REQUEST}. Send it to the operator; its old keys have signed it."
    console().print(told, soft_wrap=True)


@command
def provision(
    out: Annotated[
        Path,
        typer.Option(metavar="PATH", help="The new folder, or the answer.", show_default=False),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FEDERATION.toml", help="Who takes part.", show_default=False),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="REQUEST", help="Answer this request.", show_default=False),
    ] = None,
    pki: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The authority that answers it.", show_default=False),
    ] = None,
    words: Words = None,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="What you mean the newcomer to be.")
    ] = "client",
) -> None:
    """Make an authority, and kits for all parties that its file lists; or let one answer a request.

    A request is answered when its party has read its words, which a renewal does not need. The
    words of the federation are read back to the party.

    Examples: hansa provision federation.toml --out pki/, and then hansa provision --sign
    north.request --pki pki/ --out north.answer --words "…"
    """
    if sign is not None and pki is not None and file is None:
        _answer(sign, pki, out, role, words)
    elif file is not None and sign is None and pki is None:
        _provision(file, out)
    else:
        raise AppError(
            "There is neither a federation to begin nor a request to answer, or there are both.",
            "It begins one from FEDERATION.toml, or answers the --sign of a party as --pki.",
            f"Write hansa provision FEDERATION.toml --out {out}, or hansa provision --sign REQUEST "
            f"--pki DIR --out {out}.",
        )


def _provision(file: Path, folder: Path) -> None:
    """Begin a federation, and say whose keys this machine has seen.

    file: TOML, with its name, the server's address, and a [[party]] for each kit. folder: a new
    one; the kits lie in kits/ of it.
    """
    from ..kits.provision import KITS, provision, read
    from ..ui.terminal import out

    made = provision(read(file), folder)
    out().print(f"{folder}: the authority of {made.federation.name}.", soft_wrap=True)
    if made.roster:
        out().print(
            f"{folder / KITS}: {', '.join(made.roster)}. This machine has seen the private keys of "
            "all of them, so each party has to trust who runs it. Where they do not, let each make "
            "its own: hansa enroll.",
            soft_wrap=True,
        )


def _answer(sign: Path, pki: Path, path: Path, role: str, heard: str | None) -> None:
    """Answer one request, once its words were heard.

    sign: the request. path: for the answer. role: what the operator means the newcomer to be.
    heard: its words; asked for where they are not given. A renewal has neither.
    """
    from .. import private
    from ..kits.authority import Authority
    from ..kits.files import contents
    from ..kits.requests import Request
    from ..kits.words import check_words, words
    from ..ui.terminal import out

    authority = Authority.load(pki)
    request = Request.decode(contents(sign, "Name the request that the party has sent."))
    if not request.renews:
        request.check_role(role)
        heard = heard or _asked(f"The words that {request.who}, a {role}, reads")
        check_words(heard, request.message, f"the request of {request.who}")
    authority, (answer,) = authority.admit([request])
    private.write(path, answer.encode())
    whom = "the server"
    where = ""
    if request.member.role in ("server", "gateway"):  # nobody dials who is not on its roster
        whom = "every party first, and only then the answer to its own"
    if request.member.role == "peer":
        whom = "all peers"
        where = f" at {request.member.address}"
    out().print(
        f"wrote {path} for {request.who}, a {request.member.role}{where}; the roster has the "
        f"serial {authority.roster.serial} now. Hand {authority.folder / 'roster.json'} to {whom}.",
        soft_wrap=True,
    )
    if not request.renews:
        out().print(f"Read them these words, of the federation: {words(answer.federation.message)}")


def _asked(what: str) -> str:
    """Words that somebody types; AppError where nobody sits there."""
    if not sys.stdin.isatty():
        raise AppError(
            f"{what} are not given.",
            "Whoever stands between the two could have changed the file; on the telephone you "
            "know who speaks.",
            'Write them with --words "…"',
        )
    return str(typer.prompt(what))


@partial(command, of=kit)
def add(
    folder: KitFolder,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An answer, or a newer roster.", show_default=False),
    ],
    words: Words = None,
) -> None:
    """Add the operator's answer to the request, or a newer roster.

    The words are the federation's, as the operator reads them; a kit that is whole needs none.
    Nothing is written where the answer is to another request or was changed, or a roster is older
    than the kit's.

    Example: hansa kit add kit/ north.answer --words "…"
    """
    from ..crypto.identity import Roster
    from ..kits import ABOUT, Kit
    from ..kits.answers import Answer
    from ..kits.enrol import add as added
    from ..kits.files import contents
    from ..ui.terminal import out

    data = contents(file, "Name the file that the operator has sent.")
    if data.startswith(b"{"):
        found = Kit.read(folder).with_roster(Roster.decode(data))
    else:
        answer = Answer.decode(data)
        if words is None and not (folder / ABOUT).exists():
            words = _asked(f"The words of {answer.federation.name} that its operator reads")
        found = added(folder, answer, words or "")
    out().print("\n".join(_told(found)), soft_wrap=True)


@partial(command, of=kit)
def show(folder: KitFolder) -> None:
    """Show whose kit it is, in which federation, and until when; what was approved, and in which
    runs it took part. Never a secret.

    Example: hansa kit show kit/
    """
    from ..kits import Kit
    from ..ui.terminal import out

    found = Kit.read(folder)
    out().print("\n".join(_told(found)), soft_wrap=True)
    print_plainly(_taken(found))
    found.check()


def _told(found: Kit) -> Iterator[str]:
    """What may be known of a kit."""
    where = found.address
    if found.role == "peer" and found.who in found.roster:
        where = found.roster[found.who].address
    yield f"{found.who}, {found.role} of {found.federation} at {where}"
    yield f"certificate {day(found.until)}"
    yield f"roster of serial {found.roster.serial}, {day(found.roster.until)}"


def _taken(found: Kit) -> Iterator[str]:
    """What was approved, and the runs, with ε as far as it was counted; a line for each.

    The file of runs may be read while its party attends.
    """
    from ..approval.approvals import approvals
    from ..runtimes.sites.runs import Runs

    for one in approvals(found.folder):
        yield f"approved {one.when} by {one.by}: {one.name}, sha256 {one.sha256[:16]}…"
    if not (found.folder / "runs").exists():
        return
    policy = policy_of(found.folder)
    with contextlib.closing(Runs(found.folder / "runs")) as runs:
        yield from runs.listed(policy)


def day(seconds: float | None) -> str:
    """The day of a time in seconds since 1970; rosters of a federation always have one."""
    if seconds is None:
        return "for ever"
    return f"until {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
