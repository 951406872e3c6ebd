"""The training loop. A killed run resumes exactly: step i draws from its own seed, and everything else is in the checkpoint.

On a GPU it calculates in mixed precision.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from training.schedule import Schedule

Batch = TypeVar("Batch")
Network = TypeVar("Network", bound=nn.Module)
Loss = tuple[Tensor, dict[str, float]]


def fit(
    network: nn.Module,
    draw: Callable[[np.random.Generator], Batch],
    loss_of: Callable[[nn.Module, Batch], Loss],
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    stop_at: int | None = None,
) -> nn.Module:
    """Fit `network` in place; return the moving average of its weights, which is also in `folder`/average.pt.

    draw: one batch, a tuple of tensors, from a generator; loss_of: its loss and the values to log. stop_at: end early, as a kill would
    (tests). log.csv in `folder` has a row per step, curves.png shows them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    average = copy.deepcopy(network).requires_grad_(False)
    step = _resume(folder / "last.pt", network, average, optimizer)
    _cut_log(folder / "log.csv", step)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    snapshots = {round(fraction * schedule.steps): f"snapshot-{fraction:.2f}.pt" for fraction in schedule.snapshots}
    network.train()
    while step < (schedule.steps if stop_at is None else stop_at):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        batch = _on(device, draw(np.random.default_rng([seed, step])))
        with torch.autocast(device, enabled=device == "cuda"):
            loss, values = loss_of(network, batch)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        step += 1
        # young averages forget faster, or the random start would linger in them
        _average(average, network, min(schedule.averaging, step / (step + 10)))
        report(step, values)
        _log(folder / "log.csv", step, {"loss": float(loss.detach()), **values})
        if step in snapshots:
            _save(folder / snapshots[step], average.state_dict())
        if step % schedule.save_every == 0 or step == schedule.steps:
            state = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            _save(folder / "last.pt", state)
    if not (folder / "average.pt").is_file():
        draw_curves(folder / "log.csv", folder / "curves.png")
        _save(folder / "average.pt", average.state_dict())
    return average.to("cpu").eval()


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    warmup = max(1, round(schedule.warmup * schedule.steps))
    if step < warmup:
        return schedule.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * along))))


def read_weights(network: Network, path: Path) -> Network:
    """A network with the weights of a file that `fit` wrote, ready to predict."""
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval().requires_grad_(False)


def draw_curves(log: Path, picture: Path) -> None:
    """Every column of a log.csv over the steps, as the mean of a fiftieth of them at a time."""
    from matplotlib.figure import Figure

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [n for n in rows[0] if n != "step"]
    figure = Figure((6, 2.2 * len(names)), layout="constrained")
    for i, name in enumerate(names):
        values = np.array([float(r[name]) for r in rows])
        window = max(1, len(values) // 50)
        whole = values[: len(values) // window * window].reshape(-1, window).mean(1)
        axes = figure.add_subplot(len(names), 1, i + 1)
        axes.plot((np.arange(len(whole)) + 1) * window, whole, color="tab:blue")
        axes.set(xlabel="step", ylabel=name.replace("_", " "))
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def _on(device: str, batch: Batch) -> Batch:
    """The batch on the device; NamedTuples stay what they are."""
    if device == "cpu" or not isinstance(batch, tuple):
        return batch
    moved = [t.to(device, non_blocking=True) for t in batch]
    return type(batch)(*moved) if hasattr(batch, "_fields") else tuple(moved)  # type: ignore[return-value]  # the same kind of tuple


def _resume(path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for buffer, fresh in zip(average.buffers(), network.buffers(), strict=True):
        buffer.copy_(fresh)


def _save(path: Path, state: object) -> None:
    """Write beside the file, then rename: a kill leaves the old checkpoint or the new one, never half of one."""
    fresh = path.with_suffix(".part")
    torch.save(state, fresh)
    fresh.replace(path)


def _cut_log(path: Path, step: int) -> None:
    """Take out what a killed run logged after its last checkpoint: those steps come again."""
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: step + 1]))


def _log(path: Path, step: int, values: dict[str, float]) -> None:
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", *values])
        writer.writerow([step, *(f"{v:.5g}" for v in values.values())])
