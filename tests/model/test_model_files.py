"""Model files and the library: round trips, and every kind of broken file."""

from __future__ import annotations

import functools
import http.server
import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.model.file import FORMAT, file_sha256, read_card, stored_weights


def test_saving_and_loading_keep_the_function(random_model, picture, tmp_path) -> None:
    path = random_model.save(tmp_path / "m.safetensors")
    loaded = nr.load_model(path)
    again = nr.load_model(loaded.save(tmp_path / "n.safetensors"))
    assert loaded.card == random_model.card
    one, two = nr.predict(loaded, picture, device="cpu"), nr.predict(again, picture, device="cpu")
    np.testing.assert_array_equal(one.mask, two.mask)
    np.testing.assert_array_equal(one.scores, two.scores)
    with pytest.raises(FileExistsError):
        random_model.save(path)


@pytest.mark.parametrize("name", ["nuclei", "colon-biopsy", "skin-lesion"])
def test_bundled_models_are_whole_and_say_what_they_are(name: str) -> None:
    entry = {entry.name: entry for entry in nr.list_models()}[name]
    assert entry.origin == "bundled"
    assert entry.path.stat().st_size < 10e6
    assert entry.card.notice
    assert entry.card.data[0].licence
    assert entry.card.metrics["test"]["n"] > 50
    assert nr.load_model(name).sha256 == file_sha256(entry.path)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file", pickle.dumps({"a": 1})])
def test_another_kind_of_file_is_refused(content: bytes, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.safetensors"):
        nr.load_model(path)


def test_a_truncated_file_is_refused(random_model, tmp_path) -> None:
    path = random_model.save(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cut off"):
        nr.load_model(path)


def rewrite(path, *, card=None, said=FORMAT, change=None) -> None:
    tensors = load_tensors(path)
    text = read_card(path).model_dump(mode="json")
    if change:
        change(tensors)
    if card:
        card(text)
    save_file(tensors, path, metadata={"format": said, "card": json.dumps(text)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"said": "napari-resformer/2"}, "update"),
        ({"said": "other"}, "no napari-resformer model"),
        ({"card": lambda card: card.update(input_size="big")}, "input_size"),
        ({"card": lambda card: card.update(surprise=1)}, "surprise"),
        ({"card": lambda card: card["network"].update(widths=[10**9] * 4)}, "widths"),
        ({"change": lambda tensors: tensors.popitem()}, "announces"),
        ({"change": lambda tensors: tensors["decoder.logits.weight"].fill_(float("nan"))}, "not finite"),
    ],
)
def test_a_wrong_card_or_weight_is_refused(random_model, tmp_path, changes, words: str) -> None:
    path = random_model.save(tmp_path / "m.safetensors")
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=words):
        nr.load_model(path)


def test_stored_weights_stay_as_they_are_when_training_goes_on(random_model) -> None:
    network = nr.network.ResFormer(random_model.card.network).train()
    kept = stored_weights(network)
    before = {name: tensor.clone() for name, tensor in kept.items()}
    network(torch.randn(2, 3, 64, 64))  # moves the running statistics
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="nuclei"):
        nr.load_model("nucleus")


@pytest.fixture
def server(tmp_path) -> Iterator[Path]:
    """A folder whose files a server of this machine hands out, at the address that lies in it as a text."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "address").write_text(f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def address(path: Path) -> str:
    return f"{(path.parent / 'address').read_text()}/{path.name}"


def test_a_download_is_checked_by_its_hash(random_model, server, user_folder) -> None:
    path = random_model.save(server / "far.safetensors")
    with pytest.raises(ValueError, match="hash"):
        nr.download_model(address(path), "0" * 64)
    assert not list(user_folder.glob("**/*"))
    assert nr.download_model(address(path), file_sha256(path)).name == "far"
    assert [one.name for one in user_folder.glob("**/*")] == ["far.safetensors"]
    assert torch.equal(*(next(nr.load_model(name).network.parameters()) for name in ("far", path)))


def test_a_download_replaces_no_other_model_unless_told_to(random_model, server, user_folder, capsys) -> None:
    user_folder.mkdir(parents=True, exist_ok=True)
    mine = user_folder / "far.safetensors"
    mine.write_bytes(b"years of work")
    path = random_model.save(server / "far.safetensors")
    download = ["models", "download", address(path), "--sha256", file_sha256(path)]
    assert main(download) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in (str(mine), "--name", "--overwrite"))
    broken = server / "broken.safetensors"
    broken.write_bytes(b"no model")
    with pytest.raises(ValueError, match="no complete safetensors file"):
        nr.download_model(address(broken), file_sha256(broken), "far", overwrite=True)
    assert mine.read_bytes() == b"years of work"
    assert main([*download, "--overwrite"]) == 0
    assert file_sha256(mine) == file_sha256(path)
    path.unlink()
    assert main(download) == 0  # it is there already, and is not fetched again
    assert [one.name for one in user_folder.glob("**/*")] == ["far.safetensors"]
