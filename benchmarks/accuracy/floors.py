"""What little is enough for: logistic regression on colors or on the features of a frozen trunk, and a mask of one class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.network import ResFormer, ResFormerConfig, start_from_trunk
from napari_resformer.preprocessing.pipeline import Preprocessor
from napari_resformer.samples.sample import Sample, SampleSet

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the squared coefficients to choose from."""
INNER_FOLDS = 4
"""The penalty is chosen by the likelihood of groups of the training images that were left out."""

Features = NDArray[np.float64]  # (images, features)


def color_features(samples: SampleSet) -> Features:
    """Return mean, deviation and quantiles of each channel, and how the channels vary together; places are not among them."""
    rows = []
    for sample in samples.samples:
        pixels = sample.plane().read().astype(np.float64).reshape(sample.plane().image.channels, -1)
        together = np.cov(pixels).reshape(-1)
        rows.append(np.concatenate([pixels.mean(1), pixels.std(1), np.quantile(pixels, QUANTILES, axis=1).ravel(), together]))
    return np.stack(rows)


class FrozenTrunk(nn.Module):
    """The pretrained trunk alone: the mean of each level's map over the plane."""

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        network = ResFormer(config.model_copy(update={"transformer": False, "dfe": False}))
        start_from_trunk(network)
        self.encoder = network.encoder.eval().requires_grad_(False)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        share = x.new_ones((x.shape[0], 1, *x.shape[2:])) if valid is None else valid
        means = []
        for maps in self.encoder(x, (0, 0)):
            share = functional.avg_pool2d(share, 2)
            means.append((maps * share).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-6))
        return torch.cat(means, dim=1)


def trunk_features(trunk: FrozenTrunk, preprocessor: Preprocessor, samples: SampleSet) -> Features:
    """Return a frozen trunk's features of each plane, as the network sees it."""
    rows = []
    with torch.inference_mode():
        for sample in samples.samples:
            pixels, valid = preprocessor.prepare(sample.plane(), hold=True).tensor()
            rows.append(trunk(torch.from_numpy(pixels), torch.from_numpy(valid))[0].double().numpy())
    return np.stack(rows)


def regression_scores(training: SampleSet, test: SampleSet, of_training: Features, of_test: Features) -> Features:
    """Fit a logistic regression to the training samples of known class; return the scores (images, classes) of the test samples.

    Classes weigh the same together, whatever their number of images, and the penalty is chosen inside the training samples.
    """
    known = [place for place, sample in enumerate(training.samples) if sample.image_class is not None]
    truth = np.array([training.class_number(training.samples[place]) for place in known])
    groups = np.array([training.samples[place].group for place in known])
    features, count = of_training[known], len(training.image_classes)
    part_of = {group: number % INNER_FOLDS for number, group in enumerate(np.unique(groups))}
    part = np.array([part_of[group] for group in groups])
    losses = []
    for penalty in PENALTIES:
        total = 0.0
        for held in np.unique(part):
            scores = _fit(features[part != held], truth[part != held], count, penalty).scores(features[part == held])
            total -= float(np.log(scores[np.arange(len(scores)), truth[part == held]].clip(1e-6)).sum())
        losses.append(total)
    return _fit(features, truth, count, PENALTIES[int(np.argmin(losses))]).scores(of_test)


class _Regression:
    def __init__(self, mean: Features, deviation: Features, linear: nn.Linear) -> None:
        self._mean, self._deviation, self._linear = mean, deviation, linear

    def scores(self, features: Features) -> Features:
        with torch.inference_mode():
            logits = self._linear(torch.from_numpy((features - self._mean) / self._deviation))
            return logits.softmax(1).numpy()


def _fit(features: Features, truth: NDArray[np.int64], classes: int, penalty: float) -> _Regression:
    mean, deviation = features.mean(0), features.std(0) + 1e-9
    x, y = torch.from_numpy((features - mean) / deviation), torch.from_numpy(truth)
    counts = torch.bincount(y, minlength=classes).double()
    weight = torch.where(counts > 0, len(y) / counts.clamp_min(1), 0.0)
    linear = nn.Linear(x.shape[1], classes).double()
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(linear(x), y, weight=weight) + penalty * linear.weight.square().mean(1).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return _Regression(mean, deviation, linear)


def commonest_class(samples: Sequence[Sample]) -> int:
    """Return the mask value, other than background and ignored ones, that covers most pixels."""
    counts = np.zeros(255, np.int64)
    for sample in samples:
        if (mask := sample.mask()) is not None:
            counts += np.bincount(mask.ravel().astype(np.int64), minlength=256)[:255]
    return int(counts[1:].argmax()) + 1
