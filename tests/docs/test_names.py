"""Every piece that a text speaks of exists: errors, docstrings, comments, pages and examples advise nothing else."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted((ROOT / "src" / "hansa").rglob("*.py"))
PAGES = sorted(
    [
        ROOT / "README.md",
        *(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"),  # they tell of the past
        *(ROOT / "examples").rglob("*.py"),
        *(ROOT / "src").rglob("*.template"),
    ]
)
NAMED = re.compile(
    r"(?<![\w.])([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)(?=\()"  # Clip(…)
    r"|(?<![\w./-])([A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+)\b"  # FedAvg
)
FIELD = """
BLAKE2b Bernoulli Binomial Dir Dirichlet Ed25519 Exp FedAdagrad FedAdam FedBuff FedExP FedFomo FedPer FedProto FedYogi
Gamma HomomorphicEncryption Laplace
LeCun McMahan Philox SecAgg SplitMix64 WebSocket XEdDSA
"""
OTHERS = """
AtenTensorHandle BatchNorm BatchNormalization BertConfig BertForSequenceClassification DataLoader DejaVu GroupNorm
InstanceNorm IterableDataset LayerNorm LoraConfig LossScaleOptimizer NoneType NumPy PeftModel PyArrow PyDataset
LazyFrame PyTorch ResidentialEnergyConsumption SequentialSampler TensorFlow TensorSlice Intel Xeon DiscreteMetaAction
DejaVuSans HarfBuzz OpenType TrueType WeasyPrint
CentrallyAppliedPrivacyMechanism ClientApp ClientError FedAvgRecipe FedAvgM FedML FedOpt NNTrainHyperParams NVFlare
OpenTelemetry PyTorchModel ServerApp SimEnv SimulatedBackend SuperLink SuperNode SuperNodes WebSocket
RssShmem WeightByDatapoints
"""
DRAFTS = """
Pine32HmacSha256Aes128 Pine40HmacSha256Aes128 Pine64HmacSha256Aes128 Prio3Count Prio3Histogram Prio3L1BoundSum
Prio3MultihotCountVec Prio3Sum Prio3SumVec Prio3SumVecWithMultiproof
"""
FOREIGN = {*FIELD.split(), *OTHERS.split(), *DRAFTS.split(), "AdaptiveClips"}


@cache
def pieces() -> frozenset[str]:
    """What hansa's own files define or import."""
    found = set(dir(builtins))
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.alias):
                found.add((node.asname or node.name).rpartition(".")[2])
            elif isinstance(node, ast.Assign):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(found)


def unknown(text: str) -> set[str]:
    """Names in a text that are no piece of hansa's, nor defined in the text itself."""
    own = set(re.findall(r"class (\w+)", text))
    return {name for pair in NAMED.findall(text) for name in pair if name} - pieces() - FOREIGN - own


def texts(file: Path) -> Iterator[str]:
    """What is written in a file of code: its strings and comments."""
    code = file.read_text("utf-8")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT / "src")))
def test_no_error_docstring_or_comment_advises_what_does_not_exist(file: Path) -> None:
    assert {name for text in texts(file) for name in unknown(text)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_or_example_speaks_of_what_does_not_exist(page: Path) -> None:
    assert unknown(page.read_text("utf-8")) == set()


def test_what_does_not_exist_is_found() -> None:
    assert unknown("Write aggregators=frozenset({'VeiledSum'}), or Blur(0.5) and Clip(1.0).") == {"VeiledSum", "Blur"}
    assert {"FedAvg", "VerifiedSum", "RayCluster"} <= pieces()


# ── names with dots, and names that were ─────────────────────────────────────────────────────────────────────────────

OF = {  # what a variable of this name is, in texts
    "state": "hansa.state:State",
    "plan": "hansa.plan:Plan",
    "channel": "hansa.loops.channel:ServerChannel",
    "runtime": "hansa.loops.channel:Runtime",
}
FORMER = {"Letters", "Memo", "outdone", "usual_delta", "hand_over", "tells", "summed", "stages", "sees"}
FORMER |= {"forget", "planned", "within", "sprout", "zygote", "demand"}
DOTTED = re.compile(r"`(hansa(?:\.\w+)+|(?:state|plan|channel|runtime)\.\w+)[`(\[]")
TICKED = re.compile(r"`(\w+)(?:\(\))?`")


def missing(text: str) -> set[str]:
    """Names in backticks that lead nowhere: through a module, or to a member that its class has not."""
    found = {word for word in TICKED.findall(text) if word in FORMER}
    for name in DOTTED.findall(text):
        if not name.endswith(".py") and not _leads_somewhere(name):
            found.add(name)
    return found


def _leads_somewhere(name: str) -> bool:
    first, *rest = name.split(".")
    if first != "hansa":
        module, _, kind = OF[first].partition(":")
        owner = getattr(importlib.import_module(module), kind)
        return rest[0] in {*dir(owner), *inspect.get_annotations(owner), *_fields(owner), *_set_in_init(owner)}
    there: Any = importlib.import_module("hansa")
    for i, part in enumerate(rest):
        try:
            there = getattr(there, part)
        except AttributeError:
            try:
                there = importlib.import_module(".".join(["hansa", *rest[: i + 1]]))
            except ImportError:
                return False
    return True


def _fields(owner: Any) -> set[str]:
    return set(getattr(owner, "__dataclass_fields__", {}))


def _set_in_init(owner: Any) -> set[str]:
    return set(re.findall(r"self\.(\w+)", inspect.getsource(owner)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_dotted_names_of_a_page_lead_somewhere(page: Path) -> None:
    assert missing(page.read_text("utf-8")) == set()


def test_dotted_names_of_the_code_lead_somewhere() -> None:
    assert {name for file in CODE for text in texts(file) for name in missing(text)} == set()


def test_a_dotted_name_that_leads_nowhere_is_found() -> None:
    text = "`hansa.wire.dumps`, `state.seen`, `within`, `channel.lose(…)`, but `hansa.codec.dumps` and `plan.spec`"
    assert missing(text) == {"hansa.wire.dumps", "state.seen", "within", "channel.lose"}
