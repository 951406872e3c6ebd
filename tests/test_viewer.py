import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_cases import SIZE, build, heart, without_geometry

from qcnode.case import Verdict
from qcnode.imaging.grid import Grid, Volume
from qcnode.regions import read_regions
from qcnode.report.slices import choose_slices, field_of_view, grey_window, layers_of
from qcnode.report.viewer import write_viewer
from qcnode.tissues import Tissue

AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
# slices from the patient's right to the left, rows to the feet, columns to the back
SAGITTAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
CORONAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))


def written(inputs, folder):
    write_viewer(inputs, folder)
    return json.loads((folder / "viewer/viewer.json").read_text())


def read(part, folder, size, width=1):
    """The voxels (z, y, x) of a file, by its documentation."""
    content = (folder / "viewer" / part["file"]).read_bytes()
    assert part["starts"][-1] == len(content)
    planes = []
    for start, stop in zip(part["starts"], part["starts"][1:], strict=False):
        raw = np.frombuffer(zlib.decompress(content[start:stop]), np.uint8).reshape(width, *size[1:])
        planes.append(sum(raw[i].astype(np.uint16) << (8 * i) for i in range(width)))
    return np.stack(planes)


def isotropic(direction=AXIAL, size=(20, 24, 28), spacing=(1.0, 1.0, 1.2)):
    """A case on a small isotropic grid whose only error is one voxel, [3, 5, 7] of the first tissue."""
    inputs = build()
    errors = np.zeros((3, *size), bool)
    errors[0, 3, 5, 7] = True
    query = np.zeros((3, *size), bool)
    query[1, 8:12, 10:16, 12:18] = True
    volume = Volume(np.arange(np.prod(size), dtype=np.float32).reshape(size), Grid(size, spacing, (-9.0, 4.0, 30.0), direction))
    assessment = replace(inputs.assessment, prediction=replace(inputs.assessment.prediction, error_map=errors))
    return replace(inputs, volume=volume, query_masks=query, assessment=assessment)


def test_files_hold_the_volume_the_query_and_the_errors(tmp_path):
    inputs = build()
    described = written(inputs, tmp_path)
    (contrast,) = described["contrasts"]
    stored = read(contrast, tmp_path, SIZE, 2)
    assert contrast["name"] == "cine"
    step = contrast["scale"]
    assert step == pytest.approx(np.ptp(inputs.volume.array) / 65535)
    assert np.abs(contrast["offset"] + step * stored - inputs.volume.array).max() <= 0.51 * step
    assert contrast["range"] == [inputs.volume.array.min(), inputs.volume.array.max()]
    for part, masks in (("query", inputs.query_masks), ("prediction", inputs.assessment.prediction.error_map)):
        bits = read(described[part], tmp_path, SIZE)
        for i in range(3):
            assert np.array_equal(bits >> i & 1, masks[i]), (part, i)
    named = {contrast["file"], described["query"]["file"], described["prediction"]["file"], "viewer.json"}
    assert {path.name for path in (tmp_path / "viewer").iterdir()} == named


def test_whole_numbers_are_kept_exactly(tmp_path):
    inputs = isotropic()
    (contrast,) = written(inputs, tmp_path)["contrasts"]
    assert contrast["scale"] == 1
    assert np.array_equal(read(contrast, tmp_path, (20, 24, 28), 2), inputs.volume.array)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -5.25])
def test_values_without_contrast_are_written(value, tmp_path):
    inputs = build()
    described = written(replace(inputs, volume=Volume(np.full(SIZE, value, np.float32), inputs.volume.grid)), tmp_path)
    (contrast,) = described["contrasts"]
    known = value if np.isfinite(value) else 0.0
    assert contrast["offset"] + contrast["scale"] * read(contrast, tmp_path, SIZE, 2).max() == known
    assert contrast["window"][0] < contrast["window"][1]


def test_geometry_and_colours_are_told(tmp_path):
    described = written(build(), tmp_path)
    assert described["size"] == list(SIZE)
    assert described["spacing_mm"] == [8.0, 1.5, 1.5]
    (plane,) = described["planes"]  # slices of 8 mm are not worth cutting across
    assert plane["edges"] == {"left": "RAH", "right": "LPF", "top": "FA", "bottom": "HP"}
    assert (plane["axis"], plane["down"], plane["right"]) == (0, {"axis": 1, "flip": False}, {"axis": 2, "flip": False})
    assert np.diff(plane["positions_mm"]) == pytest.approx(8.0, abs=0.011)
    assert [t["name"] for t in described["tissues"]] == ["right ventricle", "myocardium", "left ventricle"]
    colours = [t[key] for t in described["tissues"] for key in ("colour", "error_colour")]
    assert len(set(colours)) == 6


def test_errors_are_counted_per_slice(tmp_path):
    inputs = build()
    errors = inputs.assessment.prediction.error_map
    prediction = written(inputs, tmp_path)["prediction"]
    (plane,) = prediction["planes"]
    assert plane["error_voxels"] == errors.sum(axis=(2, 3)).tolist()
    area = errors.any(axis=0).sum(axis=(1, 2)) * 2.25
    assert plane["error_area_mm2"] == pytest.approx(area.tolist())
    assert prediction["worst_slice"] == int(area.argmax())


def test_error_regions_are_part_of_the_prediction(tmp_path):
    inputs = build()
    errors = np.zeros_like(inputs.assessment.prediction.error_map)
    errors[1, 2:4, 5:9, 5:9] = True
    prediction = replace(inputs.assessment.prediction, error_map=errors)
    described = written(replace(inputs, assessment=replace(inputs.assessment, prediction=prediction)), tmp_path)
    name = prediction.tissues[1]
    (region,) = read_regions(tmp_path / "viewer")
    assert (region.tissue, region.voxels, region.first_slice, region.last_slice) == (name, 32, 2, 3)
    assert len(described["prediction"]["regions"]) == 1


def test_tissues_are_matched_by_name(tmp_path):
    inputs = build()
    prediction = inputs.assessment.prediction
    other = replace(prediction, error_map=prediction.error_map[[2, 0]], tissues=("left ventricle", "right ventricle"))
    described = written(replace(inputs, assessment=replace(inputs.assessment, prediction=other)), tmp_path)
    bits = read(described["prediction"], tmp_path, SIZE)
    assert np.array_equal(bits & 1, prediction.error_map[0])
    assert not (bits & 2).any()
    assert np.array_equal(bits >> 2 & 1, prediction.error_map[2])


@pytest.mark.parametrize(
    ("direction", "names", "tops", "lefts"),
    [
        (AXIAL, ["axial", "coronal", "sagittal"], ["A", "H", "H"], ["R", "R", "A"]),
        (SAGITTAL, ["sagittal", "axial", "coronal"], ["H", "A", "H"], ["A", "R", "R"]),
        (CORONAL, ["coronal", "axial", "sagittal"], ["H", "A", "H"], ["R", "R", "A"]),
    ],
)
def test_isotropic_volumes_are_seen_from_three_sides(direction, names, tops, lefts, tmp_path):
    described = written(isotropic(direction), tmp_path)
    assert [p["name"] for p in described["planes"]] == names
    assert [p["edges"]["top"] for p in described["planes"]] == tops
    assert [p["edges"]["left"] for p in described["planes"]] == lefts
    for axis, (plane, errors) in enumerate(zip(described["planes"], described["prediction"]["planes"], strict=True)):
        assert plane["axis"] == axis
        assert {plane["down"]["axis"], plane["right"]["axis"]} == {0, 1, 2} - {axis}
        assert np.flatnonzero(errors["error_area_mm2"]).tolist() == [(3, 5, 7)[axis]]


def test_a_flipped_plane_runs_from_the_other_end(tmp_path):
    """An axial stack from the feet upwards: the head is at the top of the coronal picture, so its rows begin with the last slice."""
    coronal = written(isotropic(AXIAL), tmp_path)["planes"][1]
    assert coronal["down"] == {"axis": 0, "flip": True}
    assert coronal["right"] == {"axis": 2, "flip": False}
    # the query is in slices 8 to 11 of 20: rows 8 to 11 from the other end, too, and columns 12 to 17
    assert (coronal["focus"]["down"], coronal["focus"]["right"]) == (pytest.approx(9.5, abs=1), pytest.approx(13.5, abs=1.5))
    assert coronal["positions_mm"][:2] == [4.0, 5.0]


def test_few_slices_are_not_cut_across(tmp_path):
    assert len(written(isotropic(size=(12, 24, 28)), tmp_path)["planes"]) == 1


def test_all_contrasts_are_there_the_reference_first(tmp_path):
    inputs = build()
    further = Volume(np.rint(inputs.volume.array * 3), inputs.volume.grid)
    described = written(replace(inputs, further_contrasts={"T1 <post>/..": further}), tmp_path)
    assert [c["name"] for c in described["contrasts"]] == ["cine", "T1 <post>/.."]
    assert [c["file"] for c in described["contrasts"]] == ["contrast-1.bin", "contrast-2.bin"]
    assert np.array_equal(described["contrasts"][1]["offset"] + read(described["contrasts"][1], tmp_path, SIZE, 2), further.array)
    first, second = (np.array(c["window"]) for c in described["contrasts"])
    assert second == pytest.approx(3 * first, abs=5)


def test_the_window_is_made_for_the_segmented_organ(tmp_path):
    inputs = build()
    (contrast,) = written(inputs, tmp_path)["contrasts"]
    layers = replace(layers_of(inputs), errors=np.zeros(SIZE, bool))
    assert contrast["window"] == pytest.approx(grey_window(layers, choose_slices(layers), field_of_view(layers)), rel=1e-5)


def test_what_was_predicted_is_in_one_place(tmp_path):
    """A page that hides the prediction leaves out one key and one file, and nothing else tells of it."""
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    inputs = build()
    shown = written(inputs, tmp_path / "with")
    hidden = written(replace(inputs, assessment=replace(inputs.assessment, prediction=None)), tmp_path / "without")
    assert hidden["prediction"] is None
    assert shown | {"prediction": None} == hidden
    files = {path.name for path in (tmp_path / "without/viewer").iterdir()}
    assert files == {path.name for path in (tmp_path / "with/viewer").iterdir()} - {"errors.bin"}
    assert heart()[:, hidden["first_slice"]].any()


def test_no_errors_no_worst_slice(tmp_path):
    inputs = isotropic()
    prediction = replace(inputs.assessment.prediction, error_map=np.zeros((3, 20, 24, 28), bool))
    described = written(replace(inputs, assessment=replace(inputs.assessment, prediction=prediction)), tmp_path)
    assert described["prediction"]["worst_slice"] is None


def test_no_patient_is_named(tmp_path):
    write_viewer(build(), tmp_path)
    everything = b"".join(path.name.encode() + path.read_bytes() for path in (tmp_path / "viewer").iterdir())
    for secret in (b"Doe", b"Jane", b"19700101", b"20260304", b"1.2.3"):
        assert secret not in everything


def test_images_without_a_readable_query_are_written(tmp_path):
    described = written(replace(build(Verdict.UNASSESSABLE), query_masks=None), tmp_path)
    assert described["query"] is None
    assert described["prediction"] is None
    assert described["planes"][0]["query_area_mm2"] == [0.0] * 9


@pytest.mark.parametrize("inputs", [build(Verdict.UNASSESSABLE, images=False), without_geometry(build())], ids=["no images", "no geometry"])
def test_without_a_volume_there_is_nothing_to_show(inputs, tmp_path):
    write_viewer(inputs, tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


def test_more_tissues_than_bits_are_refused(tmp_path):
    tissues = tuple(Tissue(str(i), (), ("1", "SCT", "T")) for i in range(9))
    with pytest.raises(ValueError, match="9 tissues"):
        write_viewer(replace(build(), tissues=tissues), tmp_path)
