"""Sizes read width × height everywhere, no share is rounded to none or all, and one place puts them into words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.images.image import from_array
from napari_resformer.images.words import percent, pixel_words, share, size_words, stack_words
from napari_resformer.samples.pairs import LayerPair, pair_faults

HOUSE = Path(nr.__file__).parent


def test_the_width_comes_first() -> None:
    assert size_words((480, 640)) == "640 × 480 px"
    assert size_words(32) == "32 × 32 px"
    assert stack_words((480, 640)) == "640 × 480 px"
    assert stack_words((5, 480, 640)) == "5 planes of 640 × 480 px"
    assert stack_words((1, 480, 640)) == "1 plane of 640 × 480 px"
    assert stack_words((640, 2, 3, 480), "XTZY") == "2 × 3 planes of 640 × 480 px"
    assert pixel_words((0.5, 0.5)) == "0.5 µm"
    assert pixel_words((0.5, 0.4)) == "0.4 × 0.5 µm (width × height)"


def test_no_other_place_puts_a_size_or_a_share_into_words() -> None:
    by_hand = re.compile(r"\} ?[x×] ?\{|[\"'] ?[x×] ?[\"']\.join|:[0-9]*\.[0-9]%\}")
    found = [
        f"{path.relative_to(HOUSE)}:{number}"
        for path in HOUSE.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if by_hand.search(line) and path != HOUSE / "images" / "words.py"
    ]
    assert found == []


def test_errors_say_the_width_first() -> None:
    with pytest.raises(ValueError, match=r"are 60 × 5 px .* at least 8 × 8 px are needed"):
        from_array(np.zeros((5, 60)), "YX")
    with pytest.raises(ValueError, match=r"0 × 0\.5 µm"):
        from_array(np.zeros((40, 60)), "YX", pixel_size=(0.5, 0.0))
    stack = from_array(np.zeros((5, 40, 60)), "ZYX", name="cells")
    (fault,) = pair_faults(LayerPair(stack, np.zeros((5, 40, 50), np.uint8)))
    assert "are 5 planes of 50 × 40 px, the image is 5 planes of 60 × 40 px" in fault


def test_no_share_is_rounded_to_none_or_all() -> None:
    assert [percent(score) for score in (0.0, 0.096, 0.99999, 1.0)] == ["<0.1%", "9.6%", ">99.9%", ">99.9%"]
    assert [share(part, 4000) for part in (0, 1, 384, 3999, 4000)] == ["0%", "<0.1%", "9.6%", ">99.9%", "100%"]
    pixels = np.ma.masked_array(np.zeros((100, 100)), mask=np.arange(10000).reshape(100, 100) == 0)
    assert from_array(pixels, "YX").notes == ("<0.1% of the pixels are masked; they are taken as NaN",)
