"""App: what an app file calls `app`, and all that one command needs to run it.

    federation   what it declares, and what follows from that
    checks       what it refuses
    first        the survey that it asks first
    clients      its clients, and where they live
    running      its rounds
    stopping     when they end early, and which was the best
    epsilon      what they have given away
    scoring      what models are scored on
    compare      each client alone, and all data pooled
    comparison   that as one value, which a notebook shows
    personal     the clients' own models
    peers        those of an app without a server
    looking      what keeps a client from taking part
    statement    what it asks of one client, for whoever answers for its data
    load         app files
    templates    what new ones start from

Users need `App` alone; the others are for what runs, shows and attacks an app.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from ..algorithms import ClientState
from ..data import Sites
from ..data.examples import at_a_glance
from ..errors import AppError, HansaError
from ..explain import Explanation, expression
from ..explain.statement import Statement
from ..loops.synchronous import synchronous
from ..parties.population import Population
from ..plan import Plan
from ..progress import tell
from ..rand import Key
from ..spec import Vector
from ..state import State
from ..ui.trackers import Tracker, check_names
from ..ui.trackers.following import followed
from ..ui.watched import watched
from .checks import names_of
from .clients import clients_of, parties_of
from .compare import Fair, Row, pooled, trained_alone
from .comparison import Comparison
from .federation import Federation, delta_of, found_by
from .first import answers_of, explained, held, plan_of, secret_of
from .looking import unfit
from .peers import office_of
from .personal import has_own_tests, own_tests
from .running import REMEMBERED, rounds_of
from .statement import owner_of, stated
from .stopping import explained_with

if TYPE_CHECKING:
    from ..store import Run


@dataclass(frozen=True, repr=False)
class App(Federation):
    """What an app file calls `app`: a federation, and what is done with it.

        app = App(plan, {"north": (X, y), "south": (X, y)}, test=(X, y))
        for state in app.run(): …

    It holds a plan, where each client's data is, and examples that no client has; all further
    fields may be left out, and `Federation` says what each is. AppError where they do not fit
    together.

    track   who reads the rounds as they are committed: "csv", "tensorboard", "mlflow", "wandb", or
            any object with a method track(run, rounds); it changes nothing of them
    """

    track: Sequence[str | Tracker] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        """AppError where the fields do not fit together, or no tracker has a name."""
        super().__post_init__()
        check_names(self.track)

    def __repr__(self) -> str:
        """How many clients and examples; never what they hold."""
        name = type(self).__name__
        if isinstance(self.data, Sites):
            return f"<{name}: {self.data!r}>"
        clients = f"{len(self.data)} clients"
        if isinstance(self.data, Population):
            return f"<{name}: {clients}>"
        told = filter(None, (clients, at_a_glance(self.data.values())))
        return f"<{name}: {', '.join(told)}>"

    @property
    def found(self) -> dict[str, Any]:
        """What the survey found; AppError where it has not been asked."""
        return found_by(self)

    def explain(self) -> Explanation:
        """What survey and plan ask of a client, in words; no data is read, and nobody is asked."""
        named = self.secret is not None and not self.secret.hides
        mixing = None
        if (office := office_of(self)) is not None:
            mixing = office.mixing
        told = explained(self.plan, self.first, self.population, delta_of(self), named, mixing)
        if self.stop is None or not isinstance(self.plan, Plan):
            return told
        sections = tuple(explained_with(self.stop, one) for one in told.sections)
        return replace(told, sections=sections)

    def statement(self, who: str = "", sites: bool = False) -> Statement:
        """What is asked of one client, or of any, for whoever answers for its data; no data is
        read, and nobody is asked.

        sites: do clients live at sites of their own, each with a kit? AppError for a client that
        the app does not have.
        """
        told = stated(self, self.explain(), who, sites)
        if sites:
            return told
        return told.with_owner(owner_of(self, who, None))

    def answered(self, run: Run) -> Self:
        """This app with what its survey found, if the run holds that.

        AppError where the run began with another survey, or holds other answers than this app.
        """
        state = held(self.first, run)
        if state is None:
            return self
        if self.answer is None:
            return self._after(state)
        if state.x.tobytes() != self.answer.x.tobytes():
            raise AppError(
                f"This app has asked its survey, and run {run.id} holds other answers.",
                "Its data is prepared with what it found itself.",
                "Resume the run with an app that has asked nobody.",
            )
        return self

    def asked(self, run: Run | None = None) -> Self:
        """This app with what its survey found: as the run holds it, or asked now and kept there.

        An app asks once: what it found then is public, and further runs of it go on with that.
        """
        app = self
        if run is not None:
            app = self.answered(run)
        if self.first is None:
            return self
        if app.answer is None:
            app = vars(self).get("_asked", self)
        state = app.answer or self._ask(secret_of(self.secret, run))
        if run is not None and run.survey()[1] is None:
            run.keep_survey(self.first.digest, state)  # before anything can fail that hangs on it
        if app.answer is None:
            app = self._after(state)
        if run is not None and not run.digest:
            plan = app.known_plan
            run.keep_plan(expression(plan), plan.digest, plan.rounds)
        vars(self)["_asked"] = app  # and `compare` knows it, too
        return app

    def _ask(self, secret: Key) -> State:
        """Ask the survey; what hides in it grows from a branch of the secret."""
        for problem in self.tests.problems(None):
            raise problem
        (state,) = self._survey(secret.child("survey")).run()
        return state

    def _survey(self, secret: Key | None) -> Self:
        """The survey as an app of one round."""
        assert self.first is not None
        return replace(
            self,
            plan=self.first,
            first=None,
            prepare=None,
            test=None,
            budget=None,
            stop=None,
            track=(),
            loop=synchronous,
            secret=secret,
        )

    def _after(self, state: State) -> Self:
        """This app, whose survey ended with this state."""
        assert self.first is not None
        found = answers_of(self.first, state)
        return replace(self, plan=plan_of(self.plan, found), answer=state)

    def run(
        self, run: Run | None = None, state: State | None = None, progress: bool = False
    ) -> Iterator[State]:
        """The rounds, after the survey if there is one; each is committed before it is yielded.

        The rounds are those that are left after `state`, or after what the run holds. Each holds
        what its clients report, its model's scores on the test data, and the ε that is spent, by
        survey and rounds together. The app's trackers hear of it before it is yielded. progress:
        show rounds while they come, in a terminal or notebook.
        """
        app = self.asked(run)
        states = followed(rounds_of(app, run, state), app.track, app.known_plan, run)
        if progress:
            past = [] if run is None else run.history()
            states = watched(states, app.known_plan, names_of(app.data), past)
        yield from states

    def compare(self, state: State, memory: Mapping[str, ClientState] | None = None) -> Comparison:
        """Rows of the comparison on `test`: each client alone, the federation's model, what each
        client may use on its own test set, one model on all data.

        Own models are compared where the algorithm has them, and every test set is that of a
        client. memory: what clients remember, `run.memory()`; else what they do after this app's
        last run in this process.
        Alone and pooled train the same model on the same examples, as often as the federation goes
        over them (see `Fair`), by the code that trains the federation: a plan with a single client,
        and no noise. Each row says how often that is, and whether it is outside the ε of this app.
        AppError for a population, whose clients are too many to train alone.
        """
        return Comparison(self._compared(state, memory))

    def _compared(self, state: State, memory: Mapping[str, ClientState] | None) -> Iterator[Row]:
        """The rows, each when it is asked for."""
        app: Self = vars(self).get("_asked", self)
        plan = app.known_plan
        if not app.tests:
            raise AppError(
                "There is nothing to compare on.",
                "The comparison scores every model on examples that none of them has seen.",
                "Give App(test=…), or run with --no-compare.",
            )
        parts = {client.who: client.parts for client in clients_of(app)}
        sizes = {who: examples for who, (_, _, examples) in parts.items()}
        total = sum(sizes.values())
        fair = Fair(plan, sizes, state.round)
        own = has_own_tests(app)
        alone = dict[str, Vector]()

        def row(name: str, examples: int, x: Vector, passes: float) -> Row:
            return Row(name, examples, app.tests.score(plan.model, x), plan.hides, passes)

        for done, (who, (train, _, examples)) in enumerate(parts.items()):
            tell("stage", f"{who} alone", done, len(parts) + 1)
            x = trained_alone(plan, who, train, fair.rounds)
            yield row(f"{who} alone", examples, x, fair.passes(fair.alone(who), examples))
            if own:
                alone[who] = x
        yield row("federated", total, state.x, fair.mean_passes)
        if memory is None:
            memory = vars(app).get(REMEMBERED)
        if memory is not None and own:
            yield from own_tests(app, state, memory, alone)
        tell("stage", "all data pooled", len(parts), len(parts) + 1)
        whole = pooled([train for train, _, _ in parts.values()])
        training = fair.all_at_once
        x = trained_alone(plan, "pooled", whole, fair.rounds, training)
        yield row("all data pooled", total, x, fair.passes(training, total))

    def problems(self) -> Iterator[HansaError]:
        """What keeps each client from taking part, if anything does; and what is wrong with the
        test data.

        Before the survey is asked that is what keeps it from being asked. Of a population 100
        clients are looked at.
        """
        if self.first is not None and self.answer is None:
            yield from self._survey(self.secret).problems()
            yield from self.tests.problems(None)
            return
        yield from unfit(parties_of(self, secret_of(self.secret, None)))
        yield from self.tests.problems(self.known_plan.model)
