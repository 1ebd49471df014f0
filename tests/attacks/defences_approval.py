"""Defences of sites: what runs there, who has approved it, and what all runs together may give away."""

from __future__ import annotations

from tests.attacks.defence import Defence

BUNDLE, NAMES, PACKING = "approval/bundle.py", "approval/names.py", "approval/packing.py"
APPROVALS, SHOWING, POLICIES = "approval/approvals.py", "approval/showing.py", "approval/policies.py"
RUNS, SITE, BOOK = "runtimes/sites/runs.py", "runtimes/sites/site.py", "parties/book.py"
GATEWAY, FETCH = "runtimes/sites/gateway.py", "runtimes/sites/fetch.py"
NEVER = "if False:"

APPROVAL = (
    Defence("what runs was approved", APPROVALS, "if approval_of(folder, bundle) is not None:", "if True:"),
    Defence("an approval is of one hash", APPROVALS, "if one.sha256 == bundle.sha256]", "if one.name == bundle.name]"),
    Defence("files of a bundle lie below its folder", NAMES, "if not _is_below(name):", NEVER),
    Defence(
        "files of a bundle are told apart",
        NAMES,
        'if _plain(one) == _plain(other) or _plain(other).startswith(_plain(one) + "/"):',
        NEVER,
    ),
    Defence("no link is packed", PACKING, "if stat.S_ISLNK(os.lstat(path).st_mode):", NEVER),
    Defence("what is packed is bounded", PACKING, "if sum(map(len, files.values())) > LARGEST:", NEVER),
    Defence("a bundle is bounded", BUNDLE, "if size > LARGEST or len(self.files) > MOST:", NEVER),
    Defence("a bundle has one form", BUNDLE, "if found is None or found.encode() != data:", "if found is None:"),
    Defence(
        "an app runs from a copy that is made anew",
        BUNDLE,
        "            made = Path(tempfile.mkdtemp(dir=folder))\n            held.callback(_delete, made)\n",
        '            made = folder / "app"\n            made.mkdir(exist_ok=True)\n',
        also=(
            ("                _clear(left)\n", "                pass\n"),
            ("os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400", "os.O_WRONLY | os.O_CREAT, 0o600"),
        ),
    ),
    Defence(
        "a review is signed by a member",
        APPROVALS,
        "if member is None or not about or not verify(member.signing, self._message, self.signature):",
        "if not about:",
    ),
    Defence(
        "a review is of one bundle, in one federation",
        APPROVALS,
        "about = (self.federation, self.sha256) == (federation, bundle.sha256)",
        "about = True",
    ),
    Defence(
        "a review is signed as a review",
        APPROVALS,
        "return DOMAIN + canonical(self._value)",
        "return canonical(self._value)",
    ),
    Defence("a reviewer counts once", APPROVALS, "found.add(review.who)", "found.add(path.name)"),
    Defence("reviewers are counted", APPROVALS, "if len(found) >= wanted:", "if True:"),
    Defence(
        "what is shown commands no terminal",
        SHOWING,
        'lines = [printable(line) for line in text.split("\\n")]',
        'lines = text.split("\\n")',
        also=(("print(printable(line), markup=False", "print(line, markup=False", "cli/there.py"),),
    ),
    Defence(
        "a policy has no unknown entry",
        POLICIES,
        "    if unknown:\n",
        "    found = {name: found[name] for name in known if name in found}\n    if False:\n",
    ),
    Defence("all runs together keep to a budget", RUNS, "if total > policy.epsilon:", NEVER),
    Defence(
        "what nobody knows keeps to no budget",
        RUNS,
        "if both.why:",
        NEVER,
        also=(("            return math.inf\n", "            return 0.0\n", "privacy/given.py"),),
    ),
    Defence("the order is fixed with the first run", RUNS, "return int(place)", "continue"),
    Defence("a run that is over is not gone on with", SITE, "if known.ended:", NEVER),
    Defence(
        "of a run that is over nothing is answered",
        SITE,
        '        if run == self.run:\n            self.run = ""\n',
        '        if False:\n            self.run = ""\n',
    ),
    Defence("who has left a run is not in it again", SITE, "if known.gone:", NEVER, also=(("if known.ended:", NEVER),)),
    Defence(
        "replies of a run that was left are deleted",
        BOOK,
        '                (f"UPDATE asked {GONE} WHERE run = ?", (run,)),\n',
        "",
        also=(
            (
                "        for session in [one for one in self._open if one.run == run]:\n"
                "            self.settle(session, ())\n",
                "",
            ),
        ),
    ),
    Defence(
        "who fetches is on the roster",
        GATEWAY,
        "post = self.party(request)\n        with under_way(post):\n            found = await",
        "post = next(iter(self.posts.posts.values()))\n        with under_way(post):\n            found = await",
    ),
    Defence("what is fetched is bounded", FETCH, "if len(found) > MOST:", NEVER),
)
