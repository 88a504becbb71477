"""Prediction on CUDA where its memory is short."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_resformer as nr

pytestmark = pytest.mark.gpu


def test_a_gpu_that_is_short_of_memory_takes_smaller_tiles(random_model: nr.Model) -> None:
    if not torch.cuda.is_available():
        pytest.skip("the limit is CUDA's")
    image = np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), dtype=np.uint8)
    device = f"cuda:{torch.cuda.current_device()}"
    expected = nr.predict(random_model, image, axes="YXC", device=device, tile=2048)
    assert expected.provenance["tile"] == 2048
    peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(device)
    try:
        torch.cuda.set_per_process_memory_fraction((held + 0.5 * (peak - held)) / total, device)
        found = nr.predict(random_model, image, axes="YXC", device=device, tile=2048)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert found.provenance["tile"] < 2048
    assert (found.mask != expected.mask).mean() < 0.005
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.02)


def test_a_gpu_says_of_an_image_what_the_cpu_says(random_model: nr.Model, picture: np.ndarray) -> None:
    outputs = ("mask", "probabilities")
    there = nr.predict(random_model, picture, axes="YXC", device="auto", outputs=outputs)
    here = nr.predict(random_model, picture, axes="YXC", device="cpu", outputs=outputs)
    assert not there.provenance["device"].startswith("cpu")
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=0.02)
    np.testing.assert_allclose(there.scores, here.scores, atol=0.02)
