"""The networks of one model folder, read when they are first needed; where the GPU fails, the CPU judges."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qcnode.assess.model_card import ModelCard
from qcnode.case import Prediction, Reason, ReasonCode, Weights
from qcnode.imaging.grid import Volume

if TYPE_CHECKING:
    from qcnode.assess.inference import QCPredictor

log = logging.getLogger(__name__)


class FallbackPredictor:
    """Judges as QCPredictor does. card: the model card. weights: what to record beside a verdict.

    Where a GPU is asked for and there is none, or the GPU has not enough memory for a case or fails at it in another way, the CPU judges
    the case, and the prediction has a remark that says so. The next case is for the GPU again.
    """

    def __init__(self, card: ModelCard, model_dir: Path, *, device: str = "auto", threads: int = 0) -> None:
        """The files of `model_dir` are read with the first prediction; for the other arguments see QCPredictor."""
        self.card = card
        self.weights = Weights(card.name, card.version, card.digest())
        self._model_dir = model_dir
        self._device = device
        self._threads = threads
        self._opened: dict[str, QCPredictor] = {}

    def predict(self, contrasts: Mapping[str, Volume], query: npt.NDArray[np.bool_]) -> Prediction:
        """See QCPredictor.predict. Raises ConfigurationError where the weights do not fit their card."""
        from qcnode.assess.inference import NoGPU, free_gpu_memory  # PyTorch takes seconds to import

        try:
            return self._on(self._device).predict(contrasts, query)
        except NoGPU:
            text = "a GPU is asked for and there is none: the CPU has judged"
        except RuntimeError as error:  # of PyTorch: no memory, or whatever else CUDA reports
            if self._is_on_cpu():
                raise
            text = f"the GPU has failed ({type(error).__name__}): the CPU has judged"
        # only now, when the error holds on to nothing any more
        free_gpu_memory()
        log.warning("%s", text)
        prediction = self._on("cpu").predict(contrasts, query)
        return replace(prediction, remarks=(*prediction.remarks, Reason(ReasonCode.DEVICE_FALLBACK, text)))

    def _on(self, device: str) -> QCPredictor:
        from qcnode.assess.inference import QCPredictor

        if device not in self._opened:
            self._opened[device] = QCPredictor(self._model_dir, device=device, threads=self._threads)
        return self._opened[device]

    def _is_on_cpu(self) -> bool:
        usual = self._opened.get(self._device)
        return self._device == "cpu" or (usual is not None and usual.device == "CPU")
