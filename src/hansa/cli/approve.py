"""What an owner of data does before anything runs at a site, and what is known of it afterwards.

hansa bundle            packs an app
hansa fetch, inspect    stores that of the server, and shows it; nothing of it is run
hansa approve           lets it run here, or signs it as a reviewer
hansa policy new        what runs may ask for
hansa leave             ends the part in a run

    bundle        reads the app's folder                writes X.bundle
    fetch         asks the server of a kit              writes NAME.bundle into the working folder
    inspect       reads bundle, reviews and approvals   writes nothing
    approve       reads bundle and reviews              writes kit/approvals and kit/bundles
      --sign      reads the bundle                      writes X.bundle.NAME.review
    policy new    reads nothing                         writes kit/policy.toml, where there is none
    leave         reads kit/runs                        writes kit/runs, and kit/book or kit/mail

    hansa approve heart.bundle --kit kit/ --by "data protection officer" --signed-by 2

They end with 3 where fewer have signed than are wanted, a bundle is none, or the server does not
take this party; with 4 where it is not reached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, ApprovalError
from .options import command, commands
from .target import config_of
from .there import KIT, PROXY, kit_of, print_plainly, way_of

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..approval.bundle import Bundle
    from ..kits import Kit

policy = typer.Typer(help="What the owner of the data allows.")
commands.add_typer(policy, name="policy")

BundleFile = Annotated[
    Path, typer.Argument(metavar="X.bundle", help="A bundle.", show_default=False)
]


@command
def bundle(
    target: Annotated[
        Path, typer.Argument(metavar="APP.py", help="The app file.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="X.bundle", help="The new file.", show_default=False)
    ],
) -> None:
    """Pack an app, with the modules of its folder that it imports, and the data files that it lists
    as BUNDLE = ("words.txt",). Nothing of it is run.

    Example: hansa bundle heart_study.py --out heart_study.bundle
    """
    from .. import private
    from ..approval.packing import left_out, pack
    from ..approval.showing import contents
    from ..ui.errors import say

    config_of(target)
    made = pack(target)
    private.write(out, made.encode())
    print_plainly([f"wrote {out}", *contents(made)])
    for name in left_out(target, made):
        say(f"Not in it: {name}. If it is nobody's data, write in {target}: BUNDLE = ({name!r},)")


@command
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What its app is called.", show_default=False)
    ],
    kit: KIT,
    proxy: PROXY = None,
) -> None:
    """Store the bundle of the server as NAME.bundle. Nothing of it is run.

    Example: hansa fetch heart_study --kit kit/
    """
    import asyncio

    from .. import private
    from ..approval.bundle import SUFFIX, Bundle
    from ..approval.names import check_names
    from ..approval.showing import contents
    from ..runtimes.sites.fetch import fetch as fetched

    path = Path(name.removesuffix(SUFFIX) + SUFFIX)
    try:
        check_names([str(path)])
    except ApprovalError as error:
        raise AppError(
            f"{name} names no app.", error.why, "Write for example hansa fetch heart_study."
        ) from None
    own = kit_of(kit)
    found = Bundle.decode(asyncio.run(fetched(way_of(own, proxy), path.stem)))
    private.write(path, found.encode())
    print_plainly([f"wrote {path}. Nothing of it has run.", *contents(found)])


@command
def inspect(
    target: BundleFile,
    kit: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Compare with what this kit has.", show_default=False),
    ] = None,
) -> None:
    """Show what is in a bundle; with a kit, who has approved or signed it, and every line that is
    other than in the last one that was approved. Nothing of it is run.

    Example: hansa inspect heart_study.bundle --kit kit/
    """
    from ..approval.bundle import Bundle
    from ..approval.showing import contents

    found = Bundle.read(target)
    print_plainly([f"{target}: {found.app}", *contents(found)])
    if kit is not None:
        print_plainly(_compared(found, kit_of(kit), target))


def _compared(found: Bundle, kit: Kit, path: Path) -> Iterator[str]:
    """What a kit knows of a bundle, in lines: what gateways see, who has signed it, which reviews
    do not count, and who has approved it, or in what it is other than the last one.
    """
    from ..approval.approvals import approval_of, last_approved, reviewers, reviews_of
    from ..approval.showing import difference
    from ..crypto.identity import gateways_of
    from ..explain import AT_GATEWAY

    for who in gateways_of(kit.roster):
        sees, rests = AT_GATEWAY
        yield f"gateway {who} sees {sees}, which rests on this: {rests}"
    signed, wrong = reviewers(reviews_of(path), kit.federation, kit.roster, found)
    yield f"signed by: {', '.join(sorted(signed)) or 'nobody'}"
    for error in wrong:
        yield f"does not count: {error.found}"
    told = approval_of(kit.folder, found)
    if told is not None:
        yield f"approved by {told.by}, {told.when}"
        return
    before = last_approved(kit.folder, found.name)
    yield "not approved; against the last one that was:"
    if before is None:
        yield "none was, so all of it is new"
    yield from difference(before, found)


@command
def approve(
    target: BundleFile,
    kit: KIT,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who approves it.", show_default=False)
    ] = None,
    signed_by: Annotated[
        int, typer.Option(min=0, metavar="N", help="Only if so many reviewers have signed it.")
    ] = 0,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign it as a reviewer, for others.")
    ] = False,
) -> None:
    """Let exactly this bundle run here: one byte more, and it must be approved again.

    With --sign it is not approved, but signed with this kit's key, in a file beside it that is for
    all members of the federation.

    Example: hansa approve heart_study.bundle --kit kit/ --by "data protection officer"
    """
    from .. import private
    from ..approval import approvals
    from ..approval.bundle import Bundle

    if sign == (by is not None):
        raise AppError(
            "It is not said who approves it, or it is said and --sign too.",
            "A bundle is approved by somebody, for this site, or signed by a reviewer, for others.",
            f"Write hansa approve {target} --kit {kit} --by NAME, or --sign in its place.",
        )
    own = kit_of(kit)
    found = Bundle.read(target)
    if by is None:
        review = approvals.Review.signed(own.federation, own.identity, found)
        path = target.with_name(f"{target.name}.{own.who}{approvals.REVIEW}")
        private.write(path, review.encode())
        print_plainly([f"wrote {path}: {own.who} has signed {found.sha256}"])
        return
    paths = approvals.reviews_of(target)
    signed, wrong = approvals.reviewers(paths, own.federation, own.roster, found)
    approvals.check_signed(signed, signed_by, wrong)
    made = approvals.approve(own.folder, found, by, signed)
    print_plainly([f"approved by {made.by}, {made.when}: {found.name}, sha256 {found.sha256}"])


@partial(command, of=policy)
def new(
    target: Annotated[
        Path, typer.Argument(metavar="kit/policy.toml", help="The file.", show_default=False)
    ],
    min_cohort: Annotated[int, typer.Option(help="Clients in a round, at least.")] = 1,
    max_rounds: Annotated[float, typer.Option(help="Rounds, at most.")] = float("inf"),
    sees: Annotated[
        str | None, typer.Option(help="What others see, at most: sum, or each.")
    ] = None,
    min_noise: Annotated[float, typer.Option(help="Noise multiplier, at least.")] = 0.0,
    epsilon: Annotated[
        float, typer.Option(help="What all runs together may give away: ε.")
    ] = float("inf"),
    delta: Annotated[float, typer.Option(help="δ of it.")] = 1e-6,
) -> None:
    """Write what the owner of the data allows into a file, to be edited.

    Example: hansa policy new kit/policy.toml --min-cohort 3 --epsilon 4
    """
    from ..approval.policies import write_policy
    from ..parties.policy import Policy

    given: dict[str, Any] = {
        "min_cohort": min_cohort,
        "max_rounds": max_rounds,
        "sees": sees,
        "min_noise": min_noise,
        "epsilon": epsilon,
        "delta": delta,
    }
    write_policy(target, Policy(**given))
    print_plainly([f"wrote {target}. Edit it; hansa join reads it when it starts."])


@command
def leave(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, or how its id begins.", show_default=False)
    ],
    kit: KIT,
) -> None:
    """Take no part in a run any more: replies that are booked, and what was learnt in it, are
    deleted here.

    What was answered is in the models of past rounds, and stays there.

    Example: hansa leave 3f2a --kit kit/
    """
    from ..kits import Kit
    from ..runtimes.peers.part import leave as left
    from ..runtimes.sites.site import Site

    own = Kit.read(kit)  # also one that is on no roster any more may leave
    if own.role == "peer":
        name = left(own.folder, run)
    else:
        with contextlib.closing(Site(own.folder, _no_app)) as site:
            name = site.runs.named(run).run
            site.leave(name)
    print_plainly(
        [
            f"left run {name}. Its replies are deleted here, and no question of it is answered.",
            "What was answered before is in the models of past rounds, and stays there.",
        ]
    )


def _no_app(plan: str, found: Any) -> Any:
    """What a site is given that begins no run."""
    raise AppError("No app is run to leave a run.")
