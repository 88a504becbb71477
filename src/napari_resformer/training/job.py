"""The training job: a generator of events, from samples to a model."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from napari_resformer.atomic import atomic_write
from napari_resformer.devices import choose_device, fast_precision
from napari_resformer.events import EpochDone, Finished, Progress, StepDone
from napari_resformer.images.channels import COLOUR
from napari_resformer.images.normalise import Normalisation
from napari_resformer.metrics import Report, make_report
from napari_resformer.model.card import Card, DataSource
from napari_resformer.model.file import Model, stored_weights
from napari_resformer.network import ResFormer, ResFormerConfig
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.split import split_samples
from napari_resformer.samples.survey import Survey, survey_samples
from napari_resformer.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from napari_resformer.training.loader import epoch_batches, steps_per_epoch
from napari_resformer.training.losses import LossParts, MultiTaskLoss, class_weights
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.validate import validate

TrainEvent = Progress | StepDone | EpochDone | Finished[Model]

_POLY_POWER = 0.9
_MAX_GRADIENT = 5.0


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its settings, checkpoint and metrics."""

    path: Path

    @property
    def settings(self) -> Path:
        """JSON of the settings and the split."""
        return self.path / "settings.json"

    @property
    def checkpoint(self) -> Path:
        """The last epoch's checkpoint."""
        return self.path / "last.pt"

    @property
    def metrics(self) -> Path:
        """One line an epoch."""
        return self.path / "metrics.csv"


def train_samples(
    samples: SampleSet,
    settings: TrainSettings,
    run: RunFolder,
    *,
    name: str,
    device: str = "auto",
    resume: bool = False,
) -> Iterator[TrainEvent]:
    """Train a network on samples, step by step.

    Parameters
    ----------
    samples : SampleSet
        Training and validation samples together.
    settings : TrainSettings
        What to do.
    run : RunFolder
        Where checkpoint and metrics go; made if needed.
    name : str
        Name of the model.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    resume : bool
        Go on from the run's last checkpoint, if there is one.

    Yields
    ------
    Progress
        While a validation runs.
    StepDone, EpochDone
        After each step and epoch; closing the generator cancels the run at the next of them.
    Finished
        With the model of the best epoch.

    Raises
    ------
    ValueError
        If the samples do not allow to train, or a resumed run has other settings.
    FileExistsError
        If the folder holds a run already and ``resume`` is False.
    """
    training, validation = split_samples(samples, folds=settings.folds, val_folds=settings.val_folds, seed=settings.seed)
    survey = survey_samples(training.subset([*training.samples, *validation.samples]))
    card = _draft_card(name, training, validation, survey, settings)
    checkpoint = _open_run(run, card, resume=resume)

    chosen = choose_device(device)
    precision = fast_precision(chosen.name) if settings.precision == "auto" else settings.precision
    fabric = Fabric(accelerator=chosen.name.partition(":")[0], devices=1, precision=precision)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = ResFormer(card.network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = AdamW(_parameter_groups(network, settings.weight_decay), lr=settings.lr)
    average = AveragedModel(network, avg_fn=partial(_average, settings.average_decay), use_buffers=True, device=fabric.device)
    history: list[dict[str, Any]] = []
    best_epoch, best_score, best = 0, -1.0, stored_weights(network)
    first_epoch = 1
    if checkpoint is not None:
        network.load_state_dict(checkpoint.network)
        average.load_state_dict(checkpoint.average)
        optimizer.load_state_dict(checkpoint.optimizer)
        history, first_epoch = checkpoint.history, checkpoint.epoch + 1
        best_epoch, best_score, best = checkpoint.best_epoch, checkpoint.best_score, checkpoint.best
    module, optimizer = fabric.setup(network, optimizer)
    counts = [survey.class_counts.get(image_class, 0) for image_class in training.image_classes]
    criterion = MultiTaskLoss(settings.class_loss_weight, class_weights(counts, settings.balance)).to(fabric.device)
    steps = steps_per_epoch(len(training.samples), settings.batch)
    scheduler = _schedule(optimizer, settings, steps, done=(first_epoch - 1) * steps)

    for epoch in range(first_epoch, settings.epochs + 1):
        if settings.patience and epoch - 1 - best_epoch >= settings.patience and best_epoch:
            break
        begin = time.perf_counter()
        sums = torch.zeros(3)
        batches = epoch_batches(training, card.channels, card.normalisation, settings, epoch)
        try:
            for step, batch in enumerate(batches, start=1):
                seed = (settings.seed * 1_000_003 + epoch) * 1_000_003 + step
                with torch.random.fork_rng():  # dropout depends on the step alone, and nobody else's state changes
                    torch.manual_seed(seed % 2**63)
                    parts = _step(fabric, module, optimizer, criterion, batch.to(fabric.device))
                scheduler.step()
                if settings.average_decay:
                    average.update_parameters(network)
                sums += torch.stack([part.detach().cpu() for part in parts])
                yield StepDone(epoch, settings.epochs, step, steps, float(parts.total.detach()))
        finally:
            batches.close()  # type: ignore[attr-defined]

        judged: Any = average.module if settings.average_decay else network
        judged.eval()
        tallies = []
        for tally in validate(judged, validation, card.channels, card.normalisation, settings, fabric.device):
            tallies.append(tally)
            yield Progress(len(tallies), len(validation.samples), "validation image")
        network.train()
        report = make_report(tallies, card.mask_classes, card.image_classes)
        score = selection_score(report)
        if is_best := score > best_score:
            best_epoch, best_score, best = epoch, score, stored_weights(judged)
        loss, mask_loss, class_loss = (sums / steps).tolist()
        done = EpochDone(
            epoch,
            settings.epochs,
            loss,
            mask_loss,
            class_loss,
            report,
            score,
            is_best,
            time.perf_counter() - begin,
        )
        history.append(_history_row(done))
        save_checkpoint(
            Checkpoint(
                epoch,
                network.state_dict(),
                average.state_dict(),
                optimizer.state_dict(),
                best_epoch,
                best_score,
                best,
                history,
            ),
            run.checkpoint,
        )
        _write_metrics(history, run.metrics)
        yield done

    yield Finished(_finish(card, best, best_epoch, history))


def selection_score(report: Report) -> float:
    """Return what the best epoch is picked by: the mean of Dice and balanced accuracy, as far as each is known."""
    known = [report.mask_mean.dice, report.image_class.balanced_accuracy if report.image_class else None]
    values = [value for value in known if value is not None]
    return sum(values) / len(values) if values else 0.0


def _step(fabric: Fabric, module: nn.Module, optimizer: Any, criterion: MultiTaskLoss, batch: Any) -> LossParts:
    module.train()
    parts: LossParts = criterion(module(batch.images, batch.valid), batch)
    optimizer.zero_grad()
    fabric.backward(parts.total)
    fabric.clip_gradients(module, optimizer, max_norm=_MAX_GRADIENT)
    optimizer.step()
    return parts


def _average(decay: float, average: Tensor, value: Tensor, updates: Tensor) -> Tensor:
    """Average exponentially; the decay rises to ``decay`` over the first updates, so that a short run does not lag behind."""
    if not average.is_floating_point():
        return value
    now = min(decay, (1 + int(updates)) / (10 + int(updates)))
    return torch.lerp(average, value, 1 - now)


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups of parameters: matrices and kernels decay; norms, biases and position biases do not."""
    decays = [parameter for name, parameter in network.named_parameters() if parameter.ndim > 1 and "position_bias" not in name]
    others = [parameter for name, parameter in network.named_parameters() if parameter.ndim <= 1 or "position_bias" in name]
    return [{"params": decays, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(optimizer: Any, settings: TrainSettings, steps: int, done: int) -> LambdaLR:
    total = steps * settings.epochs
    warmup = max(round(settings.warmup * total), 1)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(1 - (step - warmup) / max(total - warmup, 1), 1e-3) ** _POLY_POWER

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", settings.lr)
    return LambdaLR(optimizer, factor, last_epoch=done - 1)


def _draft_card(name: str, training: SampleSet, validation: SampleSet, survey: Survey, settings: TrainSettings) -> Card:
    """Return the card of the model to be, without metrics."""
    top = max(survey.mask_values, default=0)
    if settings.mask_classes and top > len(settings.mask_classes):
        raise ValueError(
            f"the masks hold label values up to {top}, but {len(settings.mask_classes)} mask classes are named "
            f"({', '.join(settings.mask_classes)}); name {top}, or merge the values"
        )
    if top > 254:
        raise ValueError(f"the masks hold label values up to {top}; values are mask classes, not object numbers: at most 254")
    mask_classes = settings.mask_classes or tuple(f"class {value}" for value in range(1, max(top, 1) + 1))
    channels = _channels(survey, settings.colour)
    config = ResFormerConfig.preset(
        settings.preset,
        in_channels=len(channels),
        mask_classes=len(mask_classes),
        image_classes=len(training.image_classes),
    )
    return Card(
        name=name,
        network=config,
        mask_classes=mask_classes,
        image_classes=training.image_classes,
        channels=channels,
        normalisation=Normalisation(per_channel=channels != COLOUR and len(channels) > 1),
        input_mode=settings.mode,
        input_size=settings.size,
        data=(DataSource(name=training.name),),
        training={
            "settings": settings.model_dump(mode="json"),
            "training_images": len(training.samples),
            "training_groups": len({sample.group for sample in training.samples}),
            "validation_images": len(validation.samples),
            "validation_groups": len({sample.group for sample in validation.samples}),
            "validation_names": [sample.name for sample in validation.samples],
            "class_counts": dict(survey.class_counts),
        },
    )


def _channels(survey: Survey, colour: bool | None) -> tuple[str, ...]:
    if colour or (colour is None and survey.colour):
        return COLOUR
    if len(survey.channels) > 1:
        raise ValueError(
            f"the images have {' or '.join(map(str, survey.channels))} channels and are not in colour; "
            "give all the same number of channels"
        )
    count = survey.channels[0]
    return ("gray",) if count == 1 else tuple(f"channel {number}" for number in range(count))


def _open_run(run: RunFolder, card: Card, *, resume: bool) -> Checkpoint | None:
    """Store or compare the run's settings, and load its checkpoint if it goes on."""
    described = card.model_dump(mode="json", include={"network", "training", "mask_classes", "image_classes", "channels"})
    if run.checkpoint.exists():
        if not resume:
            raise FileExistsError(f"{run.path} holds a run already; resume it, or choose another name or folder")
        before = json.loads(run.settings.read_text(encoding="utf-8"))
        if changed := sorted(_differences(before, described)):
            raise ValueError(
                f"the run in {run.path} was started with other settings: {', '.join(changed)}; use the same, or start a new run"
            )
        return load_checkpoint(run.checkpoint)
    with atomic_write(run.settings) as file:
        file.write(json.dumps(described, indent=1, ensure_ascii=False).encode())
    return None


def _differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
    elif before != now:
        yield place.removeprefix("training.settings.")


def _history_row(done: EpochDone) -> dict[str, Any]:
    report = done.validation
    return {
        "epoch": done.epoch,
        "loss": done.loss,
        "mask_loss": done.mask_loss,
        "class_loss": done.class_loss,
        "dice": report.mask_mean.dice,
        **{f"dice {name}": score.dice for name, score in report.mask.items()},
        "accuracy": report.image_class.accuracy if report.image_class else None,
        "balanced_accuracy": report.image_class.balanced_accuracy if report.image_class else None,
        "auroc": report.image_class.auroc if report.image_class else None,
        "score": done.score,
        "best": done.best,
        "seconds": round(done.seconds, 2),
    }


def _write_metrics(history: list[dict[str, Any]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _finish(card: Card, best: dict[str, Any], best_epoch: int, history: list[dict[str, Any]]) -> Model:
    network = ResFormer(card.network)
    network.load_state_dict(best)
    row = next((row for row in history if row["epoch"] == best_epoch), {})
    training = card.training | {"best_epoch": best_epoch, "epochs_done": len(history)}
    metrics = {"validation": {key: value for key, value in row.items() if key not in {"best", "seconds"}}}
    return Model(card.model_copy(update={"training": training, "metrics": metrics}), network.eval())
