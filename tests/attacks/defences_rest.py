"""Defences of native programs, of the stores of runs, and of what workers hold."""

from __future__ import annotations

from tests.attacks.defence import Defence

NATIVE, COLUMNS, DATABASE = "native/__init__.py", "store/columns.py", "store/database.py"
STORE, RUNS = "store/__init__.py", "store/run.py"
NEVER = "if False:"
RAW = "TypeError|ValueError|AttributeError|KeyError|OverflowError|Damaged|JSONDecodeError|UnicodeEncodeError"

PROGRAMS = (
    Defence("programs are private whatever the umask", NATIVE, ".chmod(0o700)  # whatever", ".exists()  # whatever"),
    Defence("a folder of others holds no program", NATIVE, "if _own(place) and all(", "if all("),
    Defence(
        "no other can swap the folder", NATIVE, "if _own(place) and all(map(_safe, place.parents)):", "if _own(place):"
    ),
    Defence(
        "a program is its user's own",
        NATIVE,
        "return found.st_uid == os.geteuid() and not",
        "return not",
        only="folder|program|failed",
    ),
    Defence(
        "the folders above are its user's own",
        NATIVE,
        "return found.st_uid in (0, os.geteuid()) and not written",
        "return not written",
        only="above",
    ),
    Defence(
        "nobody else can write to a program",
        NATIVE,
        "return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)",
        "return found.st_uid == os.geteuid()",
    ),
    Defence(
        "a link is no program",
        NATIVE,
        "stat.S_ISREG(file.lstat().st_mode) and _own(file)",
        "_own(file.resolve())",
        only="link",
    ),
    Defence(
        "a lock is no link",
        NATIVE,
        "    _ours(file)\n    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)",
        "    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)",
        only="lock",
    ),
    Defence(
        "no note is written through a link",
        NATIVE,
        "if not _ours(file) and not _ours(failed):",
        "if not _ours(file):",
        only="failed",
    ),
)

STORES = (
    Defence(
        "damage ends in words",
        DATABASE,
        "except Damaged as error:",
        "except ZeroDivisionError as error:",
        ends="Damaged",
    ),
    Defence("texts are texts", COLUMNS, "if not isinstance(value, str):", NEVER, ends=RAW, only="a text was"),
    Defence(
        "whole numbers are whole",
        COLUMNS,
        "if not (isinstance(value, int) and value >= 0) and not (value is None and self.missing):",
        NEVER,
        ends=RAW,
        only="a whole number was",
    ),
    Defence(
        "yes is 1 and no is 0",
        COLUMNS,
        "if not isinstance(value, int) or value not in (0, 1):",
        NEVER,
        ends=RAW,
        only="yes or no was",
    ),
    Defence(
        "real numbers are real", COLUMNS, "if not isinstance(value, float | int):", NEVER, ends=RAW, only="a number was"
    ),
    Defence(
        "a name leads to no other folder", COLUMNS, "if not FILE.fullmatch(text):", NEVER, ends=RAW, only="a name was"
    ),
    Defence(
        "times are times",
        COLUMNS,
        'raise Damaged(f"{text!r} stands where a time was written") from None',
        "raise",
        ends=RAW,
        only="a time was",
    ),
    Defence(
        "JSON means what was written",
        COLUMNS,
        (
            "raise Damaged(\n"
            '                f"{text[:80]!r} stands where a {self.meaning.__name__} was written"\n'
            "            ) from None"
        ),
        "raise",
        ends=RAW,
        only="reasons|numbers|participants|table",
    ),
    Defence(
        "rounds are numbered",
        RUNS,
        "if [row.round for row in rows] != list(range(after + 1, last + 1)):",
        NEVER,
        only="not numbered",
    ),
    Defence("a memory lies in a file of its run", RUNS, "if file not in named:", NEVER, ends=RAW, only="no file of"),
    Defence(
        "a memory is in its file",
        RUNS,
        "if missing := [who for who in names if who not in found]:",
        NEVER,
        ends=RAW,
        only="does not hold",
    ),
    Defence("a state is of its round", RUNS, "if state.round != round:", NEVER),
    Defence(
        "nothing is swept away where files are missing",
        RUNS,
        "if all((self.folder / name).exists() for name in named):",
        "if True:",
    ),
    Defence(
        "a name is looked up among names",
        STORE,
        "select(db.runs.c.id, db.runs.c.name).order_by(",
        "select(db.runs.c.id, db.runs.c.name).where(db.runs.c.id.startswith(id)).order_by(",
    ),
    Defence(
        "a folder that no system has is told",
        STORE,
        "except (OSError, ValueError) as error:",
        "except OSError as error:",
        ends="ValueError|UnicodeEncodeError",
    ),
    Defence(
        "a setting is one that a run keeps",
        "cli/target.py",
        "if strangers := sorted(found.keys() - config.kept().keys()):",
        NEVER,
        only="rouods",
    ),
    Defence(
        "settings of a plan are tables",
        "cli/target.py",
        'if not all(isinstance(found.get(name, {}), dict) for name in ("set", "plan", "stop")):',
        NEVER,
        only="set",
    ),
)

MESSAGES = (
    Defence(
        "a reply is no larger than it may be",
        "messages.py",
        "codec.read(data, most, HEAD)",
        "codec.read(data, codec.SIZE, HEAD)",
    ),
    Defence("the head of a reply is short", "messages.py", "codec.read(data, most, HEAD)", "codec.read(data, most)"),
    Defence(
        "a message has its fields and no others",
        "messages.py",
        "if not isinstance(message, dict) or message.keys() != fields.keys():",
        "if not isinstance(message, dict):",
        ends="TypeError|KeyError",
    ),
    Defence("a field keeps to its bound", "messages.py", "if not fits(message[name]):", NEVER),
    Defence("who is named is in the sum", "messages.py", "if self.body is not None and len(self.who) != said:", NEVER),
    Defence(
        "a sum has the parts of a sum",
        "sums.py",
        "if counts and since < CARRY and _are_halves(coarse, fine):",
        "if True:",
    ),
)

GATEWAYS = (
    Defence(
        "a sum fits the plan",
        "loops/channel.py",
        "if isinstance(reply.body, Total) and reply.body.fits(self.encoded):",
        "if isinstance(reply.body, Total):",
        ends="ValueError|TypeError|IndexError|UFuncTypeError",
    ),
)

STATE = (
    Defence(
        "other code draws by the key",
        "models/__init__.py",
        "if data.arrays is not None and not given[0].traits.draws:",
        "if True:",
    ),
    Defence(
        "what is read draws by the key",
        "parties/foreign.py",
        "if is_plain(data) and not plan.model.traits.draws:",
        "if True:",
    ),
    Defence(
        "no decay where there is no gradient",
        "models/torch/steps.py",
        "if len(self._reached) != len(self.weights):",
        NEVER,
    ),
    Defence(
        "a batch of one is told before the run",
        "models/torch/checks.py",
        'if "more than 1 value per channel" not in str(error):\n            raise\n',
        "return\n",
    ),
    Defence(
        "a training starts with the attributes that were given",
        "models/torch/flat.py",
        "        self._attributes.reset()\n",
        "",
    ),
    Defence(
        "a model's own optimizers start anew",
        "models/keras/optimizers.py",
        "        for _, values in had:\n            put(values)\n",
        "",
        also=(("        for one in new:\n            put(anew(one))\n", ""),),
    ),
)

SHOWN = (
    Defence(
        "a name is no markup",
        "ui/terminal.py",
        "return Plain(highlight=False, markup=False,",
        "return Plain(highlight=False,",
    ),
    Defence(
        "what an error quotes is no markup",
        "ui/errors.py",
        'console.print(Text.assemble(("error:", "bold red"), f" {printable(text)}"))',
        'console.print(f"[bold red]error:[/] {printable(text)}")',
        only=r"draft",
    ),
)

REST = (*SHOWN, *STATE, *PROGRAMS, *STORES, *MESSAGES, *GATEWAYS)
