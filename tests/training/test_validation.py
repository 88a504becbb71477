"""Validation while training measures what evaluate measures afterwards: the same code sees the same planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_resformer.evaluation.evaluate import iter_evaluate
from napari_resformer.events import Finished
from napari_resformer.images.image import Image, from_array
from napari_resformer.metrics import Report, make_report
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.network import PreparedNetwork, ResFormer, ResFormerConfig
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.training.loader import Batch, PlaneReader
from napari_resformer.training.losses import MultiTaskLoss
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.validation import Validator, held_out_metrics, judged_part

SIZE = 96
SHAPES = {
    "smaller": [(40, 61), (95, 33), (64, 64)],
    "equal": [(96, 96), (96, 50), (31, 96)],
    "larger": [(97, 130), (301, 222), (96, 207)],
}


def make_card(**changes: object) -> Card:
    config = ResFormerConfig.preset("tiny", mask_classes=2, image_classes=3, padding_value=-1.0)
    card = Card(
        name="small", network=config, mask_classes=("inner", "outer"), image_classes=("a", "b", "c"),
        channels=("red", "green", "blue"), input_size=SIZE,
    )  # fmt: skip
    return card.model_copy(update=changes)


@pytest.fixture(scope="module")
def network() -> ResFormer:
    """A network whose mask and class follow the image, as far as random weights do."""
    torch.manual_seed(3)
    made = ResFormer(make_card().network).eval()
    with torch.no_grad():
        made.decoder.logits.weight *= 20
        made.decoder.logits.bias.zero_()
    return made


def make_image(shape: tuple[int, int], number: int, colour: bool, pixel_size: tuple[float, float] | None) -> Image:
    from scipy.ndimage import gaussian_filter

    values = np.random.default_rng((number, *shape)).normal(size=(*shape, 3))
    values = gaussian_filter(values, (1.5, 1.5, 0))
    pixels = ((values - values.min()) / np.ptp(values) * 255).astype(np.uint8)
    if colour:
        return from_array(pixels, "YXC", name=f"i{number}", pixel_size=pixel_size)
    return from_array(pixels[..., 0], "YX", name=f"i{number}", pixel_size=pixel_size)


def make_samples(shapes: list[tuple[int, int]], *, colour: bool, pixel_size: tuple[float, float] | None) -> SampleSet:
    samples = []
    for number, shape in enumerate(shapes):
        image = make_image(shape, number, colour, pixel_size)
        y, x = np.mgrid[: shape[0], : shape[1]]
        mask = ((np.sin(y / 7) + np.cos(x / 5) > 0) + (np.hypot(y - shape[0] / 2, x - shape[1] / 2) < 15)).astype(np.uint8)
        samples.append(Sample(image.name, image.plane(), mask, "abc"[number % 3], image.name))
    return SampleSet("made up", tuple(samples), ("a", "b", "c"))


def evaluated(model: Model, samples: SampleSet) -> Report:
    report = next(event.result for event in iter_evaluate(model, samples, device="cpu") if isinstance(event, Finished))
    return Report(**{**report.__dict__, "intervals": {}})


def validated(card: Card, network: ResFormer, samples: SampleSet) -> Report:
    settings = TrainSettings(mode=card.input_mode, crop_size=card.input_size)
    validator = Validator(samples, card, settings, torch.ones(3), torch.device("cpu"))
    prepared = PreparedNetwork(network)
    tallies = [validator.judge(prepared, sample).tally for sample in samples.samples]
    return make_report(tallies, card.mask_classes, card.image_classes)


@pytest.mark.parametrize("colour", [True, False], ids=["rgb", "gray"])
@pytest.mark.parametrize(
    "sizes", [None, (1.0, 1.0), (0.45, 0.7), (1.9, 1.4)], ids=["unknown", "as the model", "finer", "coarser"]
)
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("mode", ["native", "resize"])
def test_validation_gives_the_figures_of_evaluate(network, mode, shapes, sizes, colour) -> None:
    card = make_card(input_mode=mode, pixel_size=1.0)
    samples = make_samples(SHAPES[shapes], colour=colour, pixel_size=sizes)
    assert validated(card, network, samples) == evaluated(Model(card, network), samples)


@pytest.mark.parametrize("shape", [(1300, 1100), (700, 640)])
def test_of_a_large_native_plane_the_middle_is_evaluated(network, shape) -> None:
    size = (1.0, 1.0) if shape[0] > 1024 else (2.0, 2.0)  # the network sees twice as many pixels on a side
    card = make_card(pixel_size=1.0)
    samples = make_samples([shape], colour=False, pixel_size=size)
    (sample,) = samples.samples
    image, mask = judged_part(sample.plane(), sample.mask(), card.preprocessor)
    seen = card.preprocessor.grid(image).target
    assert seen == tuple(min(1024, round(side * size[0])) for side in shape)
    top, left = ((whole - part) // 2 for whole, part in zip(shape, image.plane_shape, strict=True))
    np.testing.assert_array_equal(
        image.plane((0,) * len(image.loop_axes)).read()[0],
        sample.plane().read()[0, top : top + image.plane_shape[0], left : left + image.plane_shape[1]],
    )
    middle = samples.subset([replace(sample, image=image.plane(), mask_source=mask)])
    assert validated(card, network, samples) == evaluated(Model(card, network), middle)


def test_a_plane_no_larger_than_a_crop_of_training_is_validated_whole(network) -> None:
    card = make_card(input_size=1280)
    (sample,) = make_samples([(1200, 1500)], colour=False, pixel_size=None).samples
    image, mask = judged_part(sample.plane(), sample.mask(), card.preprocessor)
    assert image.plane_shape == (1200, 1280)
    assert mask is not None
    assert mask.shape == (1200, 1280)


def test_an_empty_middle_ends_no_training(network) -> None:
    card = make_card()
    image = np.full((1300, 1100), np.nan, np.float32)
    image[:100] = np.random.default_rng(0).random((100, 1100))
    sample = Sample("odd", from_array(image, "YX").plane(), np.zeros(image.shape, np.uint8), None, "odd")
    validator = Validator(SampleSet("s", (sample,), ("a", "b", "c")), card, TrainSettings(), torch.ones(3), torch.device("cpu"))
    for _ in range(2):
        assert validator.judge(PreparedNetwork(network), sample).pixels == 1024 * 1024


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mode", ["native", "resize"])
def test_validation_measures_the_loss_that_training_minimises(network, mode, label_smoothing) -> None:
    card = make_card(input_mode=mode)
    settings = TrainSettings(crop_size=SIZE, mode=mode, label_smoothing=label_smoothing)
    samples = make_samples([(SIZE, SIZE)] * 4, colour=True, pixel_size=None)
    samples = samples.subset([replace(samples.samples[0], mask_source=None), *samples.samples[1:]])
    weights = torch.tensor([0.5, 1.5, 1.0])
    validator = Validator(samples, card, settings, weights, torch.device("cpu"))
    prepared = PreparedNetwork(network)
    found = held_out_metrics([validator.judge(prepared, sample) for sample in samples.samples], settings.class_loss_weight)

    reader = PlaneReader(card.preprocessor)
    planes, masks = zip(*(reader.read(sample) for sample in samples.samples), strict=True)
    blank = np.zeros((SIZE, SIZE), np.uint8)
    batch = Batch(
        torch.from_numpy(np.stack(planes)),
        torch.from_numpy(np.stack([blank if mask is None else mask for mask in masks])).long(),
        torch.tensor([mask is not None for mask in masks]),
        torch.tensor([samples.class_number(sample) for sample in samples.samples]),
        torch.ones(len(planes), 1, SIZE, SIZE),
    )
    with torch.inference_mode():
        output = network(batch.images)
    parts = MultiTaskLoss(settings.class_loss_weight, weights, label_smoothing)(output, batch)
    assert found.class_loss == pytest.approx(float(parts.image_class), rel=1e-4)
    assert found.mask_loss == pytest.approx(float(parts.mask), rel=1e-3)
    assert found.loss == pytest.approx(float(parts.total), rel=1e-3)
    right = (output.class_logits.argmax(1) == batch.classes).float().mean()
    assert found.accuracy == pytest.approx(float(right))


def test_short_memory_counts_no_pixel_twice(network, monkeypatch) -> None:
    """A row of tiles that is begun again, with smaller ones, is measured once."""
    card = make_card()
    samples = make_samples([(300, 900)], colour=True, pixel_size=None)
    (sample,) = samples.samples
    validator = Validator(samples, card, TrainSettings(), torch.ones(3), torch.device("cpu"))
    monkeypatch.setattr("napari_resformer.prediction.plan.DEFAULT_TILE", 256)
    whole = validator.judge(PreparedNetwork(network), sample)
    forward, calls = ResFormer.forward_tile, []

    def short(self, x, *rest):
        calls.append(x.shape)
        if x.shape[3] > 420 and len(calls) > 1:
            raise MemoryError
        return forward(self, x, *rest)

    monkeypatch.setattr(ResFormer, "forward_tile", short)
    again = validator.judge(PreparedNetwork(network), sample)
    assert again.pixels == whole.pixels == 300 * 900
    assert again.tally.overlap.truth.tolist() == whole.tally.overlap.truth.tolist()
    assert again.cross_entropy == pytest.approx(whole.cross_entropy, rel=0.05)
