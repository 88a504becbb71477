"""Pixels that a mask says nothing of: they change neither the loss, nor a gradient, nor a figure."""

from __future__ import annotations

import pytest
import torch

from napari_resformer.metrics import IGNORE
from napari_resformer.network import ResFormerOutput
from napari_resformer.training.loader import UNKNOWN_CLASS, Batch
from napari_resformer.training.losses import MultiTaskLoss, tally_step


def batch(masks) -> Batch:
    size = masks.shape[1:]
    return Batch(
        torch.zeros(len(masks), 3, *size), masks, torch.ones(len(masks), dtype=torch.bool),
        torch.full((len(masks),), UNKNOWN_CLASS), torch.ones(len(masks), 1, *size),
    )  # fmt: skip


def output(logits) -> ResFormerOutput:
    return ResFormerOutput(logits, torch.zeros(len(logits), 0))


def test_what_is_ignored_is_left_out_of_loss_gradient_and_metrics() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 32, 40, generator=generator, requires_grad=True)
    masks = torch.randint(0, 3, (2, 32, 40), generator=generator)
    masks[:, :12] = IGNORE
    loss = MultiTaskLoss(1.0, torch.zeros(0))
    whole, rest = loss(output(logits), batch(masks)), loss(output(logits[:, :, 12:]), batch(masks[:, 12:]))
    assert whole.mask.item() == pytest.approx(rest.mask.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(whole.total, logits)
    assert not gradient[:, :, :12].any()
    assert gradient[:, :, 12:].any()
    ours, theirs = (
        tally_step(output(logits), batch(masks), whole),
        tally_step(output(logits[:, :, 12:]), batch(masks[:, 12:]), rest),
    )
    assert ours.overlap.tolist() == theirs.overlap.tolist()


def test_a_batch_of_which_nothing_counts_has_no_loss() -> None:
    logits = torch.randn(2, 3, 32, 32, requires_grad=True)
    parts = MultiTaskLoss(1.0, torch.zeros(0))(output(logits), batch(torch.full((2, 32, 32), IGNORE)))
    parts.total.backward()
    assert parts.mask.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()
