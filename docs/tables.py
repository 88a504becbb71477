"""Print the tables of docs/models.md, docs/network.md and README.md from the bundled models' cards: ``python docs/tables.py``."""

from __future__ import annotations

from typing import Any

from napari_resformer import list_models
from napari_resformer.network import ResFormer, ResFormerConfig
from napari_resformer.network.config import PRESETS


def models_table() -> list[str]:
    """Return a line a bundled model."""
    lines = ["| model | test images | mean Dice per image | pooled | image class |", "|---|---|---|---|---|"]
    for entry in list_models():
        if entry.origin != "bundled":
            continue
        test: Any = entry.card.metrics["test"]
        kinds = test.get("mask_by_image_class", {})
        parts = ", ".join(f"{name} {kind['dice']:.3f} ({kind['n']})" for name, kind in kinds.items() if kind["dice"] is not None)
        scores = test["class"]
        answer = (
            f"accuracy {scores['accuracy']:.3f}, balanced accuracy {scores['balanced_accuracy']:.3f}, AUROC {scores['auroc']:.3f}"
        )
        mask = test["mask_mean"]
        lines.append(f"| `{entry.name}` | {test['n']} | {mask['dice']:.3f}: {parts} | {mask['dice_pooled']:.3f} | {answer} |")
    return lines


def floors_table() -> list[str]:
    """Return what simple rules reach on each model's test images, beside the model."""
    lines = ["| model | rule | Dice | balanced accuracy | AUROC |", "|---|---|---|---|---|"]
    for entry in list_models():
        metrics: Any = entry.card.metrics
        if entry.origin != "bundled" or "floors" not in metrics:
            continue
        test = metrics["test"]
        scores, span = test["class"], test["intervals"]
        lines.append(
            f"| `{entry.name}` | the model | {_with_interval(test['mask_mean']['dice'], span['mask_mean']['dice'])} | "
            f"{_with_interval(scores['balanced_accuracy'], span['class']['balanced_accuracy'])} | "
            f"{_with_interval(scores['auroc'], span['class']['auroc'])} |"
        )
        for rule, found in metrics["floors"].items():
            figures = (
                f"{found[key]:.3f}" if found.get(key) is not None else "" for key in ("dice", "balanced_accuracy", "auroc")
            )
            lines.append(f"| | {rule} | {' | '.join(figures)} |")
    return lines


def _with_interval(value: float, interval: Any) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def confusion_table(name: str) -> list[str]:
    """Return a model's confusion table, a row a true class, with the sensitivity of each."""
    card = next(entry.card for entry in list_models() if entry.name == name)
    test: Any = card.metrics["test"]
    scores = test["class"]
    lines = [f"| truth \\ predicted | {' | '.join(scores['classes'])} | sensitivity | AUROC |"]
    lines.append("|---" * (len(scores["classes"]) + 3) + "|")
    for label, row in zip(scores["classes"], scores["confusion"], strict=True):
        one = scores["per_class"][label]
        lines.append(f"| {label} | {' | '.join(map(str, row))} | {one['sensitivity']:.2f} | {one['auroc']:.3f} |")
    return lines


def network_table() -> list[str]:
    """Return a line a preset."""
    lines = ["| preset | parameters | widths | blocks | attention windows (cells) |", "|---|---|---|---|---|"]
    for preset in PRESETS:
        config = ResFormerConfig.preset(preset, image_classes=5)
        count = sum(parameter.numel() for parameter in ResFormer(config).parameters())
        cells = (
            "-".join(map(str, config.windows)).replace("0", "none") if 0 in config.windows else "-".join(map(str, config.windows))
        )
        widths, depths = "-".join(map(str, config.widths)), "-".join(map(str, config.depths))
        lines.append(f"| `{preset}` | {count / 1e6:.2f} million | {widths} | {depths} | {cells} |")
    return lines


def main() -> None:
    """Print every table."""
    tables = [models_table(), floors_table(), confusion_table("colon-biopsy"), confusion_table("skin-lesion"), network_table()]
    print("\n\n".join("\n".join(lines) for lines in tables))


if __name__ == "__main__":
    main()
