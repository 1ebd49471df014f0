"""What keeps the live page to who may read it, and names from being part of it."""

from __future__ import annotations

from tests.attacks.defence import Defence

GUARD, SERVER, SVG = "ui/page/guard.py", "ui/page/server.py", "ui/svg.py"
READING, VIEWS = "ui/page/reading.py", "ui/page/views.py"
NEVER = "if False:"

PAGE = (
    Defence(
        "no name is part of a plot",
        SVG,
        """FIGURE = Markup(
    \'<figure class="plot" data-plot="{title}"><figcaption><strong>{title}</strong>{key}\'""",
        """FIGURE = str(
    \'<figure class="plot" data-plot="{title}"><figcaption><strong>{title}</strong>{key}\'""",
    ),
    Defence("no letter turns a plot around", SVG, '" ".join(printable(text).split())', '" ".join(text.split())'),
    Defence("a page answers its own name alone", GUARD, "if token is None and not _own_name(request):", NEVER),
    Defence("a page answers no page of elsewhere", GUARD, "if _of_elsewhere(request):", NEVER),
    Defence("a page is read, and nothing else", GUARD, 'if request.method != "GET":', NEVER),
    Defence(
        "every answer forbids what is not this page's", SERVER, "app.on_response_prepare.append(guard.head)", "pass"
    ),
    Defence("a report is no link", READING, "return path.is_file() and not path.is_symlink()", "return path.is_file()"),
    Defence("damaged words of a plan are nothing", "ui/about.py", "    *(OverflowError, HansaError),\n", ""),
    Defence("no setting turns a line around", VIEWS, '"plan": printable(found.run.plan)', '"plan": found.run.plan'),
    Defence("a damaged run hides no other", READING, "readable(self._now())[::-1]", "self._now().runs()[::-1]"),
    Defence("a host is looked at before it is listened on", "cli/ui.py", "    check_host(host)\n", ""),
    Defence("who reads makes no store", "store/database.py", "if found is None and not new:", NEVER),
    Defence("a report has no origin", SERVER, "img-src data:; sandbox", "img-src data:"),
    Defence(
        "others need the token",
        GUARD,
        'if token is not None and not _same(request.cookies.get(_cookie(request), ""), token):',
        NEVER,
    ),
    Defence(
        "who asks by a loopback name needs the token too",
        GUARD,
        "if token is not None and not _same(",
        "if token is not None and not _own_name(request) and not _same(",
    ),
)
