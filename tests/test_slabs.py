import pytest
import torch
from torch import nn

from qcnode.assess.networks import slabs

CASES = [((3, 3, 3), 1, 40), ((7, 7, 7), 1, 17), ((1, 5, 5), (1, 2, 2), 33), ((3, 3, 3), 2, 40)]


@pytest.mark.parametrize(("kernel", "stride", "depth"), CASES)
def test_slabs_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch, kernel, stride, depth) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(5, 4, kernel, stride, tuple(k // 2 for k in kernel))
    parts = [torch.randn(2, 3, depth, 11, 13), torch.randn(2, 2, depth, 11, 13)]
    expected = convolution(torch.cat(parts, 1))
    monkeypatch.setattr(slabs, "_SMALL", 0)
    with torch.inference_mode():
        torch.testing.assert_close(slabs.convolve(convolution, parts), expected)


def test_training_is_done_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "_SMALL", 0)
    convolution = nn.Conv3d(1, 1, 3, padding=1)
    slabs.convolve(convolution, [torch.randn(1, 1, 20, 4, 4)]).sum().backward()
    assert convolution.weight.grad is not None
