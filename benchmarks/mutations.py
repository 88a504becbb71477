"""Damaged files by the thousand: ``python benchmarks/mutations.py [-n 3000] [--first 0] [--seed 0] [--workers 2] [--keep DIR]``.

Small valid image and model files are cut off, flipped in places, given other numbers in their headers and nonsense in their
words. Each is read and predicted (a model: loaded) by a worker of 8 GB of address space. The result must be an answer, or one
sentence in a ValueError, TypeError, OSError or MemoryError, within 10 seconds on the clock. What is not is printed, with the
number that makes it again. Other programs slow this one down: the processor's seconds are printed, too.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import queue
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_BYTES = 8 * 2**30
LIMIT_SECONDS = 10.0
"""On the clock, from the path to the answer."""
HANGS_SECONDS = 60.0
_TIMES = {"clock": "on the clock", "seconds": "of the processor"}
EXPECTED = ("ValueError", "TypeError", "OSError", "MemoryError")
NONSENSE = (
    b"-1",
    b"0",
    b"999999999999",
    b"1e400",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b"abc",
    b"\xff\xfe",
    b"",
    b"0,5",
    b"2147483648",
)


# ------------------------------------------------------------------------------------------------------------- valid files
def scene(shape: tuple[int, ...] = (64, 64), kind: type = np.uint8) -> Any:
    """Return round spots on a dark ground, planes of a stack alike."""
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    picture = 20 + 160 * np.clip((9 - np.hypot(rows % 24 - 12, columns % 24 - 12)) / 3, 0, 1)
    return np.broadcast_to(picture, shape).astype(kind).copy()


def originals(folder: Path) -> list[Path]:
    """Write one small file of each kind; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for write in (tiffs, pictures, arrays, zarrs, models):
        write(folder)
    return sorted(folder.iterdir())


def tiffs(folder: Path) -> None:
    """Write TIFF files."""
    import tifffile

    gray, stack, color = scene(), scene((3, 2, 64, 64), np.uint16), np.dstack([scene()] * 3)
    palette = np.stack([np.arange(256) * 257] * 2 + [np.zeros(256)]).astype(np.uint16)
    plain: dict[str, Any] = {"metadata": None}
    sizes = {"axes": "TZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    for name, pixels, options in (
        ("plain", gray, plain), ("zlib", gray, plain | {"compression": "zlib", "rowsperstrip": 16}),
        ("lzw", color, plain | {"compression": "lzw", "tile": (32, 32), "photometric": "rgb"}),
        ("jpeg", color, plain | {"compression": "jpeg", "photometric": "rgb"}), ("shaped", stack, {"metadata": {"axes": "TZYX"}}),
        ("ome", stack, {"ome": True, "metadata": sizes}),
        ("imagej", stack, {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "TZYX", "spacing": 2.0, "unit": "um"}}),
        ("palette", gray, plain | {"photometric": "palette", "colormap": palette}),
        ("inks", np.dstack([gray] * 4), plain | {"photometric": "separated"}),
        ("white", gray, plain | {"photometric": "miniswhite"}), ("bits", gray > 99, plain | {"photometric": "minisblack"}),
        ("alpha", np.dstack([gray, gray]), plain | {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [2]}),
        ("float", scene(kind=np.float32), plain | {"predictor": True, "compression": "zstd"}),
        ("big", gray, plain | {"bigtiff": True}), ("motorola", scene(kind=np.uint16), plain | {"byteorder": ">"}),
        ("turned", gray, plain | {"extratags": [(274, "H", 1, 6, True)]}),
    ):  # fmt: skip
        tifffile.imwrite(folder / f"{name}.tif", pixels, **options)
    with tifffile.TiffWriter(folder / "levels.tif") as file:
        file.write(gray, subifds=1, tile=(32, 32), compression="zlib", **plain)
        file.write(np.ascontiguousarray(gray[::2, ::2]), subfiletype=1, tile=(32, 32), compression="zlib", **plain)
        file.write(color, photometric="rgb", **plain)


def pictures(folder: Path) -> None:
    """Write pictures."""
    from imagecodecs import png_encode
    from PIL import Image

    gray, color = Image.fromarray(scene()), Image.fromarray(np.dstack([scene(), scene()[::-1], scene().T]))
    frames = [Image.fromarray(np.roll(scene(), 5 * step, 0)) for step in range(3)]
    exif = Image.Exif()
    exif[274] = 6
    gray.save(folder / "gray.png", exif=exif)
    color.quantize(16).save(folder / "palette.png", transparency=0)
    color.convert("RGBA").save(folder / "alpha.png")
    (folder / "deep.png").write_bytes(png_encode(np.dstack([scene(kind=np.uint16) * 99] * 3)))
    frames[0].save(folder / "movie.png", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "movie.gif", save_all=True, append_images=frames[1:])
    color.save(folder / "photo.jpg", exif=exif)
    color.save(folder / "photo-progressive.jpg", progressive=True)
    color.convert("CMYK").save(folder / "inks.jpg")
    color.save(folder / "plain.bmp")
    color.quantize(16).save(folder / "palette.bmp")
    color.save(folder / "photo.webp")
    color.save(folder / "lossless.webp", lossless=True)


def arrays(folder: Path) -> None:
    """Write numpy files."""
    np.save(folder / "gray.npy", scene())
    np.save(folder / "stack.npy", scene((5, 64, 64), np.float32))


def zarrs(folder: Path) -> None:
    """Write zarr arrays and OME-Zarr images; a mutation changes one of a store's files."""
    import zarr

    for version in (2, 3):
        zarr.create_array(folder / f"array{version}.zarr", data=scene(), chunks=(32, 32), zarr_format=version)
        group = zarr.create_group(folder / f"image{version}.ome.zarr", zarr_format=version)
        axes = [{"name": "z", "type": "space"}] + [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
        sets = []
        for level in range(2):
            step = 2**level
            array = group.create_array(str(level), shape=(5, 64 // step, 64 // step), dtype=np.uint8, chunks=(1, 32, 32))
            array[...] = scene(array.shape)
            steps = [{"type": "scale", "scale": [2.0, 0.5 * step, 0.5 * step]}, {"type": "translation", "translation": [0, 9, 9]}]
            sets.append({"path": str(level), "coordinateTransformations": steps})
        told: dict[str, Any] = {"multiscales": [{"axes": axes, "datasets": sets, "version": "0.4"}]}
        group.attrs.update(told if version == 2 else {"ome": told | {"version": "0.5"}})


def models(folder: Path) -> None:
    """Write a tiny model of random weights."""
    import torch

    from napari_resformer.model.card import Card
    from napari_resformer.model.file import Model
    from napari_resformer.network import ResFormer, ResFormerConfig

    torch.manual_seed(0)
    config = ResFormerConfig.preset("tiny", mask_classes=1, image_classes=2)
    card = Card(name="m", network=config, mask_classes=("a",), image_classes=("b", "c"), channels=("red", "green", "blue"))
    Model(card, ResFormer(config).eval()).save(folder / "model.safetensors", overwrite=True)


# --------------------------------------------------------------------------------------------------------------- mutations
def cut_off(content: bytearray, chance: random.Random) -> bytearray:
    """Keep the beginning."""
    return content[: chance.randrange(len(content))]


def flip(content: bytearray, chance: random.Random) -> bytearray:
    """Change some bytes anywhere."""
    for _ in range(chance.choice((1, 1, 2, 5, 20, 200))):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return content


def change_header(content: bytearray, chance: random.Random) -> bytearray:
    """Write other numbers into the first bytes, or into the tags of a TIFF file."""
    end = min(len(content), 400)
    if content[:2] in (b"II", b"MM") and len(content) > 50:
        order = "<" if content[:2] == b"II" else ">"
        size, start, width, head = (12, struct.unpack(f"{order}I", content[4:8])[0], 4, 2)
        if content[2:4] in (b"+\0", b"\0+"):
            size, start, width, head = (20, struct.unpack(f"{order}Q", content[8:16])[0], 8, 8)
        tags = range(start + head, min(start + head + 20 * size, len(content) - size), size)
        if tags:
            place = chance.choice(tags) + chance.choice((0, 2, 4, size - width, size - width))
            value = chance.choice((0, 1, 7, 255, 65535, 12_000_000, 2**31 - 1, 2**32 - 1, chance.randrange(2**32)))
            content[place : place + 4] = struct.pack(f"{order}I", value)
            return content
    place = chance.randrange(max(end - 4, 1))
    length = chance.choice((1, 2, 4))
    content[place : place + length] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", chance.randbytes(4)))[
        :length
    ]
    return content


def talk_nonsense(content: bytearray, chance: random.Random) -> bytearray:
    """Put nonsense in place of a number or a word of XML, JSON or any text."""
    words = list(re.finditer(rb"-?\d+(\.\d+)?|[A-Za-z_]{3,}|[\[\]{}\"<>:,]", bytes(content[:20000])))
    if not words:
        return flip(content, chance)
    for word in chance.sample(words, min(len(words), chance.choice((1, 1, 1, 3)))):
        other = chance.choice(NONSENSE)
        if content[:1] in (b"{", b"["):  # JSON has no fixed length
            return bytearray(bytes(content[: word.start()]) + other + bytes(content[word.end() :]))
        content[word.start() : word.end()] = (other + b" " * len(word[0]))[: len(word[0])]
    return content


def repeat_or_drop(content: bytearray, chance: random.Random) -> bytearray:
    """Take a piece out, or put it in twice."""
    first, last = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    piece = content[first : min(last, first + 1000)]
    return content[:first] + content[first + len(piece) :] if chance.random() < 0.5 else content[:first] + piece + content[first:]


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    cut_off, flip, change_header, change_header, talk_nonsense, talk_nonsense, repeat_or_drop,
)  # fmt: skip


def mutate(sources: list[Path], number: int, seed: int, folder: Path) -> Path:
    """Write one damaged file, or store; the same for the same numbers."""
    chance = random.Random(f"{seed} {number}")
    source = sources[number % len(sources)]
    target = folder / f"{number}-{source.name}"
    if source.is_dir():
        shutil.copytree(source, target)
        damaged = chance.choice(sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size))
    else:
        shutil.copyfile(source, target)
        damaged = target
    content = bytearray(damaged.read_bytes())
    for _ in range(chance.choice((1, 1, 2))):
        if content:
            content = chance.choice(MUTATIONS)(content, chance)
    damaged.write_bytes(content)
    return target


# ------------------------------------------------------------------------------------------------------------------ judging
def answer(path: Path, model: Any) -> str:
    """Read and predict an image, its pixels as they are stored, too; or load a model."""
    from napari_resformer.io.pixels import read_pixels
    from napari_resformer.io.read import read_image
    from napari_resformer.model.library import load_model
    from napari_resformer.prediction.api import predict

    if path.suffix == ".safetensors":
        return load_model(str(path)).card.name
    image = read_image(path)
    predict(model, image, device="cpu")
    read_pixels(path)
    return f"{image.axes} {tuple(image.data.shape)}"


def work() -> None:
    """Take paths from standard input, and print a line of JSON for each."""
    import resource

    import torch

    from napari_resformer.model.library import load_model

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    out, sys.stdout = sys.stdout, io.StringIO()
    model = load_model(sys.argv[2])
    answer(Path(sys.argv[2]).with_name("gray.npy"), model)  # what is imported on the way takes no file's time
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        begin, clock = time.process_time(), time.perf_counter()
        try:
            told = {"kind": "result", "text": answer(Path(line.strip()), model)}
        except Exception as error:  # noqa: BLE001 - which kind it is, is the question
            expected = isinstance(error, ValueError | TypeError | OSError | MemoryError)
            told = {"kind": "sentence" if expected else type(error).__name__, "text": str(error)}
            if not told["text"].strip():
                told["kind"] = f"no words ({type(error).__name__})"
        spent = {"seconds": time.process_time() - begin, "clock": time.perf_counter() - clock}
        print(json.dumps(told | spent), file=out, flush=True)


class Worker:
    """A process that judges files one by one; a new one where it dies or is too slow."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def judge(self, path: Path) -> dict[str, Any]:
        """Return what became of a file."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=HANGS_SECONDS)
        except queue.Empty:
            self.close()
            return {"kind": "too slow", "text": "", "seconds": HANGS_SECONDS, "clock": HANGS_SECONDS}
        if not line:
            return {"kind": f"died ({self._process.wait()})", "text": "", "seconds": 0.0, "clock": 0.0}
        told: dict[str, Any] = json.loads(line)
        return told | {"kind": "too slow"} if told["clock"] > LIMIT_SECONDS else told

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        command = [sys.executable, __file__, "--work", str(self._model)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, self._lines), daemon=True).start()
        assert self._lines.get(timeout=300).strip() == "ready"

    @staticmethod
    def _listen(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")


def main() -> None:
    """Judge so many damaged files."""
    if sys.argv[1:2] == ["--work"]:
        work()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="where files that fail are kept")
    parser.add_argument("--sentences", action="store_true", help="print what was said of each file")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    slowest = dict.fromkeys(_TIMES, (0.0, ""))
    with tempfile.TemporaryDirectory() as place:
        sources = originals(Path(place) / "valid")
        numbers: queue.Queue[int] = queue.Queue()
        for number in range(options.first, options.first + options.n):
            numbers.put(number)
        lock = threading.Lock()

        def run() -> None:
            worker = Worker(Path(place) / "valid" / "model.safetensors")
            while True:
                try:
                    number = numbers.get_nowait()
                except queue.Empty:
                    worker.close()
                    return
                path = mutate(sources, number, options.seed, Path(place))
                told = worker.judge(path)
                with lock:
                    counts[told["kind"]] += 1
                    slowest.update({kind: max(slowest[kind], (told[kind], path.name)) for kind in _TIMES})
                    if options.sentences:
                        print(f"{told['kind']}: {told['text'][:500]}", flush=True)
                    if told["kind"] not in ("result", "sentence"):
                        print(f"{path.name}: {told['kind']} after {told['clock']:.1f} s: {told['text'][:300]}", flush=True)
                        if options.keep:
                            options.keep.mkdir(parents=True, exist_ok=True)
                            shutil.move(path, options.keep / path.name)
                (shutil.rmtree if path.is_dir() else Path.unlink)(path, True)

        threads = [threading.Thread(target=run) for _ in range(options.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{sum(counts.values())} files: {dict(counts.most_common())}")
    print("; ".join(f"the slowest took {slowest[kind][0]:.1f} s {words} ({slowest[kind][1]})" for kind, words in _TIMES.items()))


if __name__ == "__main__":
    main()
