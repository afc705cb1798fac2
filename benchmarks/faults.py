"""How the gap of a bundle answers to the rig's faults, and how often it cries wolf.

    python benchmarks/faults.py bundles/rig.twin

Episodes are of seeds that neither training, calibration nor the test has used. Each fault strikes after ten seconds;
what is counted is the share of frames above 0.99 (stranger than 99 % of normal ones) before it and in each of the
three seconds after it, and the time until three frames in a row are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twin_edge.bundle import Bundle
from twin_edge.cameras.rig import FAULT_NAMES, Fault, Rig, RigConfig
from twin_edge.files import write_atomic
from twin_edge.models.networks import State
from twin_edge.twin import Twin

FPS = 30
AT_S, AFTER_S = 10, 3
SEEDS = range(9000, 9006)
ALARM = 0.99
IN_A_ROW = 3


def scores_of(twin: Twin, rig: Rig, frames: int) -> list[float]:
    """Returns the gap of consecutive frames."""
    scores: list[float] = []
    state: State | None = None
    for _ in range(frames):
        rig.step()
        view = twin.make_view(rig.draw())
        state = twin.encode(view, state)
        scores.append(twin.compare(view, twin.render(state), state).score)
    return scores


def first_alarm_s(scores: list[float]) -> float:
    """Returns when the first three frames in a row are above 0.99, seconds; infinity when none are."""
    alarms = np.array(scores) > ALARM
    for start in range(len(alarms) - IN_A_ROW + 1):
        if alarms[start : start + IN_A_ROW].all():
            return (start + IN_A_ROW) / FPS
    return float("inf")


def measure(twin: Twin, fault: str) -> dict[str, float]:
    """Returns the figures of one fault."""
    before, after, alarms = [], [], []
    for seed in SEEDS:
        rig = Rig(RigConfig(seed=seed, faults=(Fault(fault, at_s=AT_S),)))
        rig.step((AT_S - 3) * FPS)
        before += scores_of(twin, rig, 3 * FPS)
        scores = scores_of(twin, rig, AFTER_S * FPS)
        after.append(scores)
        alarms.append(first_alarm_s(scores))
    shares = (np.array(after) > ALARM).reshape(len(SEEDS), AFTER_S, FPS).mean((0, 2))
    found = [moment for moment in alarms if moment < float("inf")]
    return {
        "before": float(np.mean(np.array(before) > ALARM)),
        **{f"second_{index + 1}": float(share) for index, share in enumerate(shares)},
        "found": len(found) / len(SEEDS),
        "median_s": float(np.median(found)) if found else -1.0,
    }


def main() -> int:
    """Prints the table and writes it to benchmarks/results/faults_of_the_rig.json."""
    twin = Twin(Bundle.open(Path(sys.argv[1] if len(sys.argv) > 1 else "bundles/rig.twin")))
    results = {fault: measure(twin, fault) for fault in FAULT_NAMES}
    table = Table(
        "fault", "before", "1st s", "2nd s", "3rd s", "found", "after", title="share of frames with gap > 0.99"
    )
    for fault, row in results.items():
        share = [f"{row[key]:.0%}" for key in ("before", "second_1", "second_2", "second_3", "found")]
        table.add_row(fault, *share, f"{row['median_s']:.2f} s" if row["median_s"] >= 0 else "-")
    Console().print(table)
    text = json.dumps({"bundle": twin.bundle.digest, "seeds": list(SEEDS), "faults": results}, indent=2)
    write_atomic(Path("benchmarks/results/faults_of_the_rig.json"), (text + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
