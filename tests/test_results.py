from hashlib import sha256

import numpy as np
import pydicom
import pytest
from PIL import Image
from report_cases import STUDY, build
from validators import PROGRAMS, dciodvfy_errors

from qcnode.case import Verdict
from qcnode.report.previews import draw_preview
from qcnode.report.provenance import SOP_CLASSES
from qcnode.report.results import PREVIEW_NAME, write_results

FLAGGED = (Verdict.FAIL, Verdict.REVIEW, Verdict.UNASSESSABLE)


def test_all_results_of_one_case(tmp_path):
    inputs = build()
    objects = write_results(inputs, tmp_path)
    assert [o.kind for o in objects] == ["report", "error_map", "summary"]
    assert {p.name for p in tmp_path.iterdir()} == {"report.dcm", "error_map.dcm", "summary.dcm", PREVIEW_NAME, "viewer"}
    series = set()
    for result in objects:
        assert result.sha256 == sha256(result.path.read_bytes()).hexdigest()
        header = pydicom.dcmread(result.path, stop_before_pixels=True)
        assert (header.SOPInstanceUID, header.SOPClassUID) == (result.sop_instance_uid, result.sop_class_uid)
        assert result.sop_class_uid == SOP_CLASSES[result.kind]
        assert (header.StudyInstanceUID, header.PatientID) == (STUDY, "P1")
        assert (header.Manufacturer, header.ManufacturerModelName) == ("qcnode", "qcnode")
        assert header.SeriesDescription.startswith("QC FAIL 0.47 predicted DSC")
        assert (header.ContentDate, header.ContentTime) == ("20260304", "050607.000890")
        assert (header.InstanceCreationDate, header.InstanceCreationTime) == ("20260304", "050607.000890")
        series.add((header.SeriesInstanceUID, header.SeriesNumber))
    assert len(series) == 3
    assert np.array_equal(np.asarray(Image.open(tmp_path / PREVIEW_NAME)), draw_preview(inputs))


@pytest.mark.parametrize("images", [True, False])
def test_an_unassessable_case_has_no_error_map(images, tmp_path):
    objects = write_results(build(Verdict.UNASSESSABLE, images=images), tmp_path)
    assert [o.kind for o in objects] == ["report", "summary"]


def test_images_without_frame_of_reference_cost_the_error_map_only(tmp_path):
    inputs = build()
    for header in inputs.sources:
        del header.FrameOfReferenceUID
    assert [o.kind for o in write_results(inputs, tmp_path)] == ["report", "summary"]


@pytest.mark.parametrize(("verdict", "announced"), [(v, v is not Verdict.PASS) for v in (Verdict.PASS, *FLAGGED)])
def test_only_a_flagged_case_is_announced_and_only_on_demand(verdict, announced, tmp_path):
    (tmp_path / "asked").mkdir()
    kinds = [o.kind for o in write_results(build(verdict), tmp_path / "asked", announce=True)]
    assert ("key_object" in kinds, (tmp_path / "asked/key_object.dcm").exists()) == (announced, announced)
    (tmp_path / "unasked").mkdir()
    assert "key_object" not in [o.kind for o in write_results(build(verdict), tmp_path / "unasked")]


@pytest.mark.parametrize("is_enhanced", [False, True])
def test_a_second_run_gives_the_same_bytes(is_enhanced, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write_results(build(is_enhanced=is_enhanced), tmp_path / name)
    written = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(written) == 8
    for path in written:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


@pytest.mark.peers
def test_validators_find_nothing(tmp_path, require_peers):
    """The report's templates are the business of test_write_sr.py."""
    require_peers(*PROGRAMS)
    for result in write_results(build(), tmp_path):
        assert dciodvfy_errors(result.path) == []
