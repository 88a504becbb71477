"""The public names: there, documented, and each example in their docstrings does what it says."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import imageio.v3 as imageio
import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.io.write import write_tiff
from napari_resformer.model.file import file_sha256

DOCUMENTED = [name for name in nr.__all__ if not isinstance(getattr(nr, name), ModuleType)]


class Quiet(SimpleHTTPRequestHandler):
    """Hands out the files of a folder, and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path):
    """Serve the files of a folder from this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def world(tmp_path, monkeypatch, served):
    """What the examples take for granted: a folder to work in, a model, a data folder, an image file, an address."""
    work = tmp_path / "work"
    for part in ("images", "masks"):
        (work / "my-data" / part).mkdir(parents=True)
    monkeypatch.chdir(work)
    generator = np.random.default_rng(0)
    lines = ["filename,class"]
    for number in range(4):
        mask = np.zeros((64, 64), np.uint8)
        mask[8 + number : 40, 10:50] = 1
        image = (generator.integers(0, 40, mask.shape) + 150 * mask).astype(np.uint8)
        imageio.imwrite(work / "my-data" / "images" / f"{number}.png", image)
        imageio.imwrite(work / "my-data" / "masks" / f"{number}.png", mask)
        lines.append(f"{number}.png,{('fluorescence', 'histology')[number % 2]}")
    (work / "my-data" / "labels.csv").write_text("\n".join(lines))
    write_tiff(work / "cells.tif", generator.integers(0, 255, (64, 80), dtype=np.uint8), "YX", pixel_size=(0.5, 0.5))
    folder, address = served
    model = nr.load_model("nuclei")
    path = model.save(folder / "cells.safetensors")
    return {"model": model, "url": f"{address}/{path.name}", "sha256": file_sha256(path)}


@pytest.mark.filterwarnings("ignore::UserWarning")  # four images are few to train on
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_example_of_a_public_name_does_what_it_says(name: str, world) -> None:
    thing = getattr(nr, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(thing, name, globs=world | {name: thing})
    assert found.examples, f"{name} has no example"
    told: list[str] = []
    outcome = doctest.DocTestRunner(verbose=False).run(found, out=told.append)
    assert outcome.failed == 0, "".join(told)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_tells_its_parameters_and_errors(name: str) -> None:
    thing = getattr(nr, name)
    text = inspect.getdoc(thing) or ""
    own = [parameter for parameter in inspect.signature(thing).parameters if parameter not in ("self", "settings")]
    if name.startswith("iter_"):
        assert "Parameters and errors are those of" in text
        assert "Yields" in text
        return
    if name != "TrainSettings":  # each of whose fields has a text of its own
        assert [parameter for parameter in own if parameter not in text] == []
    if inspect.isfunction(thing):
        assert "Returns" in text
        assert "Raises" in text or not own


def test_the_names_are_those_of_the_contract() -> None:
    assert set(nr.__all__) == set(dir(nr)) == {
        "Image", "Model", "PredictResult", "Predictor", "Report", "TrainSettings", "download_model", "evaluate", "events",
        "iter_evaluate", "iter_predict", "iter_train", "list_models", "load_model", "network", "predict", "read_image", "train",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nr.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["Image", "Report", "PredictResult", "TrainSettings", "events", "read_image", "list_models"])
def test_what_needs_no_torch_loads_none(name: str) -> None:
    code = f"import sys, napari_resformer as nr; nr.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
