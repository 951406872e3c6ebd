"""Targets in the order of the network's outputs; tissues are unions of structures."""

import numpy as np
import pytest

from qcnode.assess.metrics import Reference, agreement
from training.targets import quality_targets, tissue_channels


@pytest.fixture
def labels():
    labels = np.zeros((3, 24, 24), np.uint8)
    labels[:, 4:20, 4:20], labels[:, 8:16, 8:16], labels[1, 10:13, 10:13] = 2, 1, 4
    return labels


def test_each_structure_a_tissue(labels):
    channels = tissue_channels(labels, ((1,), (2,), (3,)))
    assert channels.dtype == bool
    assert channels.shape == (3, 3, 24, 24)
    assert [int(c.sum()) for c in channels] == [3 * 64 - 9, 3 * (256 - 64), 0]


def test_tissues_are_unions_of_structures(labels):
    whole, core, enhancing = tissue_channels(labels, ((1, 2, 4), (1, 4), (4,)))
    np.testing.assert_array_equal(whole, labels > 0)
    np.testing.assert_array_equal(core, (labels == 1) | (labels == 4))
    np.testing.assert_array_equal(enhancing, labels == 4)


def test_labels_that_no_tissue_has_are_background(labels):
    assert not tissue_channels(labels, ((7,), (6, 8))).any()


def test_targets_are_dsc_nsd_and_dsc_per_tissue(labels):
    groups = ((1,), (2,), (4,))
    reference, query = tissue_channels(labels, groups), tissue_channels(np.roll(labels, 2, 2), groups)
    found = quality_targets(query, Reference(reference, (8.0, 1.5, 1.5), 2.0))
    expected = agreement(query, reference, (8.0, 1.5, 1.5), 2.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [expected.dsc, expected.nsd, *expected.dsc_per_tissue], rtol=1e-6)
    assert found[4] == pytest.approx(1 / 3)  # three columns wide, moved by two
    assert quality_targets(reference, Reference(reference, (8.0, 1.5, 1.5), 2.0)).tolist() == [1.0] * 5
