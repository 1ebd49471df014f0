"""TorchModel over Hugging Face's transformers and PEFT's adapters: nothing but the adapter moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import hansa as h
from hansa.models.torch import TorchModel
from hansa.testing import check_model

KEY, NONE = h.Key.of(1), h.models.Drift()
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
LORA = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def classifier(seed: int = 0, vocabulary: int = 12) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(
        BertConfig(vocab_size=vocabulary, max_position_embeddings=8, num_labels=3, **SMALL)
    )


def adapted(seed: int = 0, **more: Any) -> Any:
    return get_peft_model(classifier(seed, **more), LORA)


def sentences(n: int = 60, seed: int = 0) -> dict[str, Any]:
    """n sentences of 6 tokens, some cut off; the class says which third of the vocabulary the first token is from."""
    rng = np.random.default_rng(seed)
    tokens, lengths = rng.integers(0, 12, (n, 6)), rng.integers(3, 7, n)
    return {"input_ids": tokens, "attention_mask": (np.arange(6) < lengths[:, None]).astype(int),
            "labels": tokens[:, 0] // 4}  # fmt: skip


def next_token(outputs: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Mean −log p(next token)."""
    return F.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def generator(dtype: torch.dtype = torch.float32) -> Any:
    """A language model with an adapter."""
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=12, n_positions=8, n_embd=16, n_layer=1, n_head=2)).to(dtype)
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    return get_peft_model(base, lora)


TOKENS = (np.arange(6) + np.arange(60)[:, None]) % 12
COUNTING = {"input_ids": TOKENS, "labels": TOKENS}


def logits_of(net: Any, data: dict[str, Any]) -> Any:
    net.eval()
    with torch.no_grad():
        return net(**{k: torch.from_numpy(v) for k, v in data.items() if k != "labels"}).logits.numpy()


def run(model: TorchModel, rounds: int = 2) -> h.State:
    training = h.Training(batch=16, learning_rate=0.03, optimizer="adam")
    plan = h.Plan(model, training=training, rounds=rounds)
    clients = [h.Client(f"site {i}", plan, sentences(seed=i)) for i in range(3)]
    *_, state = h.synchronous(plan, h.InProcess(clients))
    assert not state.excluded and not state.skipped
    return state


@pytest.mark.promise("P7", "P61")
def test_nothing_but_the_adapter_moves() -> None:
    net = adapted()
    model = TorchModel(net, F.cross_entropy)
    assert (
        model.size
        == sum(p.numel() for p in net.parameters() if p.requires_grad)
        == net.get_nb_trainable_parameters()[0]
    )
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    state = run(model)
    after = {name: p.detach() for name, p in model.load(state.x).named_parameters()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name, p in net.named_parameters() if p.requires_grad}


def test_the_adapter_is_exported_as_peft_expects(tmp_path: Path) -> None:
    """save_pretrained writes the federated adapter alone; on a fresh base it gives the same logits."""
    model = TorchModel(adapted(), F.cross_entropy)
    state = run(model)
    net = model.load(state.x)
    assert isinstance(net, PeftModel) and net is model.net
    net.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 16 * model.size
    fresh, test = PeftModel.from_pretrained(classifier(), tmp_path), sentences(seed=9)
    assert not np.allclose(logits_of(fresh, test), logits_of(adapted(), test), atol=1e-3)
    np.testing.assert_array_equal(logits_of(fresh, test), logits_of(net, test))


def test_it_learns_and_scores_as_any_other_model() -> None:
    model = TorchModel(adapted(), F.cross_entropy)
    before, after = model.score(model.start(KEY), sentences()), model.score(run(model, rounds=12).x, sentences())
    assert set(after) == {"loss", "accuracy"}
    assert after["loss"] < before["loss"] - 0.1


def test_check_model_holds() -> None:
    check_model(TorchModel(adapted(), F.cross_entropy), sentences())


def test_outputs_are_unwrapped_and_labels_are_the_target() -> None:
    """A dict with "labels" trains as transformers' own loop does: the gradient of its own loss."""
    net = classifier()
    model = TorchModel(net, F.cross_entropy)
    data, x = sentences(), model.start(KEY)
    loss = model.score(x, data)["loss"]
    tensors = {name: torch.from_numpy(a) for name, a in data.items()}
    with torch.no_grad():
        assert loss == pytest.approx(float(net.eval()(**tensors).loss), rel=1e-6)
    renamed = {"y" if name == "labels" else name: a for name, a in data.items()}
    training = h.Training(batch=20)
    np.testing.assert_array_equal(
        model.train(x, data, training, NONE, KEY).x, model.train(x, renamed, training, NONE, KEY).x
    )


def test_data_without_a_target_says_its_names() -> None:
    data = sentences()
    data["label_ids"] = data.pop("labels")
    with pytest.raises(h.errors.DataError, match="'labels'"):
        h.data.check(data, "north")


def test_a_language_model_learns_with_a_loss_of_its_own() -> None:
    model = TorchModel(generator(), next_token)
    model.check(COUNTING, "north")
    fit = model.train(model.start(KEY), COUNTING, h.Training(epochs=5, learning_rate=0.05, optimizer="adam"), NONE, KEY)
    assert model.score(fit.x, COUNTING)["loss"] < model.score(model.start(KEY), COUNTING)["loss"] - 0.1


def test_a_frozen_base_is_there_once_for_all_clients() -> None:
    """Clients, workers' messages and checkpoints do not grow with the base."""
    model = TorchModel(adapted(vocabulary=20_000), F.cross_entropy)
    base = sum(p.numel() for p in model._net.parameters()) * 4
    plan = h.Plan(model)
    one, many = ([h.Client(f"{i}", plan, sentences(seed=i)) for i in range(n)] for n in (1, 8))
    assert all(client.plan.model is model for client in many)
    grown = len(cloudpickle.dumps(many)) - len(cloudpickle.dumps(one))
    assert grown < base / 8 < len(cloudpickle.dumps(one))
    state = run(model, rounds=1)
    assert state.x.nbytes < base / 8
    sent = cloudpickle.loads(cloudpickle.dumps(model))
    assert repr(sent) == repr(model)
    assert sent.score(state.x, sentences()) == model.score(state.x, sentences())


@pytest.mark.promise("P3")
def test_the_digest_tells_other_frozen_weights_apart_and_not_other_adapters() -> None:
    """Adapters of different bases do not add up, so clients with another base must not take part."""
    same, other = TorchModel(adapted(), F.cross_entropy), TorchModel(adapted(seed=1), F.cross_entropy)
    net = adapted()
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_(1.0)
    moved = TorchModel(net, F.cross_entropy)
    assert repr(same) == repr(TorchModel(adapted(), F.cross_entropy)) == repr(moved)
    assert repr(same) != repr(other)
    plans = h.Plan(same), h.Plan(other)
    with pytest.raises(h.errors.PlanError, match="different plans"):
        h.InProcess([h.Client(f"{i}", plan, sentences()) for i, plan in enumerate(plans)])


def test_a_base_in_half_precision_stays_so() -> None:
    """A frozen base in bfloat16 under an adapter in float32, as large models come."""
    net = generator(torch.bfloat16)
    model = TorchModel(net, next_token)
    fit = model.train(
        model.start(KEY), COUNTING, h.Training(epochs=20, learning_rate=0.05, optimizer="adam"), NONE, KEY
    )
    assert model.score(fit.x, COUNTING)["loss"] < model.score(model.start(KEY), COUNTING)["loss"] - 0.05  # of 2.5
    kinds = {p.dtype for p in model.load(fit.x).parameters() if not p.requires_grad}
    assert kinds == {torch.bfloat16}
    assert model.tensors(fit.x).keys() == net.state_dict().keys()


def test_gradients_of_single_examples_need_inputs_without_a_mask() -> None:
    model, data = TorchModel(adapted(), F.cross_entropy), sentences()
    private = h.Training(batch=16, private=h.PerExample(1.0, 0.5), report=False)
    with pytest.raises(h.errors.PlanError, match=r"single examples .*cannot be taken"):
        model.train(model.start(KEY), data, private, NONE, KEY)
    del data["attention_mask"]
    fit = model.train(model.start(KEY), data, private, NONE, KEY)
    assert np.isfinite(fit.x).all() and not np.array_equal(fit.x, model.start(KEY))
