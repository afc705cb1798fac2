"""Trains, converts and measures every recording of the collection with default settings; to be run in benchmarks/.

python -m collection                            all recordings: minutes each; writes benchmarks/results/collection.json
python -m collection cap12_edit rig-film-moved  some of them; rows of the others stay in the file
python -m collection --only-measure rig         with the bundle that is there
python -m collection --only-record              fetches and renders the recordings, no more
python -m collection --recording FILE --json    a recording of one's own; its row is printed, and kept in --out if given
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from collection.measure import Measurement, measure
from collection.recordings import COLLECTION, Recording, make, of_file
from collection.rows import REFUSED, Row, put, read_rows, table_of, write_rows
from collection.training import Folders, RefusedError, make_bundle
from twin_edge.errors import ConfigError, TwinEdgeError
from twin_edge.files import write_atomic

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "benchmarks" / "results" / "collection.json"
WIDTH: Final = 200


def main() -> int:
    """Does what it is told; returns the exit code."""
    options = _options()
    console = Console(stderr=True)
    try:
        recordings = _chosen(options.names, options.recording)
        out = options.out or (None if options.recording else RESULTS)
        kept = _kept(out)
        folders = Folders(*(path.resolve() for path in (options.clips, options.runs, options.bundles)))
    except TwinEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    rows: list[Row] = []
    failed = 0
    for recording in recordings:
        try:
            with console.status(f"{recording.name}: recording"):
                make(recording, folders.clips)
            if options.only_record:
                console.print(f"{recording.subject(folders.clips)} is there")
                continue
            refused = {row.recording for row in [*kept, *rows] if row.kind == REFUSED}
            if recording.second_recording_of in refused:
                done = Measurement(_without_bundle(recording), {})
            else:
                done = _measured(recording, folders, console, train=not options.only_measure)
        except TwinEdgeError as error:
            # One that cannot be had or made keeps nobody from the others.
            print(f"error: {recording.name}: {error}", file=sys.stderr)
            failed = error.exit_code
            continue
        rows.append(done.row)
        if out is not None:
            kept = put(kept, done.row)
            write_rows(out, kept)
            _keep_notes(out.with_name(f"{out.stem}_notes.json"), recording.name, done.notes)
    _show(rows, options)
    return failed


def _options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m collection", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [recording.name for recording in COLLECTION]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all when none is given: {', '.join(names)}")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="a recording of your own, instead of names")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, not as a table")
    parser.add_argument("--clips", type=Path, default=ROOT / "clips" / "collection", help="folder of the recordings")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "collection", help="folder of the run folders")
    parser.add_argument("--bundles", type=Path, default=ROOT / "bundles" / "collection", help="folder of the bundles")
    parser.add_argument("--out", type=Path, help="where the rows go (benchmarks/results/collection.json)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--only-record", action="store_true", help="fetch and render the recordings, no more")
    only.add_argument("--only-measure", action="store_true", help="with the bundles that are there")
    return parser.parse_args()


def _show(rows: list[Row], options: argparse.Namespace) -> None:
    """Prints the rows that were made, as they were asked for."""
    if options.json:
        trees = [row.to_json() for row in rows]
        if rows or options.recording is None:
            print(json.dumps(trees if options.recording is None else trees[0]))
    elif rows:
        screen = Console()
        (screen if screen.is_terminal else Console(width=WIDTH)).print(table_of(rows))


def _chosen(names: list[str], recording: Path | None) -> list[Recording]:
    """Returns the recordings that were asked for, first ones before their second ones.

    Raises:
        ConfigError: There is no such recording.
    """
    if recording is not None:
        if names:
            raise ConfigError("names and --recording were given", fix="give one of them")
        return [of_file(recording)]
    known = {one.name: one for one in COLLECTION}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no recording {name!r:.40}", fix=f"give some of {', '.join(known)}")
    return [one for one in COLLECTION if not names or one.name in names]


def _kept(out: Path | None) -> list[Row]:
    """Returns the rows that are in the file already.

    Raises:
        ConfigError: The file holds something else.
    """
    try:
        return [] if out is None else read_rows(out)
    except ValueError as error:
        raise ConfigError(f"{out} is not a table of the collection ({error})", fix="move it away") from error


def _measured(recording: Recording, folders: Folders, console: Console, *, train: bool) -> Measurement:
    """Makes what has no bundle yet, and measures.

    Raises:
        TwinEdgeError: It cannot be measured.
    """
    if train and recording.second_recording_of is None:
        with console.status(f"{recording.name}: training and converting"):
            try:
                cost = make_bundle(recording, folders)
            except RefusedError as refused:
                console.print(f"{recording.name} refused: {refused.message}", highlight=False, soft_wrap=True)
                return Measurement(Row(recording.name, reason=refused.message), {"refused_after_s": refused.after_s})
        console.print(f"{recording.name}: trained in {cost.training_s:.0f} s, {cost.training_mb:.0f} MB")
    with console.status(recording.name) as status:
        return measure(recording, folders, lambda stage: status.update(f"{recording.name}: {stage}"))


def _without_bundle(second: Recording) -> Row:
    """Returns the row of a second recording whose first was refused."""
    first = second.second_recording_of
    return Row(second.name, first, reason=f"there is no bundle of {first}: it was refused")


def _keep_notes(path: Path, name: str, notes: dict[str, Any]) -> None:
    """Puts what else was measured of a recording in place of the older."""
    known: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    known[name] = notes
    write_atomic(path, (json.dumps(known, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
