"""What happens to reality and to the camera, as events with what speaks for them."""

from __future__ import annotations

from typing import Final

from twin_edge.runtime.reporting import IN_SYNC_GAP, OUT_OF_SYNC_GAP
from twin_edge.sync import Event

GAP_HIGH: Final = "gap-high"
"""Reality has left the twin."""
GAP_NORMAL: Final = "gap-normal"
"""It is back."""
SUBJECT_LOST: Final = "subject-lost"
"""A subject that moves has been looked for, and was not found."""
CAMERA_LOST: Final = "camera-lost"
"""No frames come any more."""
CAMERA_BACK: Final = "camera-back"
"""They come again."""
_LOST_AFTER_S: Final = 2.0
"""While reality is away from the twin, a subject that moves is looked for in every frame; so long in vain is lost."""


class EventWatch:
    """Turns what the twin thread knows into events, one for each change; for one thread.

    Args:
        moves: Whether the subject moves in the view.
    """

    def __init__(self, *, moves: bool) -> None:
        self._moves = moves
        self._camera = True
        self._in_sync = True
        self._since_s: float | None = None
        self._highest = 0.0
        self._told_lost = False

    def look(
        self,
        now_s: float,
        *,
        camera: bool,
        in_sync: bool,
        gap: float | None,
        seq: int,
        time_us: int,
    ) -> list[Event]:
        """Returns the events that there are.

        Args:
            now_s: Monotonic time, seconds.
            camera: Whether frames come.
            in_sync: Whether reality is where the twin is.
            gap: Recent gap, 0-1; None when it is not known.
            seq: Sequence number of the latest state, u32.
            time_us: Its capture time, microseconds since the epoch.
        """
        found: list[tuple[str, dict[str, float | int]]] = []
        if camera != self._camera:
            self._camera = camera
            found.append((CAMERA_BACK if camera else CAMERA_LOST, {}))
        if camera:
            known = {} if gap is None else {"gap": round(gap, 4)}
            self._highest = max(self._highest, gap or 0.0)
            if in_sync != self._in_sync:
                self._in_sync = in_sync
                if in_sync:
                    lasted_s = round(now_s - (self._since_s or now_s), 2)
                    found.append(
                        (
                            GAP_NORMAL,
                            {**known, "below": IN_SYNC_GAP, "lasted_s": lasted_s, "highest": round(self._highest, 4)},
                        )
                    )
                else:
                    found.append((GAP_HIGH, {**known, "above": OUT_OF_SYNC_GAP}))
                    self._since_s, self._highest, self._told_lost = now_s, gap or 0.0, False
            elif self._is_lost(now_s):
                self._told_lost = True
                found.append((SUBJECT_LOST, {**known, "after_s": _LOST_AFTER_S}))
        return [Event(kind, seq, time_us, evidence) for kind, evidence in found]

    def _is_lost(self, now_s: float) -> bool:
        away_s = 0.0 if self._in_sync or self._since_s is None else now_s - self._since_s
        return self._moves and not self._told_lost and away_s >= _LOST_AFTER_S
