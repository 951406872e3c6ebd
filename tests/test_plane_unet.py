"""The small 2-D U-Net: shapes, and a localiser and segmenter that know where a bright organ is give a pseudo-reference in its place."""

import numpy as np
import pytest
import torch

from qcnode.assess.inputs import PseudoReferenceSettings, draw_pseudo_reference, neighbours, tissue_groups
from qcnode.assess.networks.plane_unet import PlaneUNet
from qcnode.imaging.preprocess import Orientation
from qcnode.tissues import Tissue


class Bright(PlaneUNet):
    """Calls what is bright in the middle slice the organ; right of the middle of the picture it is the second structure."""

    def __init__(self, classes: int) -> None:
        super().__init__(3, classes, (4, 8))
        self.classes = classes

    def decode(self, features):
        shown = self.shown[:, 1]
        bright = shown > 1
        right = torch.arange(shown.shape[-1]) >= shown.shape[-1] // 2
        logits = torch.full((len(shown), self.classes, *shown.shape[1:]), -9.0)
        logits[:, 0][~bright] = 9
        logits[:, 1][bright & ~right] = 9
        logits[:, -1][bright & right] = 9
        return logits

    def encode(self, slices):
        self.shown = slices
        return super().encode(slices)


SETTINGS = PseudoReferenceSettings(field_side=32, box_side=48, views=(0.1, 0.3), slices=3, groups=((1,), (1, 2)))


@pytest.fixture
def values():
    """A bright square of 20 x 20 voxels, and a bright speck far away."""
    array = np.zeros((1, 4, 80, 100), np.float32)
    array[0, 1:3, 30:50, 60:80] = 2
    array[0, 1, 5:8, 5:8] = 2
    return array


def test_shapes():
    network = PlaneUNet(3, 4, (8, 16, 24))
    slices = torch.rand(2, 3, 48, 64)
    assert network(slices).shape == (2, 4, 48, 64)
    assert [tuple(f.shape[1:]) for f in network.encode(slices)] == [(8, 24, 32), (16, 12, 16), (24, 6, 8)]
    assert network.multiple == 8


def test_the_pseudo_reference_lies_where_the_organ_is(values):
    localiser, segmenter = Bright(2).eval(), Bright(3).eval()
    found = draw_pseudo_reference(localiser, segmenter, values, Orientation(), SETTINGS)
    whole = found.segmentation[1]
    true = np.zeros(whole.shape, bool)
    true[1:3, 30:50, 60:80] = True
    assert (whole ^ true).sum() < 0.15 * true.sum()
    assert not whole[:, :20].any()  # the speck is an island
    assert (found.segmentation[0] & ~whole).sum() == 0  # the first tissue is a part of the second
    assert found.probabilities.shape == found.segmentation.shape == (2, 4, 80, 100)
    assert {group: means.shape for group, means in found.pooled.items()} == {"field": (16,), "pooled": (16,)}


@pytest.mark.parametrize(("order", "flip"), [((0, 2, 1), (False, True, False)), ((0, 1, 2), (True, True, False))])
def test_orientation_is_undone(values, order, flip):
    whole = PseudoReferenceSettings(32, 48, (0.1,), 3, ((1, 2),))
    localiser, segmenter = Bright(2).eval(), Bright(3).eval()
    straight = draw_pseudo_reference(localiser, segmenter, values, Orientation(), whole)
    turned = draw_pseudo_reference(localiser, segmenter, values, Orientation(order, flip), whole)
    assert (straight.segmentation ^ turned.segmentation).sum() < 0.2 * straight.segmentation.sum()


def test_nothing_found_is_no_error():
    empty = np.zeros((1, 3, 40, 40), np.float32)
    found = draw_pseudo_reference(Bright(2).eval(), Bright(3).eval(), empty, Orientation(), SETTINGS)
    assert not found.segmentation.any()
    assert found.probabilities.max() < 0.01


def test_neighbours_repeat_the_outermost():
    planes = np.arange(4, dtype=np.float32)[None, :, None, None]
    assert neighbours(planes, 0, 3).ravel().tolist() == [0, 0, 1]
    assert neighbours(planes, 3, 5).ravel().tolist() == [1, 2, 3, 3, 3]


def test_tissues_are_unions_of_structures():
    tissues = [Tissue("whole", ("a", "b"), ("1", "X", "w")), Tissue("core", ("b",), ("2", "X", "c"))]
    assert tissue_groups(tissues, ("a", "b")) == ((1, 2), (2,))
