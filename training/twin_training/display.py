"""What a person sees of a training run: a progress bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from twin_edge.wording import counted

if TYPE_CHECKING:
    from twin_training import diagnosis, loop

_SHOWN: Final = ("l1", "dssim", "adversarial", "error", "bits")
_LINES: Final = 10
_BARS_PER_S: Final = 4


class Display:
    """Shows the progress of recording and training.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._recording = self._training = TaskID(0)
        self._started_s = 0.0
        self._first_step = self._last_step = 0
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
                console=console,
                refresh_per_second=_BARS_PER_S,
            )
            self._recording = self._bars.add_task("recording", total=None, losses="")
            self._training = self._bars.add_task("training ", total=None, losses="", start=False)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def recorded(self, done: int, total: int | None) -> None:
        """Shows that `done` frames have been read, of `total` when that is known."""
        if self._bars is not None:
            self._bars.update(self._recording, completed=done, total=total)
        elif done == total:
            self._console.print(f"recorded {counted(done, 'frame')}")

    def prepared(self, stage: str) -> None:
        """Shows what is computed before the first step."""
        if self._bars is None:
            self._console.print(f"computing: {stage}")
        else:
            self._bars.update(self._training, losses=stage)

    def note(self, text: str) -> None:
        """Shows what was found, above the progress bars; nothing for an empty text."""
        if text:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def warn(self, finding: diagnosis.Finding) -> None:
        """Shows what is wrong with the subject or the twin, above the progress bars."""
        self._console.print(f"warning: {finding}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def trained(self, progress: loop.Progress) -> None:
        """Shows a training step."""
        losses = " ".join(f"{name} {progress.losses[name]:.4f}" for name in _SHOWN if name in progress.losses)
        if not self._started_s or progress.step <= self._last_step:  # Another twin begins.
            self._started_s, self._first_step = time.monotonic(), progress.step - 1
            if self._bars is not None:
                self._bars.reset(self._training, total=progress.steps, completed=progress.step)
        self._last_step = progress.step
        if self._bars is not None:
            self._bars.update(self._training, completed=progress.step, losses=losses)
        elif progress.step * _LINES // progress.steps > (progress.step - 1) * _LINES // progress.steps:
            seconds = time.monotonic() - self._started_s
            left = seconds / (progress.step - self._first_step) * (progress.steps - progress.step)
            self._console.print(f"step {progress.step}/{progress.steps}  {losses}  {seconds:.0f} s, {left:.0f} s left")
