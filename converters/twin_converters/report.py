"""What a conversion tells: the bundle on disk, a report for programs, a picture and a few lines for people."""

from __future__ import annotations

import json
from pathlib import Path

from twin_converters.convert import Conversion
from twin_edge.files import write_atomic
from twin_edge.pictures import labelled_rows
from twin_edge.wording import counted


def write(conversion: Conversion, path: Path) -> None:
    """Writes the bundle and, beside it, `NAME.report.json` and `NAME.report.png`.

    Raises:
        TwinEdgeError: Something cannot be written; older files stay.
    """
    write_atomic(path.with_suffix(".report.png"), labelled_rows(conversion.pictures))
    report = json.dumps(dict(conversion.report), indent=2, sort_keys=True) + "\n"
    write_atomic(path.with_suffix(".report.json"), report.encode())
    write_atomic(path, conversion.bundle.data)


def summary(conversion: Conversion, path: Path) -> str:
    """Returns a few lines about the conversion."""
    report = conversion.report
    names = {"float": "float", "int8": "int8 "}
    size = f"{report['bundle_bytes'] / 1e3:.0f} kB, {report['state_bytes']} B a state"
    frames = counted(report["test_frames"], "held-out frame")
    lines = [f"{path}  {size}, digest {report['digest'][:12]}", f"on {frames}:"]
    lines += [
        f"  {name}  {report[key]['psnr_db']:.2f} dB, SSIM {report[key]['ssim']:.3f}" for key, name in names.items()
    ]
    seen = report["default"]
    lines.append(
        f"  as a subscriber sees it by default: {seen['psnr_db']:.2f} dB, SSIM {seen['ssim']:.3f} "
        f"at {seen['bytes']:.1f} B a frame, {seen['fps']:.3g} frames a second"
    )
    against = conversion.bundle.manifest.quality.against_baseline
    lines.append(f"  the twin is {against.text}")
    lines += [
        f"  on {one['runtime']}: {one['psnr_db']:.2f} dB, SSIM {one['ssim']:.3f}" for one in report["runtimes"].values()
    ]
    if len(report["runtimes"]) > 1:
        apart = report["levels_between_runtimes"]
        how = f"the same within {apart}/255" if apart else "the same, to the bit"
        lines.append(f"  the same states render {how} on both")
    else:
        lines.append("  only one runtime is installed: parity between runtimes was not measured")
    levels = ", ".join(f"{level['loss_db']:.2f} dB at {level['state_bits'] / 8:.1f} B" for level in report["codec"])
    lines.append(f"codec levels, finest first, with their loss on held-out frames and bytes a state: {levels}")
    lines += [f"warning: {warning}" for warning in report["warnings"]]
    lines.append(f"look at {path.with_suffix('.report.png')}")
    return "\n".join(lines)
