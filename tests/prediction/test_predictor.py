"""One Predictor for many images: prepared once, and the same answers."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.events import Finished
from napari_resformer.images.image import from_array
from napari_resformer.model.file import Model
from napari_resformer.network import inference


@pytest.fixture
def model(random_model) -> Model:
    """The random model, as if nobody had used it yet."""
    return Model(random_model.card, random_model.network)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time that a network is copied."""
    devices, real = [], inference.for_inference

    def watched(network, device="cpu"):
        devices.append(str(device))
        return real(network, device)

    monkeypatch.setattr(inference, "for_inference", watched)
    return devices


def test_the_network_is_prepared_once_for_a_model(model, picture, prepared) -> None:
    predictor = nr.Predictor(model, "cpu")
    results = [predictor.predict(picture), predictor.predict(picture), nr.predict(model, picture, device="cpu")]
    assert prepared == ["cpu"]
    for result in results[1:]:
        np.testing.assert_array_equal(result.mask, results[0].mask)
        np.testing.assert_array_equal(result.scores, results[0].scores)
    nr.predict(Model(model.card, model.network), picture, device="cpu")  # another model may have other weights
    assert prepared == ["cpu", "cpu"]


def test_what_is_prepared_goes_into_no_copy(model, picture) -> None:
    nr.predict(model, picture, device="cpu")
    size = len(pickle.dumps(Model(model.card, model.network)))
    assert len(pickle.dumps(model)) == size
    assert copy.copy(model)._prepared == {}
    assert "_prepared" not in repr(model)
    assert pickle.loads(pickle.dumps(model)).prepared("cpu") is not model.prepared("cpu")


def test_arrays_images_and_plans_are_taken(model, picture) -> None:
    predictor = nr.Predictor(model, "cpu")
    options = {"channels": [2, 1, 0], "zoom": 0.8, "tile": 64}
    expected = predictor.predict(picture, axes="YXC", **options)
    image = from_array(picture, "YXC", name="named")
    plan = predictor.plan(image, **options)
    for result in (predictor.predict(image, **options), predictor.predict(plan)):
        np.testing.assert_array_equal(result.mask, expected.mask)
        assert result.provenance["image"]["layer"] == "named"
    *_, last = predictor.iter(plan, outputs=("probabilities",))
    assert isinstance(last, Finished)
    np.testing.assert_array_equal(last.result.probabilities.argmax(0), expected.mask)


def test_what_a_plan_settles_is_not_asked_again(model, picture) -> None:
    predictor = nr.Predictor(model, "cpu")
    plan = predictor.plan(picture, axes="YXC")
    for option in ({"axes": "YXC"}, {"tile": 64}, {"zoom": 1}, {"pixel_size": 1}, {"channels": [0, 1, 2]}):
        with pytest.raises(ValueError, match="a plan settles"):
            predictor.predict(plan, **option)
    elsewhere = copy.copy(plan)
    object.__setattr__(elsewhere, "device", type(plan.device)("cuda", "for the test"))
    with pytest.raises(ValueError, match="the plan is for cuda, this Predictor is on cpu"):
        predictor.predict(elsewhere)


def test_an_unknown_device_is_refused_at_once(model) -> None:
    with pytest.raises(ValueError, match="unknown device"):
        nr.Predictor(model, "tpu")


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_one_pass_needs_no_thread(model, monkeypatch: pytest.MonkeyPatch, axes: str) -> None:
    """Neither a small image nor a stack that goes through the network at once."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail(f"{self.name} was started"))
    array = np.random.default_rng(0).random((3, 40, 48) if axes == "ZYX" else (40, 48))
    nr.predict(model, array, axes=axes, device="cpu")


def test_threads_share_a_predictor(model, picture) -> None:
    predictor = nr.Predictor(model, "cpu")
    expected = predictor.predict(picture, tile=64).mask
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(predictor.predict(picture, tile=64).mask)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for mask in found:
        np.testing.assert_array_equal(mask, expected)
