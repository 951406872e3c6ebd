"""Weights and model card of a run, as qcnode reads them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from qcnode.assess.inputs import number_count
from qcnode.assess.model_card import (
    CARD_NAME,
    CalibrationFacts,
    FileDigest,
    ModelCard,
    NetworkFacts,
    NoveltyFacts,
    Preprocessing,
    PseudoReferenceFacts,
    QualityDefinition,
    TrainingFacts,
    load_card,
)
from qcnode.assess.networks.qcresunet import Design
from qcnode.digests import sha256_of
from qcnode.errors import ConfigurationError
from training.config import Recipe

WEIGHTS, PSEUDO_WEIGHTS = "weights.safetensors", "pseudo-reference.safetensors"
MODEL = "model"
"""Folder of a run that holds its model."""


def design_of(recipe: Recipe) -> Design:
    """QCResUNet as this recipe wants it."""
    tissues, network = len(recipe.card.tissues), recipe.network
    return Design(
        contrasts=len(recipe.card.contrasts),
        tissues=tissues,
        outputs=2 + tissues,
        width=network.width,
        depth=network.depth,
        strides=network.strides,
        dropout=network.dropout,
        stem_kernel=network.stem_kernel,
        stem_stride=network.stem_stride,
        further_channels=tissues,
        numbers=number_count(tissues),
        flat_stages=network.flat_stages,
        norm=network.norm,
        group_norm_last=network.group_norm_last,
        max_pooling=True,
        coarse_decoder=network.coarse_decoder,
        implied=True,
    )


def write_model(recipe: Recipe, run: Path, folder: Path, name: str = "quality") -> Path:
    """Weights of all members, in half precision, and an uncalibrated card; `name` tells variants of QCResUNet apart."""
    folder.mkdir(parents=True, exist_ok=True)
    quality = {f"{i}.": _weights(run / f"{name}-{i}") for i in range(recipe.folds)}
    pseudo = {f"{i}.{part}.": _weights(run / f"{part}-{i}") for i in range(recipe.folds) for part in ("localiser", "segmenter")}
    for stored, file in ((quality, WEIGHTS), (pseudo, PSEUDO_WEIGHTS)):
        save_file({prefix + k: _half(v) for prefix, weights in stored.items() for k, v in weights.items()}, folder / file)
        (folder / file).chmod(0o644)
    write_card(_card(recipe, tuple(FileDigest(name=n, sha256=sha256_of(folder / n)) for n in (WEIGHTS, PSEUDO_WEIGHTS))), folder)
    return folder


def calibrated_model(folder: Path, calibration: CalibrationFacts, novelty: NoveltyFacts) -> None:
    """Put what calibration found into the card."""
    write_card(load_card(folder).model_copy(update={"calibration": calibration, "novelty": novelty}), folder)


def record_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Put the results of an evaluation into the card."""
    write_card(load_card(folder).model_copy(update={"results": dict(results)}), folder)


def export(run: Path, folder: Path) -> ModelCard:
    """Copy the run's calibrated model into `folder` and read it back as the node will."""
    card = load_card(run / MODEL)
    if card.calibration is None:
        raise ConfigurationError(f"The model in {run} is not calibrated: run `python -m training calibrate` first.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f.name for f in card.files), CARD_NAME):
        shutil.copyfile(run / MODEL / name, folder / name)
    return load_card(folder)


def _weights(folder: Path) -> dict[str, Tensor]:
    path = folder / "average.pt"
    if not path.is_file():
        raise ConfigurationError(f"{path} is missing: run `python -m training fit` first.")
    stored: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return stored


def _half(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()


def write_card(card: ModelCard, folder: Path) -> None:
    """Write model_card.json, lists of numbers in a line each."""
    text = json.dumps(card.model_dump(mode="json"), indent=1)
    flat = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found.group().split()), text)
    (folder / CARD_NAME).write_text(flat + "\n")


def _card(recipe: Recipe, files: tuple[FileDigest, ...]) -> ModelCard:
    facts, settings = recipe.card, recipe.pseudo_reference
    return ModelCard(
        name=recipe.name,
        version=recipe.version,
        task=facts.task,
        modality=facts.modality,
        contrasts=facts.contrasts,
        structures=facts.structures,
        tissues=facts.tissues,
        preprocessing=Preprocessing(
            directions=facts.directions,
            keep_stack=facts.keep_stack,
            percentiles=(0.5, 99.5),
            box="square",
            size=(recipe.network.most_slices, recipe.network.side, recipe.network.side),
            margin=recipe.network.margin,
            spacing=facts.spacing,
        ),
        network=NetworkFacts(**asdict(design_of(recipe))),
        members=recipe.folds,
        pseudo_reference=PseudoReferenceFacts(
            file=PSEUDO_WEIGHTS,
            field_side=settings.localiser.side,
            box_side=settings.segmenter.side,
            views=settings.views,
            slices=settings.slices,
            localiser_widths=settings.localiser.widths,
            segmenter_widths=settings.segmenter.widths,
        ),
        quality=QualityDefinition(
            dsc="pooled over tissues, 2TP / (2TP + FP + FN); both empty 1, one empty 0",
            nsd="pooled over the tissues' surfaces, sub-voxel surface elements weighed by area; both empty 1, one empty 0",
            tolerance_mm=recipe.tolerance_mm,
            tolerance_pixels=recipe.tolerance_mm / recipe.pixel_mm,
        ),
        training=TrainingFacts(data=facts.data, terms=facts.terms, limits=facts.limits, recipe=f"{recipe.name} {recipe.version}"),
        results={},
        weights_file=WEIGHTS,
        files=files,
    )
