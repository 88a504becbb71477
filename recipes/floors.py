"""Floors: what can be had without any network, so that a model's figures can be judged against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_resformer.metrics import IGNORE, make_report, tally_image
from napari_resformer.samples.sample import Sample, SampleSet

Features = NDArray[np.float64]


def floors(training: SampleSet, test: SampleSet, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what simple rules reach on the test samples.

    Parameters
    ----------
    training, test : SampleSet
        What the rules are fitted to, and what they are judged on; both with the same image classes.
    names : mapping of str to str
        What to call an image class, where not by its name in the data.

    Returns
    -------
    dict
        ``all foreground``: Dice of a mask that is all foreground. ``color alone``: balanced accuracy and AUROC of a logistic
        regression on the distribution of each color channel. ``mask area alone``: the same on the area of the true mask, where
        masks are known.
    """
    found: dict[str, Any] = {"all foreground": {"dice": _all_foreground(test)}}
    if not test.image_classes:
        return found
    for name, features in (("color alone", color), ("mask area alone", area)):
        if (report := _by_regression(training, test, features, names)) is not None:
            found[name] = report
    return found


def color(sample: Sample) -> Features:
    """Return mean, standard deviation and percentiles of each channel, 0 to 1 for 8 bits."""
    pixels = np.asarray(sample.plane().read(), np.float64) / 255  # (C, H, W)
    pixels = np.broadcast_to(pixels, (3, *pixels.shape[1:])) if len(pixels) == 1 else pixels[:3]
    flat = pixels.reshape(3, -1)
    return np.concatenate([flat.mean(1), flat.std(1), *np.percentile(flat, (5, 25, 50, 75, 95), axis=1)])


def area(sample: Sample) -> Features:
    """Return the painted share of the image, as it is and as a logarithm."""
    mask = sample.mask()
    assert mask is not None
    share = float(((mask != 0) & (mask != IGNORE)).mean())
    return np.array([share, np.log(share + 1e-3)])


def _all_foreground(test: SampleSet) -> float | None:
    """Return the mean Dice of a mask that calls every pixel an object, all mask classes taken together."""
    tallies = []
    for sample in test.samples:
        if (mask := sample.mask()) is not None:
            truth = np.where(mask == IGNORE, IGNORE, mask != 0).astype(np.uint8)
            tallies.append(
                tally_image(
                    sample.name, mask_classes=1, true_mask=truth, predicted_mask=np.ones_like(truth), true_class=None, scores=None
                )
            )
    return make_report(tallies, ("object",), ()).mask_mean.dice if tallies else None


def _by_regression(
    training: SampleSet, test: SampleSet, features: Callable[[Sample], Features], names: Mapping[str, str]
) -> dict[str, Any] | None:
    """Fit features of the training samples and judge the test samples; None where none can be had."""
    sides = [[one for one in part.samples if _usable(one, features)] for part in (training, test)]
    if not all(sides):
        return None
    (known, truth), (unseen, answers) = (
        (np.stack([features(one) for one in side]), [test.image_classes.index(str(one.image_class)) for one in side])
        for side in sides
    )
    middle, spread = known.mean(0), known.std(0) + 1e-9
    scores = logistic_regression((known - middle) / spread, truth, (unseen - middle) / spread, len(test.image_classes))
    tallies = [
        tally_image(one.name, mask_classes=1, true_mask=None, predicted_mask=None, true_class=number, scores=told)
        for one, number, told in zip(sides[1], answers, scores, strict=True)
    ]
    report = make_report(tallies, (), test.image_classes).image_class
    assert report is not None
    aurocs = {names.get(name, name): score.auroc for name, score in report.per_class.items()}
    return {"balanced_accuracy": report.balanced_accuracy, "auroc": report.auroc, "auroc_by_class": aurocs}


def _usable(sample: Sample, features: Callable[[Sample], Features]) -> bool:
    return sample.image_class is not None and (features is not area or sample.mask() is not None)


def logistic_regression(known: Features, truth: Sequence[int], unseen: Features, classes: int, decay: float = 1e-2) -> Features:
    """Fit a multinomial logistic regression whose classes weigh the same; return the probabilities of unseen rows.

    Parameters
    ----------
    known, unseen : ndarray
        (N, F) and (M, F) features, standardised.
    truth : sequence of int
        (N,) class numbers.
    classes : int
        How many classes there are.
    decay : float
        Weight of the squared norm of the coefficients.
    """
    x, y = torch.from_numpy(known).double(), torch.tensor(truth)
    counts = torch.bincount(y, minlength=classes).clamp_min(1)
    weight = (len(y) / (classes * counts)).double()
    coefficients = torch.zeros(known.shape[1] + 1, classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=500, line_search_fn="strong_wolfe")

    def logits(rows: torch.Tensor) -> torch.Tensor:
        return rows @ coefficients[:-1] + coefficients[-1]

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(logits(x), y, weight=weight) + decay * coefficients[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    with torch.no_grad():
        return logits(torch.from_numpy(unseen).double()).softmax(1).numpy()
