"""The network against the paper's own counts, and its options."""

import pytest
import torch

from qcnode.assess.networks.qcresunet import BRAIN_STRIDES, CARDIAC_STRIDES, Design, QCResUNet, ResidualBlock, features_of


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_papers():
    network = QCResUNet()
    encoder = count(network.stem) + count(network.stages) + count(network.head)
    assert round(count(network) / 1e6, 2) == 16.59
    assert round(encoder / 1e6, 2) == 15.94  # given in the paper as ResNet-50
    small = QCResUNet(Design(depth=18))
    assert round((count(small.stem) + count(small.stages) + count(small.head)) / 1e6, 2) == 8.36


def test_norms_are_instance_norms_and_dropout_is_spatial():
    modules = list(QCResUNet().modules())
    assert not [m for m in modules if "BatchNorm" in type(m).__name__ or "GroupNorm" in type(m).__name__]
    blocks = [m for m in modules if isinstance(m, ResidualBlock)]
    assert len(blocks) == 3 + 4 + 6 + 3
    assert all(isinstance(b.dropout, torch.nn.Dropout3d) and b.dropout.p == 0.3 for b in blocks)


@pytest.mark.parametrize(
    ("strides", "size"), [(BRAIN_STRIDES, (18, 21, 17)), (CARDIAC_STRIDES, (7, 33, 40)), (CARDIAC_STRIDES, (2, 32, 32))]
)
def test_any_input_size(strides, size):
    design = Design(contrasts=2, tissues=3, width=8, depth=18, strides=strides, stem_kernel=(3, 3, 3))
    network = QCResUNet(design).eval()
    with torch.inference_mode():
        found = network(torch.randn(1, 2, *size), torch.rand(1, 3, *size).round())
    assert found.quality.shape == (1, 2)
    assert found.error_map.shape == (1, 3, *size)


def test_options():
    design = Design(
        contrasts=1,
        outputs=5,
        width=8,
        depth=18,
        strides=CARDIAC_STRIDES,
        stem_kernel=(1, 5, 5),
        stem_stride=(1, 2, 2),
        further_channels=3,
        numbers=4,
        flat_stages=2,
        group_norm_last=True,
        max_pooling=True,
        coarse_decoder=True,
    )
    assert features_of((6, 48, 48), design) == (3, 2, 2)
    network = QCResUNet(design).eval()
    query = torch.rand(2, 3, 6, 48, 48).round()
    start, errors = torch.randn(2, 5), torch.randn_like(query)
    with torch.inference_mode():
        found = network(torch.randn(2, 1, 6, 48, 48), query, torch.rand_like(query), torch.randn(2, 4), start, errors)
    torch.testing.assert_close(found.quality, start)  # an unfitted network leaves the first estimate as it is
    assert found.error_map.shape == query.shape
    kernels = {m.first.kernel_size for m in network.stages[0].modules() if isinstance(m, ResidualBlock)}
    assert kernels == {(1, 3, 3)}


def test_gradients_reach_every_parameter():
    network = QCResUNet(Design(contrasts=1, width=8, depth=18, strides=CARDIAC_STRIDES, stem_kernel=(1, 3, 3), dropout=0.0))
    found = network(torch.randn(1, 1, 4, 48, 48), torch.rand(1, 3, 4, 48, 48).round())
    (found.quality.sum() + found.error_map.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_answer_is_the_same_with_and_without_gradients():
    network = QCResUNet(Design(contrasts=1, width=8, depth=18, strides=CARDIAC_STRIDES, stem_kernel=(1, 3, 3))).eval()
    contrasts, query = torch.randn(1, 1, 4, 48, 48), torch.rand(1, 3, 4, 48, 48).round()
    with_gradients = network(contrasts, query)
    with torch.inference_mode():
        without = network(contrasts, query)
    torch.testing.assert_close(with_gradients.error_map, without.error_map, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(with_gradients.quality, without.quality)
