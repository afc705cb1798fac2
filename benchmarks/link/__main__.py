"""Tries the link's faults, and measures what the link costs; to be run in the folder benchmarks.

python -m link faults                   all 32 cases with every client; writes faults.json and docs/faults.md
python -m link case 7 --client paho     one case with one client, here
python -m link cost                     what the link costs at 30 states/s; writes link.json
python -m link shows                    kills, a long outage, a soak; writes link.json
python -m link page                     writes docs/faults.md from the results
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from link.cases import CASES
from link.clients import CLIENTS
from link.page import write_page
from link.running import Outcome, as_json, run_all, run_here
from twin_edge.files import write_atomic

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def main() -> int:
    """Does what it is told; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m link", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--bundle", type=Path, default=Path("bundles/rig.twin"), help="a bundle (bundles/rig.twin)")
    common.add_argument("--full", action="store_true", help="the long forms: hours")
    faults = commands.add_parser("faults", parents=[common], help="all cases with every client")
    faults.add_argument("--cases", type=int, nargs="+", default=sorted(CASES), choices=sorted(CASES), metavar="N")
    faults.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=list(CLIENTS))
    faults.add_argument("--jobs", type=int, default=6, help="cases at a time (6): they mostly wait")
    one = commands.add_parser("case", parents=[common], help="one case with one client, here")
    one.add_argument("number", type=int, choices=sorted(CASES))
    one.add_argument("--client", default="twin-edge", choices=list(CLIENTS))
    commands.add_parser("cost", parents=[common], help="what the link costs")
    shows = commands.add_parser("shows", parents=[common], help="kills, a long outage, a soak")
    shows.add_argument("--minutes", type=float, default=3.0, help="of the soak (3)")
    shows.add_argument("--only", nargs="+", choices=["kills", "broker-kills", "outage", "soak"])
    commands.add_parser("page", help="writes docs/faults.md from the results")
    options = parser.parse_args()
    if options.command == "case":
        outcome = run_here(options.number, options.client, options.bundle, full=options.full)
        print(json.dumps(asdict(outcome)))
        return 0
    if options.command == "faults":
        _faults(options)
    elif options.command == "cost":
        from link.cost import measure_cost

        measure_cost(options.bundle, RESULTS / "link.json")
    elif options.command == "shows":
        from link.shows import run_shows

        run_shows(options.bundle, RESULTS / "link.json", full=options.full, minutes=options.minutes, only=options.only)
    write_page(RESULTS, PAGE)
    return 0


def _faults(options: argparse.Namespace) -> None:
    def tell(client: str, outcome: Outcome) -> None:
        print(
            f"{outcome.case:2} {client:9} {outcome.result:12} {outcome.seconds:5.1f} s  {outcome.evidence}",
            file=sys.stderr,
        )

    path = RESULTS / "faults.json"
    outcomes = run_all(options.cases, options.clients, options.bundle, full=options.full, jobs=options.jobs, told=tell)
    # What was not run this time keeps its result.
    known = json.loads(path.read_bytes()) if path.exists() else {}
    for client, old in known.items():
        new = outcomes.setdefault(client, [])
        ran = {outcome.case for outcome in new}
        outcomes[client] = sorted([*new, *(Outcome(**o) for o in old if o["case"] not in ran)], key=lambda o: o.case)
    write_atomic(path, as_json(outcomes))


if __name__ == "__main__":
    sys.exit(main())
