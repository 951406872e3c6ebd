"""A random forest cut at growing depths (paper 004, section "Data": depths 2 to 40 of one forest): the deeper, the better it segments.

One forest is fitted; cutting a tree at a depth means to answer with the classes of the node that a voxel has reached there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from qcnode.errors import ConfigurationError
from training.cohorts import LabelledVolume
from training.segmenters import KEPT_OUT, FloatArray, Forest, Predictor, Report, SegmenterSettings
from training.segmenters.field import central_frame, on_source, seen, seen_volume

_SCALES = (1.0, 2.0, 4.0, 8.0)  # of the smoothing, in hundredths of the side
_AWAY = (8.0, 16.0)  # how far context is looked for, in hundredths of the side
_FILE = "forest.npz"


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes of one tree.

    children: (node, 2), where a voxel goes whose feature is at most the threshold, or above it; a leaf is its own child. classes: (node,
    class), shares of the classes among the voxels that reached the node.
    """

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    children: npt.NDArray[np.int32]
    classes: npt.NDArray[np.float32]

    def at_depth(self, features: FloatArray, depth: int) -> FloatArray:
        """Class shares (voxel, class) for features (voxel, feature), with the tree cut at `depth`."""
        flat, rows = features.ravel(), np.arange(len(features)) * features.shape[1]
        ways = self.children.ravel()
        node = np.zeros(len(features), np.int64)
        for _ in range(depth):
            above = flat.take(rows + self.feature.take(node)) > self.threshold.take(node)
            reached = ways.take(2 * node + above)
            if np.array_equal(reached, node):
                break
            node = reached
        return np.asarray(self.classes[node], np.float32)


class ForestSegmenter:
    """See training.segmenters.Segmenter. A stage is a depth, as a fraction of the greatest."""

    def __init__(self, settings: SegmenterSettings, *, contrasts: int, classes: int) -> None:
        """`classes` counts the background."""
        if settings.forest is None:
            raise ValueError("a random forest needs `forest`")
        self.name: str = settings.family
        self.kept_out = settings.family in KEPT_OUT
        self.settings = settings
        self.forest: Forest = settings.forest
        self.contrasts = contrasts
        self.classes = classes
        deepest = max(self.forest.depths)
        self._depths = {round(d / deepest, 4): d for d in sorted(self.forest.depths)}

    def stages(self) -> tuple[float, ...]:
        """Depths as fractions of the greatest."""
        return tuple(self._depths)

    def fit(self, volumes: Sequence[LabelledVolume], folder: Path, *, seed: int, report: Report) -> None:
        """See training.segmenters.Segmenter. A minute's work, so that a killed fit starts anew, with the same result."""
        path = folder / _FILE
        if path.is_file():
            return
        features, labels = self._samples(volumes, np.random.default_rng([seed, 0]))
        grown = RandomForestClassifier(
            self.forest.trees, max_depth=max(self.forest.depths), min_samples_leaf=2, random_state=seed, warm_start=True, n_jobs=1
        )
        for count in range(1, self.forest.trees + 1):
            grown.set_params(n_estimators=count)
            grown.fit(features, labels)
            report(count, self.forest.trees, {})
        folder.mkdir(parents=True, exist_ok=True)
        _save([_tree(t, grown.classes_, self.classes) for t in grown.estimators_], path)

    def predictor(self, folder: Path, stage: float) -> Predictor:
        """See training.segmenters.Segmenter."""
        if stage not in self._depths:
            raise ConfigurationError(f"{self.name} has no stage {stage}; it has {', '.join(map(str, self.stages()))}.")
        path = folder / _FILE
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing: fit the segmenter {self.name} first.")
        trees, depth = _load(path), self._depths[stage]

        def predict(contrasts: Sequence[npt.NDArray[np.float32]]) -> FloatArray:
            z, y, x = contrasts[0].shape
            frame = central_frame((z, y, x), self.settings.part, self.settings.side)
            planes = seen(contrasts, frame)
            features = voxel_features(planes).reshape(-1, feature_count(self.contrasts))
            classes = sum((t.at_depth(features, depth) for t in trees), np.zeros((len(features), self.classes), np.float32)) / len(trees)
            return on_source(np.ascontiguousarray(classes.T.reshape(-1, *planes.shape[1:])[1:]), frame)

        return predict

    def _samples(self, volumes: Sequence[LabelledVolume], rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        """Features and labels of the voxels that are drawn: half of them from the structures, as far as there are any."""
        features, labels = [], []
        for volume in volumes:
            stack = seen_volume(volume, self.settings)
            found = voxel_features(stack.planes.astype(np.float32)).reshape(-1, feature_count(self.contrasts))
            flat = stack.labels.ravel()
            half = self.forest.voxels // 2
            chosen = [rng.choice(w, min(half, len(w)), replace=False) for w in (np.flatnonzero(flat > 0), np.flatnonzero(flat == 0))]
            features += [found[c] for c in chosen]
            labels += [flat[c] for c in chosen]
        return np.concatenate(features), np.concatenate(labels)


def feature_count(contrasts: int) -> int:
    """How many features a voxel has."""
    return contrasts * (3 + 2 * len(_SCALES) + 4 * len(_AWAY)) + 4


def voxel_features(planes: FloatArray) -> FloatArray:
    """Features (z, y, x, feature) of planes (contrast, z, y, x).

    Per contrast: intensity, here and in the slices beside; smoothed at four scales and its gradient there; smoothed intensities at two
    distances in four directions. Then the position: along the stack, in the slice, and from the slice's middle.
    """
    depth, side = planes.shape[1], planes.shape[2]
    found: list[npt.NDArray[np.floating]] = []
    for volume in planes:
        padded = np.pad(volume, ((1, 1), (0, 0), (0, 0)), mode="edge")
        found += [volume, padded[:-2], padded[2:]]
        smoothed = {s: ndimage.gaussian_filter(volume, (0, s * side / 100, s * side / 100)) for s in _SCALES}
        found += list(smoothed.values())
        found += [np.hypot(*np.gradient(v, axis=(1, 2))) for v in smoothed.values()]
        for distance, scale in zip(_AWAY, _SCALES[1:], strict=False):
            reach = max(round(distance * side / 100), 1)
            wide = np.pad(smoothed[scale], ((0, 0), (reach, reach), (reach, reach)), mode="edge")
            steps = ((0, reach), (2 * reach, reach), (reach, 0), (reach, 2 * reach))
            found += [wide[:, y : y + planes.shape[2], x : x + planes.shape[3]] for y, x in steps]
    z, y, x = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in planes.shape[1:]), indexing="ij")
    ends = np.abs(z) if depth > 1 else np.zeros_like(z)  # stacks run from either end
    return np.stack([*found, ends, y, x, np.hypot(y, x)], -1).astype(np.float32)


def _tree(fitted: DecisionTreeClassifier, known: npt.NDArray[np.uint8], classes: int) -> Tree:
    """A fitted tree as arrays; a class that no voxel had gets a share of 0."""
    nodes = fitted.tree_
    own = np.arange(nodes.node_count)
    leaf = nodes.children_left < 0
    shares = np.zeros((nodes.node_count, classes), np.float32)
    shares[:, known.astype(int)] = nodes.value[:, 0] / nodes.value[:, 0].sum(1, keepdims=True)
    return Tree(
        np.where(leaf, 0, nodes.feature).astype(np.int32),
        np.where(leaf, np.inf, nodes.threshold).astype(np.float64),
        np.where(leaf[:, None], own[:, None], np.stack([nodes.children_left, nodes.children_right], 1)).astype(np.int32),
        shares,
    )


def _save(trees: Sequence[Tree], path: Path) -> None:
    """Write beside the file, then rename."""
    arrays = {f"{name}-{i}": getattr(t, name) for i, t in enumerate(trees) for name in Tree.__slots__}
    fresh = path.with_suffix(".part.npz")
    np.savez_compressed(fresh, **arrays)
    fresh.replace(path)


def _load(path: Path) -> list[Tree]:
    with np.load(path) as stored:
        count = sum(name.startswith("feature-") for name in stored.files)
        return [Tree(*(stored[f"{name}-{i}"] for name in Tree.__slots__)) for i in range(count)]
