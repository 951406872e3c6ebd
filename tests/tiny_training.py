"""A training run with everything small: a cohort of phantoms in ACDC's layout, and a recipe whose networks are tiny."""

from pathlib import Path

import nibabel
import numpy as np
import yaml

from training.volumes import labelled_phantom

RECIPE = Path(__file__).parents[1] / "training" / "recipes" / "cardiac-sax.yaml"
_FEW = {"steps": 3, "batch": 2, "learning_rate": 1e-3, "save_every": 2}


def write_cohort(data: Path, patients: int = 6, validation: int = 2) -> None:
    """Phantoms as patients 001, 002 ..., the last ones for validation; smaller than real ones."""
    folder = data / "acdc"
    folder.mkdir(parents=True)
    names = [f"patient{i + 1:03d}" for i in range(patients + validation)]
    for i, name in enumerate(names):
        made = labelled_phantom(2000 + i)
        for suffix, array in (("", made.volume.array.astype(np.float32)), ("_gt", made.labels)):
            part = array[1:8, ::2, ::2].transpose(2, 1, 0)
            nibabel.save(
                nibabel.Nifti1Image(np.ascontiguousarray(part), np.diag([3.0, 3.0, 10, 1])), folder / f"{name}_frame01{suffix}.nii.gz"
            )
    (folder / "val.list").write_text("\n".join(names[patients:]) + "\n")


def write_recipe(path: Path) -> Path:
    """The packaged recipe with few steps and narrow networks."""
    content = yaml.safe_load(RECIPE.read_text())
    content["name"] = "tiny"
    content["phantoms"]["count"] = 2
    pseudo = content["pseudo_reference"]
    pseudo["field"] = 64
    pseudo["localiser"] = {"side": 32, "widths": [4, 8], "schedule": _FEW}
    pseudo["segmenter"] = {"side": 32, "widths": [4, 8], "schedule": _FEW}
    small = {"side": 32, "part": 0.8}
    content["segmenters"]["families"] = [
        {"family": "dynunet-2d", **small, "slices": 3, "widths": [4, 8, 8], "schedule": _FEW | {"snapshots": [0.4]}},
        {"family": "random-forest", **small, "forest": {"trees": 2, "voxels": 50, "depths": [2, 40]}},
        {"family": "deepmedic", **small, "slices": 3, "widths": [4, 4, 4, 4, 4, 4], "schedule": _FEW | {"snapshots": [0.4]}},
    ]
    content["queries"] |= {
        "generated": 12,
        "blended": 1,
        "degraded": 1,
        "generated_degraded": 1,
        "evaluation_per_bin": 2,
        "evaluation_natural": 10,
    }
    content["network"] |= {"width": 8, "side": 32, "schedule": _FEW, "head": _FEW}
    path.write_text(yaml.safe_dump(content))
    return path
