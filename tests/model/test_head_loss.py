"""Head and cross-entropy in one: the same losses and gradients as logits written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.model import head_loss as module
from sensorium.model.head_loss import head_loss


@settings(max_examples=20, deadline=None)
@given(m=st.integers(0, 9), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_losses_and_gradients_are_those_of_logits_written_out(m, rows, seed):
    torch.manual_seed(seed)
    hidden, added = torch.randn(m, 6, requires_grad=True), torch.randn(3, 6, requires_grad=True)
    weight, labels, scale = torch.randn(11, 6), torch.randint(0, 13, (m,)), torch.rand(m)
    labels[labels >= 11] += 1  # the first added row is never predicted
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "ROWS", rows)
    ours = head_loss(hidden, weight, added, labels, never=0)
    patch.undo()
    logits = torch.cat([hidden @ weight.T, (hidden @ added.T).masked_fill(torch.arange(3) == 0, -1e30)], -1)
    plain = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    found = [torch.autograd.grad((losses * scale).sum(), [hidden, added]) for losses in (ours, plain)]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_model_trains_on_what_it_is_validated_on(tiny_model):
    """`losses` against `forward`'s logits, adapters and pictures aside."""
    from sensorium.conversation import Conversation, assistant, user
    from sensorium.model.multimodal import supervised_labels
    from sensorium.rendering import Renderer
    from sensorium.rendering.batching import collate

    renderer = Renderer(tiny_model.tokenizer, tiny_model.tokens_per_picture)
    batch = collate([renderer.render(Conversation((user("Where?"), assistant("<ref> is no token here"))))], 0)
    tiny_model.requires_grad_(False)
    tiny_model.added_embeddings.requires_grad_(True)
    assert "HeadLoss" in type(tiny_model.losses(batch).grad_fn).__name__
    with torch.no_grad():
        plain = F.cross_entropy(tiny_model(batch), supervised_labels(batch), reduction="none")
        torch.testing.assert_close(tiny_model.losses(batch), plain, atol=1e-5, rtol=1e-5)
        tiny_model.language.config.final_logit_softcapping = 2.0
        capped = F.cross_entropy(tiny_model(batch), supervised_labels(batch), reduction="none")
        assert (capped - plain).abs().max() > 1e-3
        torch.testing.assert_close(tiny_model.losses(batch), capped, atol=1e-5, rtol=1e-5)
        tiny_model.language.config.final_logit_softcapping = None
    tiny_model.language.get_output_embeddings().weight.requires_grad_(True)
    losses = tiny_model.losses(batch)
    assert "HeadLoss" not in type(losses.grad_fn).__name__
    torch.testing.assert_close(losses, plain, atol=1e-5, rtol=1e-5)
