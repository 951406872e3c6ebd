"""Weights and model card of a run, as qcnode reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from qcnode.assess.inputs import number_count
from qcnode.assess.model_card import (
    CARD_NAME,
    FileDigest,
    ModelCard,
    NetworkFacts,
    Preprocessing,
    PseudoReferenceFacts,
    QualityDefinition,
    TrainingFacts,
    load_card,
    sha256_of,
)
from qcnode.assess.networks.qcresunet import CARDIAC_STRIDES, Design
from training.config import Recipe

WEIGHTS, PSEUDO_WEIGHTS = "weights.safetensors", "pseudo-reference.safetensors"
NOMINAL_PIXEL_MM = 1.5


def design_of(recipe: Recipe) -> Design:
    """QCResUNet as this recipe wants it."""
    tissues = len(recipe.card.tissues)
    return Design(
        contrasts=len(recipe.card.contrasts),
        tissues=tissues,
        outputs=2 + tissues,
        width=recipe.network.width,
        depth=recipe.network.depth,
        strides=CARDIAC_STRIDES,
        dropout=recipe.network.dropout,
        stem_kernel=(1, 5, 5),
        stem_stride=(1, 2, 2),
        further_channels=tissues,
        numbers=number_count(tissues),
        group_norm_last=True,
        max_pooling=True,
        coarse_decoder=True,
    )


def export(recipe: Recipe, network: nn.Module, pseudo_networks: Sequence[nn.Module], folder: Path) -> ModelCard:
    """Write weights and card into `folder` and read them back as the node will."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)
    pseudo = {f"{i}.{k}": v.contiguous() for i, n in enumerate(pseudo_networks) for k, v in n.state_dict().items()}
    save_file(pseudo, folder / PSEUDO_WEIGHTS)
    for name in (WEIGHTS, PSEUDO_WEIGHTS):
        (folder / name).chmod(0o644)
    card = _card(recipe, len(pseudo_networks), tuple(FileDigest(name=n, sha256=sha256_of(folder / n)) for n in (WEIGHTS, PSEUDO_WEIGHTS)))
    _write(card, folder)
    return load_card(folder)


def record_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Put the results of an evaluation into the card."""
    _write(load_card(folder).model_copy(update={"results": dict(results)}), folder)


def _write(card: ModelCard, folder: Path) -> None:
    (folder / CARD_NAME).write_text(json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


def _card(recipe: Recipe, networks: int, files: tuple[FileDigest, ...]) -> ModelCard:
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
            keep_stack=True,
            percentiles=(0.5, 99.5),
            box="square",
            size=(recipe.network.most_slices, recipe.network.side, recipe.network.side),
            margin=recipe.network.margin,
            spacing=facts.spacing,
        ),
        network=NetworkFacts(**asdict(design_of(recipe))),
        pseudo_reference=PseudoReferenceFacts(
            file=PSEUDO_WEIGHTS, networks=networks, side=settings.side, slices=settings.slices, widths=settings.widths
        ),
        quality=QualityDefinition(
            dsc="pooled over tissues, 2TP / (2TP + FP + FN); both empty 1, one empty 0",
            nsd="pooled over the tissues' surfaces, sub-voxel surface elements weighed by area; both empty 1, one empty 0",
            tolerance_mm=recipe.tolerance_mm,
            tolerance_pixels=recipe.tolerance_mm / NOMINAL_PIXEL_MM,
        ),
        training=TrainingFacts(data=facts.data, terms=facts.terms, limits=facts.limits, recipe=f"{recipe.name} {recipe.version}"),
        results={},
        weights_file=WEIGHTS,
        files=files,
    )
