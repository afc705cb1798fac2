"""Tables for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from twin_edge.benchmark import EXCLUDED, STAGES, Benchmark
from twin_edge.frame_cost import JPEG_QUALITY
from twin_edge.inspection import Inspection
from twin_edge.preprocess.region import describe

_KIB = 1024
_WIDE = 110


def print_inspection(inspection: Inspection) -> None:
    """Prints what is in a bundle."""
    bundle = inspection.bundle
    manifest = bundle.manifest
    view, state, quality, origin = manifest.view, manifest.state, manifest.quality, manifest.origin
    pose = f"{len(state.pose)} pose ({', '.join(state.pose)}) + " if state.pose else ""
    light = f"{state.light} light + " if state.light else ""
    facts = {
        "name": manifest.name,
        "digest": bundle.digest,
        "file": f"{inspection.path}, {len(bundle.data) / _KIB:.1f} KiB",
        "made from": f"recipe {origin.recipe} ({origin.recipe_digest[:12]}), data {origin.data_digest[:12]}",
        "made by": origin.software,
        "view": f"{view.width}x{view.height} {view.colour}, {view.resize_mode}, denoise {view.denoise}",
        "region": describe(view.region),
        "state": f"{state.length} bytes: {pose}{light}{state.latent} latent, int8, step {state.scale:.6g}",
        "parts": f"{manifest.parts.count}, seen at {manifest.parts.side}x{manifest.parts.side}"
        if manifest.parts
        else "none",
        "quality, float": f"PSNR {quality.float_psnr_db:.2f} dB, SSIM {quality.float_ssim:.4f}",
        "quality, int8": f"PSNR {quality.int8_psnr_db:.2f} dB, SSIM {quality.int8_ssim:.4f}",
        "quality, default": (
            f"PSNR {quality.default_psnr_db:.2f} dB, SSIM {quality.default_ssim:.4f} at {quality.default_bytes:.1f} B "
            f"a frame, {quality.default_fps:.3g} frames a second, as a subscriber sees it"
            if quality.default_psnr_db
            else "not measured"
        ),
        "baseline": f"the twin is {quality.against_baseline.text}" if quality.baseline else "not measured",
        "measured on": f"{quality.frames} frames that training has not seen",
    }
    facts |= {
        f"in {name}": ", ".join(str(operator) for operator in operators)
        for name, operators in manifest.operators.items()
    }
    facts["minimum runtime"] = f"TFLite {manifest.minimum_runtime}"
    about = Table.grid(padding=(0, 2))
    about.add_column(style="bold")
    about.add_column(overflow="fold")
    for key, value in facts.items():
        about.add_row(key, value)
    members = Table("member", "bytes", "sha256", box=None, pad_edge=False)
    members.columns[1].justify = "right"
    for name, entry in sorted(manifest.files.items()):
        members.add_row(name, f"{entry.size}", entry.sha256[:16])
    runtimes = Table("drawn by", "", "self-test", "states off by", "pixels off by", box=None, pad_edge=False)
    drawing = inspection.drawing
    steps = "on devices only" if drawing.state_steps is None else f"{drawing.state_steps} steps"
    off = (steps, f"{drawing.pixel_levels}/255") if drawing.pixel_levels is not None else ()
    exact = "to the bit" if drawing.certain else ""
    runtimes.add_row("without a runtime", exact, "passed" if drawing.passed else drawing.problem, *off)
    for check in inspection.runtimes:
        off = (f"{check.state_steps} steps", f"{check.pixel_levels}/255") if check.state_steps is not None else ("", "")
        runtimes.add_row(
            check.name, "chosen" if check.chosen else "", "passed" if check.passed else check.problem, *off
        )
    console = Console(highlight=False)
    for table in (about, members, runtimes):
        console.print(table)
        console.print()


def print_benchmark(benchmark: Benchmark) -> None:
    """Prints what was measured."""
    table = Table("p50/p95 ms, wall clock", "threads", *STAGES, box=None, pad_edge=False)
    for times in benchmark.twins:
        cells = [f"{times.stages[name].p50_ms:.2f}/{times.stages[name].p95_ms:.2f}" for name in STAGES]
        table.add_row(times.runtime, str(times.threads), *cells)
    jpeg = f"{benchmark.jpeg.p50_ms:.2f}/{benchmark.jpeg.p95_ms:.2f}"
    table.add_row(f"JPEG, quality {JPEG_QUALITY}", "1", *[""] * (len(STAGES) - 1), jpeg)
    costs = Table(
        "CPU ms a frame, 1 thread",
        "rendered",
        "packets",
        "twin",
        "network",
        "whole",
        "JPEG",
        "x JPEG",
        box=None,
        pad_edge=False,
    )
    for cost in benchmark.costs:
        share = "all" if cost.gap_every == 1 else f"1 in {cost.gap_every}"
        figures = (cost.twin_ms, cost.link_ms, cost.whole_ms, cost.jpeg_ms)
        costs.add_row(
            cost.runtime, share, f"{cost.packets:.2f}", *(f"{ms:.3f}" for ms in figures), f"{cost.ratio_to_jpeg:.2f}"
        )
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, _WIDE)
    console.print(table)
    console.print()
    console.print(costs)
    console.print(
        f"\nrendered: the device needs a rendering for the gap only, `run --gap-every` says how often; every state is "
        f"published\na packet has {benchmark.packet_bytes} bytes, a JPEG {benchmark.jpeg_bytes}, "
        f"{benchmark.size_ratio:.0f} times as many"
        f"\n{benchmark.rounds} frames of {benchmark.frame} each, showing {benchmark.shown}; {EXCLUDED}"
    )
