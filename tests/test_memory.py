"""Peak memory of `qcnode assess`: a cardiac case, and a full-width network on four contrasts of a brain."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import save_file

from qcnode.assess.model_card import CARD_NAME, load_card
from qcnode.assess.networks.qcresunet import BRAIN_STRIDES, Design, QCResUNet
from qcnode.demo.phantom_dicom import Study, mr_series, phantom_study, seg_of
from qcnode.digests import sha256_of
from qcnode.imaging.grid import Grid, Volume
from qcnode.tasks import weights_directory
from qcnode.tissues import Tissue

# Runs a command and tells the largest memory of it alone: the largest of all children is what the system gives.
MEASURE = "import resource, subprocess, sys; c = subprocess.run(sys.argv[1:]).returncode; "
MEASURE += "print(c, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
CONTRASTS = ("t1", "t1c", "t2", "flair")
STRUCTURES = {"necrosis": ("6574001", 1), "oedema": ("79654002", 2), "enhancing": ("86049000", 3)}
TISSUES = {
    "whole tumour": (["necrosis", "oedema", "enhancing"], "126952004"),
    "tumour core": (["necrosis", "enhancing"], "126952004"),
    "enhancing tumour": (["enhancing"], "126952004"),
}


def assess(folder: Path, out: Path, *options: object) -> tuple[int, int]:
    """Exit code and peak memory in MB of `qcnode assess`."""
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "qcnode", "assess", folder, "--out", out, *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    code, megabytes = done.stdout.splitlines()[-1].split()
    assert code in ("0", "3"), done.stdout + done.stderr
    return int(code), int(megabytes)


def save(folder: Path, datasets) -> None:
    folder.mkdir(exist_ok=True)
    for dataset in datasets:
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)


def only_verdict(out: Path) -> dict:
    (written,) = out.glob("*/verdict.json")
    return json.loads(written.read_text())


def test_a_cardiac_case_takes_less_than_1500_mb(tmp_path: Path) -> None:
    study = phantom_study(4)
    save(tmp_path / "in", [*study.images, study.queries[1].dataset])
    code, megabytes = assess(tmp_path / "in", tmp_path / "out")
    print(f"cardiac case: {megabytes} MB")  # noqa: T201  the figure is wanted
    assert code == 0
    assert megabytes < 1500


def glioma_weights(folder: Path) -> Path:
    """Full-width weights at random with the card of a glioma task; no such weights are shipped."""
    folder.mkdir()
    card = load_card(weights_directory("cardiac-sax")).model_dump(mode="json")
    design = Design(contrasts=4, tissues=3, outputs=2, width=32, depth=34, strides=BRAIN_STRIDES)
    torch.manual_seed(0)
    save_file({f"0.{k}": v for k, v in QCResUNet(design).state_dict().items()}, folder / "weights.safetensors")
    card |= {
        "name": "glioma-random",
        "task": "glioma",
        "contrasts": [{"name": c, "series_rule": {"series_description": f"^{c}$"}} for c in CONTRASTS],
        "structures": [{"name": n, "codes": [[code, "SCT"]], "label_pattern": n} for n, (code, _) in STRUCTURES.items()],
        "tissues": [{"name": n, "structures": s, "code": [c, "SCT", "Tumour of brain"]} for n, (s, c) in TISSUES.items()],
        "preprocessing": card["preprocessing"] | {"box": "canvas", "size": [160, 192, 160], "keep_stack": False},
        "network": {"contrasts": 4, "tissues": 3, "outputs": 2, "width": 32, "depth": 34, "strides": BRAIN_STRIDES, "dropout": 0.3},
        "members": 1,
        "pseudo_reference": None,
        "calibration": None,
        "novelty": None,
        "weights_file": "weights.safetensors",
        "files": [{"name": "weights.safetensors", "sha256": sha256_of(folder / "weights.safetensors")}],
    }
    (folder / CARD_NAME).write_text(json.dumps(card))
    return folder


def glioma_study(folder: Path, source: Path) -> None:
    """Four series, the T2 with slices of 2 mm, and a SEG on the T1c."""
    study = Study("glioma01")
    grid = Grid((155, 240, 240), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    drawn_on = []
    for number, contrast in enumerate(CONTRASTS, start=1):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(source / f"{contrast}.nii.gz"))).astype(np.float32)
        own = grid
        if contrast == "t2":
            array, own = array[::2], Grid((78, 240, 240), (2.0, 1.0, 1.0), grid.origin, grid.direction)
        series = mr_series(Volume(array, own), study, phases=1, phase=0, series_number=number, series_description=contrast)
        save(folder, series)
        drawn_on = series if contrast == "t1c" else drawn_on
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(source / "seg_a.nii.gz")))
    tissues = [Tissue(name, (name,), (code, "SCT", name)) for name, (code, _) in STRUCTURES.items()]
    save(folder, [seg_of(np.stack([labels == value for _, value in STRUCTURES.values()]), drawn_on, study, tissues=tissues)])


@pytest.mark.realdata
@pytest.mark.timeout(600)
def test_full_width_on_four_contrasts_takes_less_than_4_gb(realdata: Path, tmp_path: Path) -> None:
    glioma_study(tmp_path / "in", realdata / "brain/glioma01")
    glioma_weights(tmp_path / "weights")
    (tmp_path / "config.yaml").write_text(f"tasks: {{glioma: {{weights: '{tmp_path}/weights'}}}}\n")
    code, megabytes = assess(tmp_path / "in", tmp_path / "out", "--config", tmp_path / "config.yaml")
    print(f"full width, 4 x 160 x 192 x 160: {megabytes} MB")  # noqa: T201  the figure is wanted
    verdict = only_verdict(tmp_path / "out")
    assert code == 0, verdict
    assert set(verdict["predicted"]["per_tissue"]) == set(TISSUES)
    assert megabytes < 4096
