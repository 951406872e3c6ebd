"""Stacks: which planes of a series make one volume."""

import random
from dataclasses import replace

import numpy as np
import pytest
from made_headers import AXIAL, SERIES, frame, image, series, stored

from qcnode.case import InstanceHeader, ReasonCode, StoredHeader
from qcnode.headers import read_header
from qcnode.ingest.stacks import gap_free, spacing_problem, split_stacks

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def split(headers: list[InstanceHeader]) -> list[set[str]]:
    """SOP Instance UIDs (behind the series' own) per stack; the order of arrival must not matter."""
    held = [stored(h) for h in headers]
    first = split_stacks(held)
    for seed in range(3):
        random.Random(seed).shuffle(held)
        assert split_stacks(held) == first
    return [{uid.removeprefix(SERIES + ".") for uid, _ in stack.plane_keys} for stack in first]


def with_times(headers: list[InstanceHeader], time) -> list[InstanceHeader]:
    """time(slice, phase) -> time_key."""
    changed = []
    for header in headers:
        s, p = (int(part) for part in header.sop_instance_uid.split(".")[-2:])
        changed.append(replace(header, frames=(replace(header.frames[0], time_key=time(s, p)),)))
    return changed


def phases_of(slices: int, phases: int) -> list[set[str]]:
    return [{f"{s}.{p}" for s in range(slices)} for p in range(phases)]


def test_a_plain_series_is_one_stack_sorted_along_the_normal() -> None:
    held = [stored(h) for h in series(5)]
    (stack,) = split_stacks(reversed(held))
    assert [f.sop_instance_uid for f in stack.as_stack().frames] == [f"{SERIES}.{s}.0" for s in range(5)]
    assert stack.positions_mm == (0, 8, 16, 24, 32)
    assert gap_free(stack)
    assert not stack.lacks_positions


def test_orientation_splits_but_its_noise_does_not() -> None:
    noisy = [image(f"{SERIES}.{i}.0", [frame(z=8 * i, orientation=(1.0, 1e-8 * i, 0.0, 0.0, 1.0, -1e-5 * i))]) for i in range(5)]
    assert len(split(noisy)) == 1
    other = [image(f"{SERIES}.9.{i}", [frame(position=(i * 5.0, 0, 0), orientation=SAGITTAL)]) for i in range(3)]
    assert split(noisy + other) == [{f"{s}.0" for s in range(5)}, {"9.0", "9.1", "9.2"}]


@pytest.mark.parametrize("change", [{"rows": 32}, {"image_type": ("ORIGINAL", "PRIMARY", "P")}, {"frame_of_reference_uid": "1.9"}])
def test_another_matrix_frame_type_or_frame_of_reference_is_another_stack(change) -> None:
    other = [replace(h, sop_instance_uid=f"{SERIES}.7.{i}", **change) for i, h in enumerate(series(3))]
    assert len(split(series(3) + other)) == 2


def test_another_pixel_spacing_is_another_stack() -> None:
    other = [image(f"{SERIES}.7.{i}", [frame(z=i * 8, pixel_spacing=(2.0, 2.0))]) for i in range(3)]
    assert split(series(3) + other) == [{"0.0", "1.0", "2.0"}, {"7.0", "7.1", "7.2"}]


def test_phases_are_told_apart_by_temporal_position() -> None:
    assert split(series(4, 3)) == phases_of(4, 3)


def test_echoes_times_phases() -> None:
    headers = [
        image(f"{SERIES}.{s}.{e}{p}", [frame(z=s, echo_time=5.0 + e, time_key=(str(p),))])
        for s in range(4)
        for e in range(2)
        for p in range(3)
    ]
    stacks = split(headers)
    assert len(stacks) == 6
    assert {f"{s}.12" for s in range(4)} in stacks


def test_a_wobbling_echo_time_is_one_echo() -> None:
    echoes = [image(f"{SERIES}.{s}.{e}", [frame(z=s, echo_time=30 + 10 * e + 0.001 * (s % 2))]) for s in range(4) for e in range(2)]
    assert split(echoes) == phases_of(4, 2)
    assert split(echoes[::2]) == phases_of(4, 1)


def test_b_values_and_directions_are_told_apart_by_extra_key() -> None:
    keys = [("", "0", ""), ("", "1000", "x"), ("", "1000", "y")]
    headers = [image(f"{SERIES}.{s}.{k}", [frame(z=s, extra_key=key)]) for s in range(5) for k, key in enumerate(keys)]
    assert split(headers) == phases_of(5, 3)


def test_a_time_per_slice_does_not_shatter_an_ordinary_stack() -> None:
    """Interleaved acquisition: every slice has its own acquisition time, odd and even slices two acquisition numbers."""
    headers = with_times(series(7), lambda s, p: ("", "", str(s % 2), f"1200{(s % 2) * 4 + s // 2:02d}"))
    assert len(split(headers)) == 1


def test_an_inversion_time_per_slice_does_not_shatter_an_ordinary_stack() -> None:
    assert len(split([image(f"{SERIES}.{s}.0", [frame(z=s, extra_key=(str(100 + s),))]) for s in range(5)])) == 1


def test_cine_whose_trigger_times_differ_a_little_per_slice() -> None:
    rr_ms = [800, 830, 810, 845, 790]
    headers = with_times(series(5, 20), lambda s, p: ("", f"{rr_ms[s] / 20 * p:018.6f}", "", f"12{s:02d}00"))
    assert sorted(map(sorted, split(headers))) == sorted(map(sorted, phases_of(5, 20)))


def test_trigger_times_decide_even_where_instance_numbers_run_otherwise() -> None:
    headers = with_times(series(4, 3), lambda s, p: ("", f"{100 * p + s:018.6f}"))
    renumbered = [replace(h, instance_number=100 - h.instance_number) if h.frames[0].image_position[2] == 8 else h for h in headers]
    assert split(renumbered) == phases_of(4, 3)


def test_time_points_that_only_instance_numbers_tell_apart() -> None:
    nothing = with_times(series(4, 3), lambda s, p: ("", "", "1", "114815"))
    by_time_point = [replace(h, instance_number=1 + 4 * int(h.sop_instance_uid[-1]) + int(h.sop_instance_uid[-3])) for h in nothing]
    assert split(nothing) == split(by_time_point) == phases_of(4, 3)


def test_what_nothing_tells_apart_stays_together_and_is_no_volume() -> None:
    twice = [*series(4), image(f"{SERIES}.2.1", [frame(z=16)], instance_number=3)]
    (stack,) = split_stacks([stored(h) for h in twice])
    assert spacing_problem(stack) is ReasonCode.SEVERAL_IMAGES_PER_POSITION
    same_number = [replace(h, instance_number=1) for h in with_times(series(4, 2), lambda s, p: ("",))]
    assert len(split(same_number)) == 1


def test_unequal_numbers_of_planes_are_not_aligned_by_a_guess() -> None:
    headers = with_times(series(4, 3), lambda s, p: ("", f"{100 * p + s:018.6f}"))
    (stack,) = split_stacks([stored(h) for h in headers[:-1]])
    assert spacing_problem(stack) is ReasonCode.SEVERAL_IMAGES_PER_POSITION


def test_a_repeated_slice_with_its_own_acquisition_number_is_apart() -> None:
    headers = [*with_times(series(5), lambda s, p: ("1",)), image(f"{SERIES}.2.1", [frame(z=16, time_key=("2",))])]
    assert split(headers) == [{f"{s}.0" for s in range(5)}, {"2.1"}]


def test_interleaved_halves_of_which_one_slice_is_double_are_not_two_stacks() -> None:
    halves = [image(f"{SERIES}.{s}.0", [frame(z=s, time_key=(str(s % 2),))]) for s in range(6)]
    assert len(split([*halves, image(f"{SERIES}.1.1", [frame(z=1, time_key=("0",))])])) == 1


def test_a_time_that_some_planes_lack_does_not_order_them() -> None:
    headers = with_times(series(4, 2), lambda s, p: ("" if s % 2 == p else f"{s + 10 * p:04d}",))
    assert split(headers) == phases_of(4, 2)


def test_a_phase_that_lacks_a_slice_is_told_apart_and_known_to_lack_it() -> None:
    stacks = split_stacks([stored(h) for h in series(5, 3) if h.sop_instance_uid != f"{SERIES}.4.1"])
    assert [(len(s.planes), s.lacks_positions, gap_free(s)) for s in stacks] == [(5, False, True), (4, True, True), (5, False, True)]


def test_two_stations_side_by_side() -> None:
    stations = [image(f"{SERIES}.{s}.{i}", [frame(position=(0.0, 200.0 * i, 4.0 * s))]) for s in range(4) for i in range(2)]
    stacks = split_stacks([stored(h) for h in stations])
    assert [len(s.planes) for s in stacks] == [4, 4]
    assert {p.frame.image_position[1] for p in stacks[0].planes} == {0.0}


def test_two_slabs_of_one_orientation_one_behind_the_other() -> None:
    slabs = [image(f"{SERIES}.{k}.{s}", [frame(z=100 * k + 4 * s, extra_key=(str(k),))]) for k in range(2) for s in range(4)]
    assert [len(s) for s in split(slabs)] == [4, 4]


def test_a_stack_with_a_gap_is_not_taken_for_slabs() -> None:
    with_gap = [image(f"{SERIES}.{s}.0", [frame(z=8 * s, extra_key=(str(s % 2),))]) for s in (0, 1, 3, 4, 5)]
    (stack,) = split_stacks([stored(h) for h in with_gap])
    assert spacing_problem(stack) is ReasonCode.MISSING_SLICE


def test_planes_without_geometry_make_no_volume() -> None:
    (stack,) = split_stacks([stored(image("1.9", [frame(i, position=None, orientation=None) for i in (1, 2, 3)]))])
    assert len(stack.planes) == 3
    assert spacing_problem(stack) is ReasonCode.NO_GEOMETRY


def test_what_is_no_image_is_left_out() -> None:
    assert split_stacks([stored(replace(h, kind="other")) for h in series(3)]) == []


@pytest.mark.parametrize(
    ("heights", "problem"),
    [
        ((0.0, 8, 16, 24), None),
        ((0, 2.71, 5.39, 8.1), None),  # rounded positions
        ((0, 8, 24, 32), ReasonCode.MISSING_SLICE),
        ((0, 8, 16, 48), ReasonCode.MISSING_SLICE),
        ((0, 8, 19, 27), ReasonCode.UNEVEN_SPACING),
        ((0,), ReasonCode.SINGLE_SLICE),
    ],
)
def test_gaps(heights, problem) -> None:
    (stack,) = split_stacks([stored(image(f"1.9.{i}", [frame(z=z)])) for i, z in enumerate(heights)])
    assert spacing_problem(stack) is problem
    assert gap_free(stack) is (problem is None)


def test_gaps_are_measured_along_the_normal() -> None:
    turned = np.deg2rad(30)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(turned)), float(np.sin(turned)))
    normal = np.cross(orientation[:3], orientation[3:])
    (stack,) = split_stacks(
        [stored(image(f"1.9.{i}", [frame(position=tuple(10 + 5.0 * i * normal), orientation=orientation)])) for i in range(6)]
    )
    assert np.diff(stack.positions_mm) == pytest.approx(5.0)
    assert gap_free(stack)


def test_enhanced_frames_split_like_instances() -> None:
    frames = [frame(1 + 3 * s + p, z=5 * s, time_key=(str(p),)) for s in range(4) for p in range(3)]
    stacks = split_stacks([stored(image("1.9", frames))])
    assert [sorted(number for _, number in s.plane_keys) for s in stacks] == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]]


def test_a_long_time_series_is_split_quickly() -> None:
    frames = [frame(1 + 150 * s + p, z=5 * s, time_key=(f"{p:04d}",), orientation=AXIAL) for s in range(30) for p in range(150)]
    stacks = split_stacks([stored(image("1.9", frames))])
    assert len(stacks) == 150
    assert all(map(gap_free, stacks))


# name -> planes per stack, None where a stack is no volume
REAL = {
    "ge/epi-2-timepoints-interleaved": [15, 15],
    "ge/epi-1-volume-interleaved": [15],
    "ge/t1-sag-oblique-4": [4],
    "ge/localizer-3plane-ffs": [2, 2, 2],
    "philips/epi-oblique-3-timepoints": [9, 9, 9],
    "philips/dual-echo-mag-phase": [5, 5, 5, 5],
    "philips/fmri-enhanced-timepoints": [8, 8, 8, 8],
    "philips/b0map-enhanced": [32, 32],
    "philips/t1-tse-enhanced-plus-raw": [12],
    "philips/localizer-two-orientations": [2, 2],
    "siemens/xa30-enhanced-t1": [96],
    "siemens/xa-scout-mpr-enhanced": [None, None, None],
    "siemens/t1-sag-hfs": [5],
    "canon-toshiba/toshiba-b0-rotated-30": [12],
    "derived/nifti2dicom-t1-oblique": [5],
    "transfer-syntax/emri-small": [None],
    "transfer-syntax/mr-small-implicit": [None],
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_series(name, realdata) -> None:
    held = [StoredHeader(read_header(path), path, path.name) for path in sorted((realdata / "dicom" / name).glob("*.dcm"))]
    stacks = split_stacks(held)
    assert [len(s.planes) if gap_free(s) else None for s in stacks] == REAL[name]
    assert not any(s.lacks_positions for s in stacks)
    random.Random(0).shuffle(held)
    assert split_stacks(held) == stacks
