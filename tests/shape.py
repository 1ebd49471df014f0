"""The shape of the project: floors, sizes, exports and docstrings, tested as seriously as its numbers."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "hansa"

FLOORS = (
    (
        "errors",
        "known",
        "progress",
        "notebook",
        "digest",
        "spec",
        "rand",
        "native",
        "sums",
        "codec",
        "private",
        "backups",
        "sandbox",
    ),
    (
        "schedules",
        "training",
        "messages",
        "metrics",
        "graphs",
        "transforms",
        "models",
        "asks",
        "crypto",
        "optim",
        "data",
        "datasets",
    ),
    ("algorithms", "aggregators"),
    ("rounds", "state", "sample", "plan", "record"),
    ("parties", "kits", "approval", "loops", "config", "privacy", "explain"),
    ("runtimes", "store"),
    ("analytics", "app", "audit", "cli", "ui", "testing"),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
ROOF = ("__init__", "__main__")  # they may look down on everything
UPWARD: dict[tuple[str, str], str] = {}  # (importer, imported) → why it cannot point down

# Slow or optional libraries, each imported only in the file or folder named after it; and who else may, in a function.
ONE_ROOM = ("torch", "keras", "jax", "sklearn", "ray", "grpc", "xgboost", "tensorboard", "mlflow", "wandb")
LAZILY = {
    ("datasets", "sklearn"): "reads the records that come with the library, when they are asked for",
    ("metrics", "sklearn"): "computes what it is asked for by name",
    ("metrics", "torch"): "hands numbers to torchmetrics, which takes tensors",
}
NOT_AT_START = (
    *ONE_ROOM,
    "matplotlib",
    "sqlalchemy",
    "numba",
    "cryptography",
    "Crypto",
    "tomlkit",
    "aiohttp",
    "msgspec",
    "opentelemetry",
)

LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 450, 55, 8
IMPORTED, HELPED = 90, 220  # modules, those of Python itself among them
BANNED = re.compile(r"(Manager|Handler|Helper|Factory|Base|Util|Utils|Engine)(?![a-z])")
WIDE = {
    "Table": "all that a server hears of a session with holders",
    "Session": "all that one party knows of one conversation",
    "Cell": "all that a server hears of one cell in four turns",
    "Training": "how a client trains is one table of a config, and half of it is left out mostly",
    "Federation": "an app file says all of a federation in one value, and most of it is left out mostly",
    "AgentClient": "a client as any, and the worker that it asks",
    "AgentPeer": "the same among nodes",
    "Outline": "a plan as any, and what a client says before its pipe",
    "Context": "all that a piece of code is told of where in a run it is",
    "Request": "a message names all that its answer is bound to",
    "Noise": "all that is known of noise, and most of it left out mostly",
    "Post": "all that a server holds for one party",
    "App": "a federation, and who follows it",
    "PastRun": "a row of a statement that is signed: what a run was, what it cost, and on whose word",
    "Config": "all that one run is, in the words of its file; most of it is left out mostly",
    "Summary": "all that a list shows of a run",
    "Tracked": "all that a tracker is told of a run",
    "Policy": "all that an owner allows, and most of it left out mostly",
    "ReportData": "all that a report tells, in one value",
    "Round": "all that a history holds of a round",
    "Step": "all that a step of a local training is made of, in one value",
    "State": "all that passes from one round to the next, in one value",
    "TorchModel": "what a net is trained with, and how it computes; most of it is left out mostly",
}

TERMS = {
    "Helper": "what the drafts on verifiable aggregation call every aggregator but the leader",
    "Base": "the Base-(k+1) graph, by the name of its paper",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_imports_point_down() -> None:
    """A room imports from its own floor or from those below."""
    unknown = {room(path) for path in sources()} - FLOOR.keys() - set(ROOF)
    assert not unknown, f"on no floor: {sorted(unknown)}"
    upward = {(a, b) for a, b in edges() if FLOOR[b] > FLOOR[a]}
    assert upward == UPWARD.keys()


def test_no_circles() -> None:
    """No file imports itself through others; not for types only, and not inside functions either."""
    graph: dict[str, set[str]] = {}
    for path in sources():
        if room(path) not in ROOF:
            graph[module(path)] = {home(target) for _, target, _ in imports(path) if target.startswith("hansa.")}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_libraries_stay_in_their_room() -> None:
    """PyTorch is imported in torch.py or in a folder torch/, and so on; nowhere else."""
    strays = [
        f"{where(path, node)} imports {library}"
        for path in sources()
        for node, target, lazy in imports(path)
        if (library := target.split(".")[0]) in ONE_ROOM
        and library not in path.relative_to(SOURCE).with_suffix("").parts
        if not (lazy and (room(path), library) in LAZILY)
    ]
    assert not strays


def test_files_and_functions_are_short() -> None:
    """A file can be read in one go, a function at a glance."""
    long = [f"{path.relative_to(ROOT)}: {n} lines" for path in sources() if (n := len(text(path))) > LONGEST_FILE]
    for path, node in functions():
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION:
            long.append(f"{where(path, node)} {node.name}: {lines} lines")
    assert not long


def test_few_arguments() -> None:
    """What needs more than eight arguments is two things."""
    excepted = {id(line) for _, node in classes() if node.name in WIDE for line in node.body if makes(line)}
    wide = [
        f"{where(path, node)} {node.name}: {n} arguments"
        for path, node in functions()
        if (n := arity(node)) > MOST_ARGUMENTS and id(node) not in excepted
    ]
    for path, node in classes():
        if is_record(node) and (n := len(fields(node))) > MOST_ARGUMENTS and node.name not in WIDE:
            wide.append(f"{where(path, node)} {node.name}: {n} fields")
    assert not wide


def test_names_say_what_things_are() -> None:
    """No class is named after the fact that it does something."""
    named = [(path, node) for path, node in classes() if node.name not in TERMS]
    assert not [f"{where(path, node)} {node.name}" for path, node in named if BANNED.search(node.name)]


def test_public_names_are_documented() -> None:
    """Every public module, class, function and method has a docstring; an override may have its parent's."""
    silent = []
    for path in sources():
        if path.stem.startswith("_") and path.stem != "__init__":
            continue
        silent += [where(path)] if not ast.get_docstring(tree(path)) else []
        silent += [f"{where(path, node)} {name}" for name, node in undocumented(tree(path))]
    assert not silent


def test_exports_are_a_decision() -> None:
    """`__all__` is sorted, and is exactly what `hansa` imports: when it is first asked for, but the root of errors."""
    hansa = importlib.import_module("hansa")  # here, so that the other tests also read a tree that cannot be imported
    at_once = {"HansaError"}
    assert list(hansa.__all__) == sorted(set(hansa.__all__))
    assert set(hansa.__all__) == at_once | hansa.LAZY.keys()
    assert set(hansa.__all__) == typed()
    for name in hansa.__all__:
        assert getattr(hansa, name).__name__ == name


def typed() -> set[str]:
    """What a type checker sees of `hansa`, where nothing is imported."""
    (block,) = (node for node in tree(SOURCE / "__init__.py").body if isinstance(node, ast.If))
    later = {alias.name for line in block.body if isinstance(line, ast.ImportFrom) for alias in line.names}
    return later | {"HansaError"}


def test_import_and_help_are_quick() -> None:
    """`import hansa` and `hansa --help` load few modules, and no NumPy: seconds are the machine's, modules ours."""
    assert len(loaded("import hansa")) <= IMPORTED
    told = loaded("from hansa.cli import main; sys.argv = ['hansa', '--help']; main()")
    assert len(told) <= HELPED
    assert not {name for name in told if name.split(".")[0] in ("numpy", *NOT_AT_START)}


def test_a_plan_of_the_core_loads_no_heavy_library() -> None:
    found = loaded("import hansa; hansa.Plan, hansa.FedAvg, hansa.Clip, hansa.InProcess, hansa.synchronous")
    assert not {name.split(".")[0] for name in found} & set(NOT_AT_START)


def loaded(program: str) -> set[str]:
    """The modules that a program has loaded when it ends."""
    whole = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {program}"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


# --- reading the source ---


@cache
def sources() -> tuple[Path, ...]:
    return tuple(sorted(SOURCE.rglob("*.py")))


@cache
def text(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse("\n".join(text(path)))


def room(path: Path) -> str:
    """The module or package directly under hansa/ that a file belongs to."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def module(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def home(target: str) -> str:
    """The module that holds an imported name."""
    modules = {module(path) for path in sources()}
    while target not in modules:
        target = target.rpartition(".")[0]
    return target


def where(path: Path, node: ast.stmt | None = None) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno if node else 1}"


def imports(path: Path) -> Iterator[tuple[ast.stmt, str, bool]]:
    """Every import of a file as (statement, dotted target, stands inside a function)."""
    lazy = {id(inner) for node in ast.walk(tree(path)) if isinstance(node, Function) for inner in ast.walk(node)}
    package = ("hansa", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join((*start, *([node.module] if node.module else [])))
            targets = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            yield node, target, id(node) in lazy


def edges() -> set[tuple[str, str]]:
    """All (importer, imported) among the rooms of hansa; also for types only, also inside functions."""
    found = set()
    for path in sources():
        for node, target, _ in imports(path):
            head, _, rest = target.partition(".")
            if head != "hansa" or rest == "__version__" or room(path) in ROOF:
                continue
            imported = rest.split(".")[0]
            assert imported in FLOOR, f"{where(path, node)} imports {target}, which is on no floor"
            found.add((room(path), imported))
    return {(a, b) for a, b in found if a != b}


def functions() -> Iterator[tuple[Path, Function]]:
    for path in sources():
        yield from ((path, node) for node in ast.walk(tree(path)) if isinstance(node, Function))


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in sources():
        yield from ((path, node) for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def arity(node: Function) -> int:
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def makes(node: ast.stmt) -> bool:
    return isinstance(node, Function) and node.name == "__init__"


def is_record(node: ast.ClassDef) -> bool:
    marks = [ast.unparse(mark) for mark in (*node.decorator_list, *node.bases)]
    return any(re.match(r"(\w+\.)?(dataclass|NamedTuple)\b", mark) for mark in marks)


def fields(node: ast.ClassDef) -> set[str]:
    """What the constructor of a dataclass takes: its own fields and those of its parents."""
    own = {
        ast.unparse(line.target)
        for line in node.body
        if isinstance(line, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(line.annotation)
        and not (line.value and "init=False" in ast.unparse(line.value))
    }
    return own.union(*(fields(parent) for parent in parents(node) if is_record(parent)))


@cache
def classes_by_name() -> dict[str, ast.ClassDef]:
    return {node.name: node for _, node in classes()}


def parents(node: ast.ClassDef) -> list[ast.ClassDef]:
    """The direct parents of a class that hansa defines itself."""
    names = [re.sub(r"\[.*", "", ast.unparse(base)).split(".")[-1] for base in node.bases]
    return [classes_by_name()[name] for name in names if name in classes_by_name()]


@cache
def methods(node: ast.ClassDef) -> dict[str, Function]:
    """The methods of a class, inherited ones too."""
    found: dict[str, Function] = {}
    for parent in parents(node):
        found |= methods(parent)
    return found | {line.name: line for line in node.body if isinstance(line, Function)}


@cache
def protocols() -> tuple[ast.ClassDef, ...]:
    return tuple(node for _, node in classes() if any("Protocol" in ast.unparse(base) for base in node.bases))


def promised(node: ast.ClassDef) -> set[str]:
    """Methods whose docstring a class may leave to its parents, and to each protocol that it fulfils."""
    kept = [one for one in protocols() if one is not node and methods(one).keys() <= methods(node).keys()]
    elders = parents(node) + kept
    return {name for elder in elders for name, method in methods(elder).items() if ast.get_docstring(method)}


def undocumented(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    """Public names of a module or class that have no docstring."""
    spoken = promised(scope) if isinstance(scope, ast.ClassDef) else set()
    for node in scope.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        second = [ast.unparse(mark) for mark in node.decorator_list]  # a further form of a name that has its docstring
        if any(mark.endswith((".setter", "overload")) for mark in second):
            continue
        if not ast.get_docstring(node) and node.name not in spoken:
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node)
