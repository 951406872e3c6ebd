"""Patient-level splits: from the lists train.list, val.list and test.list of a cohort's folder, or by counting."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qcnode.errors import ConfigurationError

VALIDATION_EVERY = 8
"""Without any list every patient of this number, in sorted order and from the first on, is for validation."""

_LISTS = ("train", "val", "test")


def check_folder(folder: Path) -> None:
    """Raise ConfigurationError where the cohort's folder is missing."""
    if not folder.is_dir():
        raise ConfigurationError(f"No folder {folder}: give the data folder with --data or in QCNODE_REALDATA (it holds {folder.name}/).")


def split_patients(folder: Path, found: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The patients of `found` by split, sorted: "train", "val" and, where there is a test.list, "test".

    A list names a patient per line. Patients that no list names: without train.list they are for training, with train.list and without
    val.list for validation; with both they are left out. Without train.list and val.list every 8th patient that test.list does not name is
    for validation. Raises ConfigurationError where no patient was found, a list names one that was not, or two lists name the same.
    """
    patients = sorted(set(found))
    if not patients:
        raise ConfigurationError(f"{folder} holds no patient of this layout (docs/training.md).")
    listed = {name: _read_list(folder / f"{name}.list") for name in _LISTS}
    _check(listed, set(patients))
    train, val, test = (listed[name] for name in _LISTS)
    free = [p for p in patients if p not in (train or set()) | (val or set()) | (test or set())]
    if val is None:
        val = set(free if train is not None else free[::VALIDATION_EVERY])
    if train is None:
        train = set(free) - val
    split = {"train": train, "val": val} | ({} if test is None else {"test": test})
    return {name: tuple(sorted(members)) for name, members in split.items()}


def _read_list(path: Path) -> set[str] | None:
    if not path.is_file():
        return None
    return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}


def _check(listed: dict[str, set[str] | None], patients: set[str]) -> None:
    problems = []
    seen: dict[str, str] = {}
    for name, members in listed.items():
        if missing := sorted((members or set()) - patients):
            problems.append(f"{name}.list names patients without files: {', '.join(missing)}")
        for patient in sorted(members or ()):
            if patient in seen:
                problems.append(f"{patient} is in {seen[patient]}.list and in {name}.list")
            seen[patient] = name
    if problems:
        raise ConfigurationError("\n".join(problems))
