"""The page of the benchmarks, in Markdown, out of the result files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from comparison.points import CONVENTIONAL, METHODS, Point, at_bytes, best_within, bytes_reaching

_TINY_KBPS: Final = 0.5

_INTRODUCTION: Final = """# Benchmarks

Made by `make bench` out of `benchmarks/results/`; nothing on this page is written by hand.
"""

_HOW: Final = """## Rate and distortion: how

All methods code the same unseen views and are compared with them frame by frame (mean PSNR over RGB, mean SSIM of the
luma); bytes are over all frames, held ones included.

- **twin**: int8 models as deployed, codec 1 with the default `--batch-ms`, a key every 10 s; all `--quality` levels.
  Its models come from other views of the same subject and are sent once, beforehand; so do the components below.
- **registered-pca**: pose and principal components of the training views, no network, with the twin's own codec.
  **registered-pca-delta**: the same with differences coded one by one, static tables, and no packets to pay for.
- **hold-last**: a JPEG of the view whenever the one that is shown has fallen below a PSNR, else nothing.
- **jpeg**: a JPEG of every view. **x264, x265, vp9, av1**: slowest sensible presets, any latency, one intra frame for
  each sequence, constant rate factor swept; also every 2nd, 4th, 8th and 12th frame only (held), and at half the size.
- Between the points of a method its curve is taken to be straight over the logarithm of the bytes.
- Of every method but the twin only those points are shown that no other one of it beats.
- **On the wire**: MQTT publish and TCP/IPv4 for states (24 bytes of packet header included) and JPEG, RTP/UDP/IPv4 for
  video; without acknowledgements, TLS and Ethernet.
"""


def page(
    points: Sequence[Point],
    notes: Mapping[str, Any] | None,
    speeds: Sequence[Mapping[str, Any]] | None,
    speed_notes: Mapping[str, Any] | None,
    models: Sequence[Mapping[str, Any]],
    ablation: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Returns the page.

    Args:
        points: Content of `rate_distortion.json`, maybe empty.
        notes: Content of `rate_distortion_notes.json`, None when there is none.
        speeds: Content of `speed.json`, likewise.
        speed_notes: Content of `speed_notes.json`, likewise.
        models: Content of `models.json`, maybe empty.
        ablation: Content of `ablation.json`, likewise.
    """
    parts = [_INTRODUCTION]
    if points and notes:
        parts.append(_HOW)
        parts += [_clip_part(clip, points, notes) for clip in dict.fromkeys(point.clip for point in points)]
    if speeds and speed_notes:
        parts.append(_speed_part(speeds, speed_notes))
    if models:
        parts.append(_model_part(models))
    if ablation:
        parts.append(_ablation_part(ablation))
    return "\n".join(parts)


def _clip_part(clip: str, points: Sequence[Point], notes: Mapping[str, Any]) -> str:
    about = notes["clips"][clip]
    fps = about["fps"]
    rows = []
    mine = []
    for point, setting in zip(points, notes["settings"], strict=True):
        if point.clip == clip:
            mine.append(point)
            rows.append(
                (
                    point.method,
                    setting,
                    f"{point.bytes_per_frame:.2f}",
                    f"{point.bytes_per_frame * fps * 8 / 1000:.3f}",
                    f"{point.wire_bytes_per_frame:.1f}",
                    f"{point.psnr_db:.2f}",
                    f"{point.ssim:.3f}",
                )
            )
    rows.sort(key=lambda row: (METHODS.index(row[0]), float(row[2])))
    batches = [
        (
            f"{entry['quality']}",
            f"{entry['batch_ms']}",
            f"{entry['states_in_packet']}",
            "one" if entry["key_every_s"] is None else f"every {entry['key_every_s']:g} s",
            f"{entry['bytes_per_frame']:.2f}",
            f"{entry['wire_bytes_per_frame']:.1f}",
            f"{entry['psnr_db']:.2f}",
            f"{entry['ssim']:.3f}",
            _cheapest(mine, entry["psnr_db"], entry["bytes_per_frame"]),
        )
        for entry in about["batches"]
    ]
    lines = [
        f"## Rate and distortion: {clip}",
        "",
        f"{about['frames']} unseen views in {about['sequences']} sequence(s), {fps:g} a second.",
        f"States to a packet: {about['states_in_packet']}.",
        "",
        f"![rate and distortion of {clip}](rate_distortion_{clip}.png)",
        "",
        *_findings(mine, fps),
        "",
        "What gathering states for longer is worth. Conventional video may look as far ahead as it likes everywhere,",
        "and has one intra frame; keys every 10 s are for subscribers that come late:",
        "",
        table(
            (
                "`--quality`",
                "`--batch-ms`",
                "states to a packet",
                "keys",
                "payload bytes/frame",
                "wire bytes/frame",
                "PSNR dB",
                "SSIM",
                "cheapest conventional at equal PSNR",
            ),
            batches,
        ),
        "",
        "<details><summary>All points</summary>",
        "",
        table(("method", "setting", "bytes/frame", "kbit/s", "wire bytes/frame", "PSNR dB", "SSIM"), rows),
        "",
        "</details>",
        "",
    ]
    return "\n".join(lines)


def _findings(points: Sequence[Point], fps: float) -> list[str]:
    """Returns the comparisons that matter, as a table: at equal bytes, at a tiny rate, at equal PSNR."""
    by = {method: [point for point in points if point.method == method] for method in METHODS}
    conventional = [point for method in CONVENTIONAL for point in by[method]]
    rows = [
        (
            f"{twin.bytes_per_frame:.2f} B, {twin.psnr_db:.2f} dB, {twin.ssim:.3f}",
            _lead(twin, by["registered-pca-delta"]),
            _lead(twin, by["registered-pca"]),
            _cheapest(points, twin.psnr_db, twin.bytes_per_frame),
        )
        for twin in sorted(by["twin"], key=lambda point: point.bytes_per_frame)
    ]
    header = (
        "twin", "over registered PCA at equal bytes, differences coded", "over the same with the twin's codec",
        "cheapest conventional at equal PSNR",
    )  # fmt: skip
    lines = [table(header, rows), ""]
    most = _TINY_KBPS * 1000 / 8 / fps
    twin_best, other = best_within(by["twin"], most), best_within(conventional, most)
    here = f"At {_TINY_KBPS:g} kbit/s of payload at most ({most:.1f} bytes a frame)"
    if twin_best and other:
        lines.append(
            f"{here}: twin {twin_best.psnr_db:.2f} dB, best conventional setting ({other.method}) "
            f"{other.psnr_db:.2f} dB, {twin_best.psnr_db - other.psnr_db:+.2f} dB."
        )
    elif twin_best:
        lines.append(f"{here}: twin {twin_best.psnr_db:.2f} dB; no conventional setting that was tried is so small.")
    return lines


def _lead(twin: Point, others: Sequence[Point]) -> str:
    """Returns how much better a point is than another method at equal bytes."""
    other = at_bytes(others, twin.bytes_per_frame)
    return f"{twin.psnr_db - other[0]:+.2f} dB, {twin.ssim - other[1]:+.3f}" if other else "none is so small"


def _cheapest(points: Sequence[Point], psnr_db: float, payload: float) -> str:
    """Returns which conventional method has a PSNR for the fewest bytes, and how many times a payload that is."""
    needed = {
        method: bytes_reaching([point for point in points if point.method == method], psnr_db)
        for method in CONVENTIONAL
    }
    sizes = [(size, method) for method, size in needed.items() if size]
    return f"{min(sizes)[1]}: {min(sizes)[0] / payload:.1f}x the bytes" if sizes else "none"


def _speed_part(speeds: Sequence[Mapping[str, Any]], notes: Mapping[str, Any]) -> str:
    rows = [
        (
            row["what"],
            row["runtime"],
            str(row["threads"]),
            f"{row['ms_p50']:.2f}",
            f"{row['ms_p95']:.2f}",
            "" if row["ratio_to_jpeg"] is None else f"{row['ratio_to_jpeg']:.2f}",
        )
        for row in speeds
    ]
    costs = [
        (
            cost["runtime"],
            "all" if cost["gap_every"] == 1 else f"every {cost['gap_every']}",
            f"{cost['cpu_ms']:.2f}",
            f"{cost['jpeg_cpu_ms']:.2f}",
            f"{cost['ratio_to_jpeg']:.2f}",
        )
        for cost in notes["costs"]
    ]
    macs = [(what, f"{mmac:.1f}") for what, mmac in notes["mmac"].items()]
    lines = [
        "## Speed",
        "",
        f"`{notes['name']}`, {notes['machine']}, {notes['rounds']} rounds, wall clock, everything in turns with a JPEG",
        "(OpenCV, quality 80, one thread) of the same 640x480 frame. `whole frame` renders every frame; capture and",
        "network are excluded. `code` makes a packet of every seventh state: its p95 is what a packet takes.",
        "",
        table(("what", "runtime", "threads", "p50 ms", "p95 ms", "x JPEG"), rows),
        "",
        "Rows marked *estimate* are none of this machine: multiply-accumulates of the two networks over what a core of",
        "that board does by published times of other networks; their second figure is the slow end, not a percentile.",
        "",
        "CPU time of a whole frame as a device runs it: view, state, packet, its way into a socket, and rendering and",
        "gap of so many frames; one thread.",
        "",
        table(("runtime", "rendered", "CPU ms", "JPEG CPU ms", "x JPEG"), costs),
        "",
        "Million multiply-accumulates:",
        "",
        table(("network", "MMAC"), macs),
        "",
    ]
    return "\n".join(lines)


def _model_part(models: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            model["name"],
            f"{model['float']['psnr_db']:.2f} / {model['float']['ssim']:.3f}",
            f"{model['int8']['psnr_db']:.2f} / {model['int8']['ssim']:.3f}",
            f"{max(0.0, model['float']['psnr_db'] - model['int8']['psnr_db']):.2f}",
            f"{model['bundle_bytes'] / 1000:.0f}",
            f"{model['mmac']['encoder'] + model['mmac']['generator']:.1f}",
            f"{model['recording_s']}",
            f"{model['training_s']}",
        )
        for model in models
    ]
    header = (
        "run", "float dB / SSIM", "int8 dB / SSIM", "int8 loses dB", "bundle kB", "MMAC", "recording s", "training s",
    )  # fmt: skip
    lines = [
        "## Float and int8, size, training time",
        "",
        "On unseen views, before the codec; int8 is the worse of the runtimes. Training time is that of the machine",
        "that trained the run.",
        "",
        table(header, rows),
        "",
    ]
    return "\n".join(lines)


def _ablation_part(ablation: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "variant", "dB", "SSIM", "sharpness", "Frechet", "of the prior", "B a state", "dB as sent", "training s",
    )  # fmt: skip
    lines = [
        "## What each part is worth",
        "",
        "The recipe in fewer steps, and the same without or with one part; float models on unseen views. Sharpness is",
        "the gradient energy of the renderings over that of the views; the Frechet distances are those of renderings",
        "of the views, and of bare samples of the prior, to the views, on features of a network trained on training",
        "views. Bytes and quality as sent are those of codec 1 at the default quality, three states to a packet.",
        "",
    ]
    for clip in dict.fromkeys(entry["clip"] for entry in ablation):
        entries = [entry for entry in ablation if entry["clip"] == clip]
        rows = [
            (
                entry["name"],
                f"{entry['psnr_db']:.2f}",
                f"{entry['ssim']:.4f}",
                f"{entry['sharpness']:.3f}",
                f"{entry['frechet']:.2f}",
                f"{entry['prior_frechet']:.2f}",
                f"{entry['coded_bytes']:.2f}",
                f"{entry['coded_psnr_db']:.2f}",
                f"{entry['seconds']:.0f}",
            )
            for entry in entries
        ]
        lines += [f"`{clip}`, {entries[0]['steps']} steps:", "", table(header, rows), ""]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; cells must hold neither pipes nor line feeds."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
