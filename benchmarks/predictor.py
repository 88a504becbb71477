"""Many small images through one Predictor, over the bare network's time on the same tensors.

    python benchmarks/predictor.py [--images 200] [--side 128] [--model colon-biopsy] [--device cpu]

Image by image the two are timed in turns, so that whatever else the machine does hits both; the ratio is the median of
these pairs. The bare network is the prepared one: copied, fused and on its device, its input in memory.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import napari_resformer as nr


def main() -> None:
    """Print the two times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--model", default="colon-biopsy")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 255, (options.images, options.side, options.side, 3), dtype=np.uint8)
    model = nr.load_model(options.model)
    predictor = nr.Predictor(model, options.device)
    predictor.predict(images[0], axes="YXC")  # libraries that are loaded at first use
    whole, bare = [], []
    for image in images:
        begin = time.perf_counter()
        predictor.predict(image, axes="YXC")
        whole.append(time.perf_counter() - begin)
        bare.append(bare_seconds(predictor, image))
    ratio = statistics.median(one / other for one, other in zip(whole, bare, strict=True))
    print(
        f"{options.images} images of {options.side} x {options.side} px, {options.model} on {predictor.device.name}: "
        f"{statistics.median(whole) * 1e3:.1f} ms an image, bare network {statistics.median(bare) * 1e3:.1f} ms, "
        f"median of the pairs' ratios {ratio:.3f} (goal 1.15)"
    )


def bare_seconds(predictor: nr.Predictor, image: np.ndarray) -> float:
    """Return how long the network alone takes for just what it is given in a prediction of the image."""
    import torch

    from napari_resformer.prediction.batches import Place, Reader, passes

    plan = predictor.plan(image, axes="YXC")
    (one,) = passes(plan, Place(), plan.tile, plan.batch)
    inputs = Reader(plan).read(one)
    network = predictor.model.prepared(predictor.device.name).network
    pixels, owned = inputs.pixels.to(predictor.device.name), inputs.owned.to(predictor.device.name)
    begin = time.perf_counter()
    with torch.inference_mode():
        network.forward_tile(pixels, owned).mask_logits.cpu()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
