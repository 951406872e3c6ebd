"""Where the GPU fails, the CPU judges and the verdict says so. The networks run on the CPU here, and fail like a GPU."""

import logging
from pathlib import Path

import pytest
import torch

from qcnode.assess import inference
from qcnode.assess.fallback import FallbackPredictor
from qcnode.assess.model_card import load_card
from qcnode.assess.networks.qcresunet import QCResUNet
from qcnode.assess.verdict import Limit, Limits, judge
from qcnode.case import ReasonCode, Verdict
from qcnode.demo.phantom import Phantom, good_query, make_phantom

PACKAGED = Path(__file__).parents[1] / "qcnode" / "models" / "cardiac-sax"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(1)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU as far as words go."""
    words = {"cpu": "CPU"}
    monkeypatch.setattr(inference, "_choose_device", lambda wanted: ("cpu", words.get(wanted, "GPU (of the test)")))


class Failing:
    """In place of QCResUNet.forward: raises what it is given, then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.works = QCResUNet.forward

    def __get__(self, network: QCResUNet, owner: type) -> object:
        return lambda *tensors: self(network, *tensors)

    def __call__(self, network: QCResUNet, *tensors: torch.Tensor) -> object:
        if self.errors:
            raise self.errors.pop(0)
        return self.works(network, *tensors)


def predictor(device: str) -> FallbackPredictor:
    return FallbackPredictor(load_card(PACKAGED), PACKAGED, device=device)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_without_memory_costs_one_case_its_speed(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, query = predictor("auto"), good_query(phantom)
    monkeypatch.setattr(QCResUNet, "forward", Failing(torch.OutOfMemoryError("tried to allocate 20 GiB")))
    with caplog.at_level(logging.WARNING):
        found = asked.predict({"cine": phantom.volume}, query)
    assert found.device == "CPU"
    (remark,) = found.remarks
    assert (remark.code, remark.text) == (ReasonCode.DEVICE_FALLBACK, "the GPU has failed (OutOfMemoryError): the CPU has judged")
    assert remark.text in caplog.text
    again = asked.predict({"cine": phantom.volume}, query)
    assert (again.device, again.remarks) == ("GPU (of the test)", ())
    assert again.predicted_dsc == pytest.approx(found.predicted_dsc)
    assert found.notes == again.notes, "no doubt about the number"
    assert judge(found, Limits(Limit(0.75, 0.05)))[0] is Verdict.PASS


@pytest.mark.usefixtures("gpu")
def test_weights_that_do_not_fit_into_the_gpu_are_read_on_the_cpu(phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, read = [torch.OutOfMemoryError()], inference._read_members

    def read_members(*arguments):
        if failures:
            raise failures.pop()
        return read(*arguments)

    monkeypatch.setattr(inference, "_read_members", read_members)
    found = predictor("auto").predict({"cine": phantom.volume}, good_query(phantom))
    assert (found.device, [r.code for r in found.remarks]) == ("CPU", [ReasonCode.DEVICE_FALLBACK])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_is_not_there(phantom: Phantom) -> None:
    found = predictor("cuda").predict({"cine": phantom.volume}, good_query(phantom))
    assert found.device == "CPU"
    assert [r.text for r in found.remarks] == ["a GPU is asked for and there is none: the CPU has judged"]


def test_what_the_cpu_can_not_do_nothing_else_is_asked_for(phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(*[RuntimeError("shapes")] * 2)
    monkeypatch.setattr(QCResUNet, "forward", failing)
    with pytest.raises(RuntimeError, match="shapes"):
        predictor("cpu").predict({"cine": phantom.volume}, good_query(phantom))
    assert len(failing.errors) == 1
