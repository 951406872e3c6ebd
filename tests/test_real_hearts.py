"""Packaged weights on real hearts that they have not learned from: DICOM gives what evaluation gives, and strangers are refused."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from qcnode.assess.inference import QCPredictor
from qcnode.assess.verdict import judge
from qcnode.case import Verdict
from qcnode.config import Config, Inference
from qcnode.demo.phantom_dicom import mr_series, seg_of
from qcnode.demo.scanner import Study
from qcnode.directory import assess_directory, find_headers
from qcnode.imaging.grid import Grid, Volume
from qcnode.judging.here import JudgeHere, load_judges
from qcnode.tasks import load_tasks
from qcnode.tissues import Tissue
from training.cohorts import acdc, la2018
from training.cohorts.nifti import read_volume

ATRIUM = Tissue("left atrium", ("left atrium",), ("82471001", "SCT", "Left atrium"))
PACKAGED = Path(__file__).parents[1] / "qcnode" / "models" / "cardiac-sax"
SMALL = 5  # volumes of each kind; `training evaluate --outsiders` judges fifty

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def predictor():
    return QCPredictor(PACKAGED, device="cpu")


@pytest.fixture(scope="module")
def hearts(realdata):
    return acdc.load(realdata / "acdc", acdc.patients(realdata / "acdc")["val"])


@pytest.fixture(scope="module")
def tasks():
    return load_tasks(Config())


@pytest.fixture(scope="module")
def looked(predictor, hearts):
    """What the networks make of each heart alone: most of the work, and the same whatever the query."""
    return [predictor.look({"cine": heart.volume}) for heart in hearts]


def expert(heart):
    return np.stack([heart.labels == i for i in (1, 2, 3)])


def assessed(datasets, folder, tasks):
    """What `qcnode assess` says of a folder with these."""
    (folder / "in").mkdir()
    for dataset in datasets:
        dataset.save_as(folder / "in" / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
    return assess_directory(
        find_headers(folder / "in"),
        folder / "out",
        [task.rule for task in tasks.values()],
        JudgeHere(load_judges(tasks, Inference()), "test"),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("number", [0, 7, 13])
def test_dicom_gives_the_predictions_of_evaluation(predictor, hearts, looked, tasks, tmp_path, number):
    heart = hearts[number]
    queries = (expert(heart), np.roll(expert(heart), (4, 3), (2, 3)))
    study = Study(f"heart {number}")
    images = mr_series(heart.volume, study, phases=1, phase=0)
    segs = [seg_of(q, images, study, series_number=100 + i, segmenter=f"s{i}") for i, q in enumerate(queries)]
    found = {o.query.sop_instance_uid: o for o in assessed((*images, *segs), tmp_path, tasks)}
    for seg, query in zip(segs, queries, strict=True):
        expected = predictor.judge(looked[number], query)
        predicted = found[seg.SOPInstanceUID].predicted
        assert predicted.dsc == pytest.approx(expected.predicted_dsc, abs=1e-3)
        assert predicted.nsd == pytest.approx(expected.predicted_nsd, abs=1e-3)
        assert predicted.dsc_interval == pytest.approx(expected.dsc_interval, abs=2e-3)


def test_an_atrium_is_judged_by_its_own_weights(realdata, tasks, tmp_path):
    name = la2018.patients(realdata / "la2018")["val"][0]
    atrium = la2018.load(realdata / "la2018", [name])[0]
    expert_drew = (atrium.labels == 1)[None]
    study = Study("an atrium")
    images = mr_series(atrium.volume, study, series_description="LGE 3D")
    displaced = np.roll(expert_drew, (9, 9), (2, 3))
    good, bad = (seg_of(q, images, study, tissues=(ATRIUM,), series_number=100 + i) for i, q in enumerate((expert_drew, displaced)))
    outcomes = assessed((*images, good, bad), tmp_path, tasks)
    by_query = {o.query.sop_instance_uid: o for o in outcomes}
    own = QCPredictor(PACKAGED.parent / "la-lge", device="cpu")
    seen = own.look({"lge": atrium.volume})
    for seg, query in ((good, expert_drew), (bad, displaced)):
        found = by_query[seg.SOPInstanceUID]
        expected = own.judge(seen, query)
        assert found.weights.name == "la-lge"
        assert found.predicted.dsc == pytest.approx(expected.predicted_dsc, abs=1e-3)
    assert by_query[good.SOPInstanceUID].predicted.dsc > 0.85
    assert by_query[bad.SOPInstanceUID].verdict is Verdict.FAIL


def test_hearts_are_assessable_whatever_the_query(predictor, hearts, looked):
    novel = [predictor.judge(k, np.zeros_like(expert(h))).image_is_novel for k, h in zip(looked, hearts, strict=True)]
    assert sum(novel) <= 1  # 5 % of 20
    bad = [predictor.judge(k, np.roll(expert(h), (40, -40), (2, 3))) for k, h in zip(looked[:6], hearts[:6], strict=True)]
    assert [p.image_is_novel for p in bad] == novel[:6]
    assert max(p.predicted_dsc for p in bad) < 0.5


def like(array, grid):
    return Volume(np.ascontiguousarray(array, np.float32), Grid(array.shape, grid.spacing, grid.origin, grid.direction))


def brains(realdata, hearts):
    for path in sorted((realdata / "brain").glob("*/t[12]*.nii.gz"))[:SMALL]:
        volume = read_volume(path)
        yield like(volume.array[30:110:8], volume.grid)


def atria(realdata, hearts):
    names = la2018.patients(realdata / "la2018")["val"][:SMALL]
    return [v.volume for v in la2018.load(realdata / "la2018", names)]


def noise(realdata, hearts):
    for i, heart in enumerate(hearts[:SMALL]):
        rng = np.random.default_rng(i)
        yield like(np.hypot(*rng.normal(size=(2, *heart.labels.shape))) * 100, heart.volume.grid)


def cut(realdata, hearts):
    for i, heart in enumerate(hearts[:SMALL]):
        middle = int(np.argwhere(heart.labels.any((0, 1))).mean())
        yield like(heart.volume.array[:, :, :middle] if i % 2 else heart.volume.array[:, :, middle:], heart.volume.grid)


def blurred(realdata, hearts):
    for heart in hearts[:SMALL]:
        deviation = 0.03 * max(heart.labels.shape[1:])
        yield like(ndimage.gaussian_filter(heart.volume.array, (0, deviation, deviation)), heart.volume.grid)


@pytest.mark.parametrize("kind", [brains, atria, noise, cut, blurred], ids=lambda k: k.__name__)
def test_what_is_no_short_axis_heart_is_unassessable(predictor, realdata, hearts, tasks, kind):
    limits = tasks["cardiac-sax"].limits
    volumes = list(kind(realdata, hearts))
    assert len(volumes) == SMALL
    verdicts = []
    for volume in volumes:
        query = np.zeros((3, *volume.array.shape), bool)
        query[:, 2:6, 20:50, 20:50] = True
        verdicts.append(judge(predictor.predict({"cine": volume}, query), limits)[0])
    assert sum(v is Verdict.UNASSESSABLE for v in verdicts) >= len(verdicts) - 1
