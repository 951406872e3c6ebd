"""Mutant number n, always the same one."""

from __future__ import annotations

import random
import warnings
import zlib
from dataclasses import dataclass

from corpus import Corpus, Template
from mutations import MUTATIONS, meta
from part10 import dataset_start, element_bytes, raw_deflate
from pydicom import config, uid
from rebuilt import rebuilt

_PLAIN, _DEFLATED = str(uid.ExplicitVRLittleEndian), str(uid.DeflatedExplicitVRLittleEndian)
_REBUILT = 25  # of about 140, the sum of the other weights


@dataclass(frozen=True, slots=True)
class Mutant:
    """`content` in the place of image or SEG number `place` of a study (images first), or beside it where that is None.

    twice: the study holds the object that it was made of, too.
    """

    seed: int
    mutation: str
    origin: str
    content: bytes
    template: Template
    place: int | None
    twice: bool = False

    @property
    def files(self) -> list[bytes]:
        """The whole study, the mutant last."""
        whole = [*self.template.images, self.template.segs[0]]
        if self.place is not None and not self.twice:
            del whole[self.place]
        return [*whole, self.content]


def make_mutant(corpus: Corpus, seed: int) -> Mutant:
    """The mutant of this seed; the same for the same corpus."""
    draw = random.Random(seed)
    template = draw.choice(corpus.templates) if draw.random() < 0.7 else corpus.templates[0]
    kind = draw.random()
    if kind < 0.15:
        origin, part10 = draw.choice(corpus.others)
        place = None
    elif kind < 0.55:
        place = len(template.images)
        origin, part10 = f"seg on {template.name}", template.segs[draw.random() < 0.75]
    else:
        place = draw.randrange(len(template.images))
        origin, part10 = f"image of {template.name}", template.images[place]
    name, content = _mutated(draw, part10)
    return Mutant(seed, name, origin, content, template, place, twice=place is not None and draw.random() < 0.12)


def _mutated(draw: random.Random, part10: bytes) -> tuple[str, bytes]:
    weights = [weight for weight, _ in MUTATIONS.values()]
    (name,) = draw.choices([*MUTATIONS, "rebuilt"], [*weights, _REBUILT])
    mutate = rebuilt if name == "rebuilt" else MUTATIONS[name][1]
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            if _is_deflated(part10) and name != "file meta":
                broken = mutate(draw, meta(_PLAIN) + zlib.decompress(part10[dataset_start(part10) :], -zlib.MAX_WBITS))
                return name, meta(_DEFLATED) + raw_deflate(broken[dataset_start(broken) :])
            return name, mutate(draw, part10)
        except Exception:  # noqa: BLE001  the origin (a real object, say) has not what this mutation needs: break it blindly
            return "bits flipped", MUTATIONS["bits flipped"][1](draw, part10)


def _is_deflated(part10: bytes) -> bool:
    return element_bytes(0x00020010, "UI", _DEFLATED.encode()) in part10[:1000]
