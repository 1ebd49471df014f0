"""Defences of sites: of a server against who has a certificate of its federation, and of a party against its server."""

from __future__ import annotations

from tests.attacks.defence import Defence

RUNTIME, DESK, POSTS, DOOR, GATEWAY, GATEWAYS, SPOOL, LINK, MOVING, SITE, BLOBS = (
    f"runtimes/sites/{name}.py"
    for name in ("__init__", "desk", "posts", "door", "gateway", "gateways", "spool", "link", "moving", "site", "blobs")
)
FOLDS, RELAY, UPSTREAM = (f"runtimes/sites/{name}.py" for name in ("folds", "relay", "upstream"))
NEVER = "if False:"

SITES = (
    Defence(
        "a reply is its own party's",
        RUNTIME,
        "if reply is None or (reply.session, reply.round, reply.who) != place:",
        "if reply is None:",
        only="who|run|epoch|number|round",
    ),
    Defence(
        "a reply is of its turn",
        RUNTIME,
        "if reply.turn != answer.turn or isinstance(reply.body, Total) != (len(answer.who) > 1):",
        "if isinstance(reply.body, Total) != (len(answer.who) > 1):",
        only="turn",
    ),
    Defence(
        "a party's answer is no sum of many",
        RUNTIME,
        "if reply.turn != answer.turn or isinstance(reply.body, Total) != (len(answer.who) > 1):",
        "if reply.turn != answer.turn:",
    ),
    Defence(
        "what is no reply is invalid",
        RUNTIME,
        "except (ProtocolError, FileNotFoundError):",
        "except FileNotFoundError:",
    ),
    Defence(
        "what was settled since is not read",
        RUNTIME,
        "except (ProtocolError, FileNotFoundError):",
        "except ProtocolError:",
    ),
    Defence(
        "a blob is for whom it was told",
        POSTS,
        "asks = [question.ask for question in self.posts[who].open.values()]",
        "asks = [question.ask for post in self.posts.values() for question in post.open.values()]",
    ),
    Defence(
        "an upload is its own party's",
        POSTS,
        "        for question in self.posts[who].open.values():\n            if question.coming is not None and",
        "        every = [one for post in self.posts.values() for one in post.open.values()]\n"
        "        for question in every:\n            if question.coming is not None and",
    ),
    Defence("a link that was replaced says nothing of its party", DESK, "if post.tell is not tell:", NEVER),
    Defence("an answer is no larger than it may be", POSTS, "if said.blob.size > most:", NEVER),
    Defence("an answer is to one question", POSTS, "if self.expected(who, said.blob.sha256) is not None:", NEVER),
    Defence(
        "what is announced anew takes the place of what was", POSTS, "if question.coming is not None:  #", NEVER + " #"
    ),
    Defence("room is looked for before bytes come", POSTS, "post.spool.check_room(said.blob)", "pass"),
    Defence("bytes that are others are not asked for without end", POSTS, "if question.spoilt == TRIES:", NEVER),
    Defence(
        "a part is of what was announced",
        BLOBS,
        "if size != blob.size or not first <= last < size or last - first >= PART:",
        NEVER,
    ),
    Defence("a part is no longer than it says", BLOBS, "if read > length:", NEVER),
    Defence(
        "parts follow one another", SPOOL, "if offset != (there := file.tell()):", "if (there := file.tell()) < 0:"
    ),
    Defence("the newest upload of an answer counts", BLOBS, "if post.upload is not request:", NEVER),
    Defence(
        "an upload ends with its session",
        GATEWAY,
        "async with asyncio.timeout_at(question.until):",
        "async with asyncio.timeout(None):",
    ),
    Defence("nothing that was packed is unpacked", GATEWAY, "auto_decompress=False,", "auto_decompress=True,"),
    Defence("a party has few requests under way", BLOBS, "if post.requests >= REQUESTS:", NEVER),
    Defence(
        "what is fetched counts as well",
        GATEWAY,
        "with under_way(post):  # until",
        "with contextlib.nullcontext():  # until",
    ),
    Defence("a party has few connections", DOOR, "if count[who] > CONNECTIONS:", NEVER),
    Defence(
        "a server speaks with whom it understands",
        "runtimes/sites/greeting.py",
        "if not understand(WIRE, hello.wire):",
        NEVER,
    ),
    Defence(
        "a party attends a server that it understands",
        "runtimes/sites/control.py",
        "if not understand(welcome.wire, WIRE):",
        NEVER,
    ),
    Defence("messages are small", GATEWAY, "max_msg_size=MOST,", "max_msg_size=0,", only="large"),
    Defence("who does not listen is not heard", GATEWAY, "        await outbox.join()\n", ""),
    Defence(
        "who is revoked is cut off",
        DOOR,
        'log.warning("a connection ends: its certificate is on no roster")\n            transport.abort()',
        'log.warning("a connection goes on")',
    ),
    Defence("a link that ended ends no look at the others", DOOR, " or transport.is_closing()", ""),
    Defence(
        "what is not heard yet is kept", POSTS, "self.spool.clear(but=self.answered.values())", "self.spool.clear()"
    ),
    Defence(
        "a gateway takes the newest roster alone", GATEWAY, "newer.verify(self._enrolment, self.roster.serial)", "pass"
    ),
    Defence(
        "a sample by number is drawn from those with whom its run began",
        RUNTIME,
        "if by_number or not sample.in_any_order:",
        NEVER,
    ),
    Defence("a sum has room for who comes", RUNTIME, "    check_roster(plan, len(after))\n", ""),
    Defence(
        "a full disk at the server ends the run",
        GATEWAY,
        "                self.fail(error)\n                raise web.HTTPInsufficientStorage",
        "                raise web.HTTPInsufficientStorage",
    ),
    Defence("a party fetches what its plan can need", SITE, "if size > most:", NEVER),
    Defence("a question is of a run that is taken part in", SITE, "if run != self.run or self.party is None:", NEVER),
    Defence(
        "a bug at a site is told as its kind",
        SITE,
        "        except Exception:\n            log.exception(",
        "        except ZeroDivisionError:\n            log.exception(",
        only="bug",
    ),
    Defence(
        "what is settled before a run goes on counts",
        SITE,
        "if counted:\n            _write_learnt",
        NEVER + "\n            _write_learnt",
    ),
    Defence("a survey finds no more than it can", LINK, "begin.found.size > FOUND:", "False:"),
    Defence("a part is no more than was asked for", MOVING, "if there > last + 1:", NEVER, only="endless"),
    Defence("a part is no less than was asked for", MOVING, "if there <= last:", NEVER, only="nothing"),
    Defence("a party outlives nonsense", LINK, "except NonsenseError as error:", "except ZeroDivisionError as error:"),
    Defence("a server is that of the kit's federation", LINK, "if welcome.federation != way.federation:", NEVER),
    Defence("a party is sent nowhere else", LINK, "elsewhere.on_request_redirect.append(_stay)", "pass"),
    Defence("an answer is sent a few times alone", LINK, "for _ in range(TRIES):", "while True:"),
    Defence(
        "what a survey has found is its answer",
        "cli/worker.py",
        "            _check_found(first, found)\n",
        "",
        ends="ValueError",
    ),
    Defence(
        "a proxy's password is in no log and no error",
        "runtimes/sites/away.py",
        "    if isinstance(error, aiohttp.ClientHttpProxyError):\n        return f",
        "    if isinstance(error, DeadlineError):\n        return f",
    ),
    Defence("a gateway alone dials as one", GATEWAYS, 'if roster[who].role == "gateway":', "if True:"),
    Defence(
        "a gateway alone speaks for others",
        GATEWAYS,
        'if member.role == "gateway":',
        "if between.PARTY in request.headers:",
    ),
    Defence(
        "who is revoked comes back through no gateway",
        GATEWAYS,
        "case Came(who) if who in posts and who in self._port.roster:",
        "case Came(who) if who in posts:",
    ),
    Defence(
        "for who is revoked no gateway speaks",
        GATEWAY,
        "if whom not in self.roster:  # posts outlive who is revoked",
        NEVER,
    ),
    Defence(
        "an upload that is refused ends no link of others",
        UPSTREAM,
        "except (aiohttp.ClientError, ConnectionError) as error:",
        "except NotADirectoryError as error:",
    ),
    Defence("of one bundle a server is asked once", UPSTREAM, "if name not in self._bundles:", "if True:"),
    Defence(
        "who fetches a bundle counts before it is there",
        GATEWAY,
        "with under_way(post):\n            found = await",
        "if True:\n            found = await",
    ),
    Defence(
        "of another federation's run a server tells nothing",
        GATEWAY,
        "if federation_at(folder) == self._of:",
        "if True:",
    ),
    Defence("a run goes on in its own federation", DESK, "if before and before != federation:", NEVER),
    Defence("who comes makes no sum wait longer", FOLDS, "            if seconds:\n                return\n", ""),
    Defence(
        "who comes back while a sum is made undoes no sum",
        FOLDS,
        "all(who in fold.ready for who in names)",
        "all(fold.ready.get(who) is there[who] for who in names)",
    ),
    Defence(
        "who is dialled is on the roster",
        "kits/listed.py",
        "        super().do_handshake()\n        self.look()\n",
        "        super().do_handshake()\n",
    ),
    Defence(
        "a link ends with the certificate of who was dialled",
        LINK,
        "        except ssl.SSLCertVerificationError:\n            await socket.close()\n            return\n",
        "        except ssl.SSLCertVerificationError:\n            return\n",
    ),
    Defence("a gateway takes no gateway for the server", "kits/listed.py", "if role not in roles:", NEVER),
    Defence(
        "who leaves again and again undoes one sum",
        FOLDS,
        "if one.who in self._left.get(place, ()) and one.who not in fold.making:",
        NEVER,
    ),
    Defence(
        "the first answer that is whole at a gateway counts",
        RELAY,
        "if self._folds.has(who, place) and said.blob != self.posts[who].open[place].coming:",
        NEVER,
    ),
    Defence(
        "of who attends elsewhere a gateway says nothing",
        GATEWAYS,
        "case From(who, said) if self._at.get(who) is outbox:",
        "case From(who, said) if who in posts:",
    ),
    Defence(
        "what is to be heard one by one is not added up",
        DESK,
        "if any(one.fold is None for one in questions) or len(set(who)) < len(who):",
        NEVER,
    ),
    Defence(
        "in a sum are answers that are waited for",
        DESK,
        "if not all(place in self.posts[one].open for one in question.others):",
        NEVER,
    ),
)
