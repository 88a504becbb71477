"""Random views of a plane: image and mask stay together, and what lies beyond the plane is what prediction shows there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_resformer.images.image import from_array
from napari_resformer.network.config import BACKGROUND
from napari_resformer.preprocessing.normalise import Normalisation
from napari_resformer.preprocessing.pipeline import PreparedPlane, Preprocessor
from napari_resformer.training.augment import view
from napari_resformer.training.settings import TrainSettings

PLAIN = TrainSettings(crop_size=64, rotation=0, zoom=(1, 1), color_jitter=0)


def blobs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image whose brightness is that of its mask: -0.5, 0 and 0.5 for the classes 0, 1 and 2."""
    y, x = np.mgrid[:height, :width]
    mask = (np.hypot(y - height / 3, x - width / 2) < height / 4).astype(np.uint8)
    mask[height * 2 // 3 :, width // 2 :] = 2
    return (mask[None] / 2 - 0.5).astype(np.float32).repeat(3, axis=0), mask


def prepared(image: np.ndarray, settings: TrainSettings) -> PreparedPlane:
    """Return what the network sees of a plane whose values are -1 to 1, and has a pixel of each."""
    image = image.copy()
    image[:, 0, :2] = -1, 1
    preprocessor = Preprocessor(
        ("red", "green", "blue"), Normalisation(low=0, high=100), settings.mode, settings.crop_size, pads_small_planes=True
    )  # fmt: skip
    return preprocessor.prepare(from_array(image, "CYX").plane())


@pytest.mark.parametrize("mode", ["native", "resize"])
@pytest.mark.parametrize("shape", [(40, 56), (64, 64), (150, 110)])
def test_image_and_mask_stay_together(mode, shape) -> None:
    settings = TrainSettings(crop_size=64, mode=mode, color_jitter=0)
    pixels, mask = blobs(*shape)
    plane = prepared(pixels, settings)
    for seed in range(12):
        image, labels, valid = view(np.random.default_rng(seed), plane.read(), plane.labels(mask), settings)
        inside = valid[0] > 0
        assert image.shape == (3, 64, 64)
        assert labels.shape == (64, 64)
        assert labels.dtype == torch.int64
        assert (image[:, ~inside] == BACKGROUND).all()
        assert (labels[~inside] == 0).all()
        nearest = ((image[0] + 0.5) * 2).round().long()
        assert (nearest == labels)[inside].float().mean() > 0.93  # but for the blurred outlines


def test_a_small_plane_is_seen_whole_and_anywhere() -> None:
    places = set()
    for seed in range(60):
        image, _, valid = view(np.random.default_rng(seed), *blobs(40, 56), PLAIN)
        rows, columns = torch.where(valid[0] > 0)
        if len(rows) == 40 * 56:  # elastic bending, in half of the views, moves the outline
            places.add((int(rows.min()), int(columns.min())))
            assert (image[:, valid[0] == 0] == BACKGROUND).all()
    tops, lefts = zip(*places, strict=True)
    assert min(tops) <= 2
    assert max(tops) >= 22
    assert min(lefts) <= 1
    assert max(lefts) >= 7


@pytest.mark.parametrize("mode", ["native", "resize"])
def test_prediction_pads_as_training_does(mode) -> None:
    pixels, mask = blobs(40, 56)
    settings = PLAIN.model_copy(update={"mode": mode})
    plane = prepared(pixels, settings)
    predicted, valid = (torch.from_numpy(part)[0] for part in plane.tensor())
    views = [view(np.random.default_rng(seed), plane.read(), plane.labels(mask), settings) for seed in range(600)]
    apart = [float((image - predicted).abs().mean() + (seen - valid).abs().mean()) for image, _, seen in views]
    assert min(apart) < 0.08  # one of them is what prediction shows the network, to a pixel


def test_details_do_not_alias_where_planes_are_made_smaller() -> None:
    board = (np.indices((256, 256)).sum(0) % 2 * 2 - 1).astype(np.float32)[None].repeat(3, 0)  # to be seen as gray
    settings = PLAIN.model_copy(update={"mode": "resize"})
    image, _, valid = view(np.random.default_rng(3), prepared(board, settings).read(), None, settings)
    assert image[:, valid[0] > 0].std() < 0.1


def test_a_mirrored_surround_counts() -> None:
    settings = PLAIN.model_copy(update={"padding": "reflect"})
    image, _, valid = view(np.random.default_rng(0), *blobs(40, 56), settings)
    assert (valid == 1).all()
    assert image.min() >= -0.5 - 1e-6


def test_resized_planes_cannot_be_mirrored() -> None:
    with pytest.raises(ValueError, match="leave padding at constant"):
        TrainSettings(mode="resize", padding="reflect")


def test_views_of_a_large_plane_lie_inside_it() -> None:
    corners = []
    for seed in range(40):
        _, _, valid = view(np.random.default_rng(seed), *blobs(150, 110), PLAIN)
        corners.append(float(valid.mean()))
    assert np.median(corners) == 1
    assert min(corners) > 0.9


def test_the_same_seed_is_the_same_view() -> None:
    settings = TrainSettings(crop_size=64, stain_jitter=1)
    one, other = (view(np.random.default_rng((1, 2, 3)), *blobs(80, 70), settings) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    different = view(np.random.default_rng((1, 2, 4)), *blobs(80, 70), settings)
    assert not torch.equal(one[0], different[0])
