"""docs/faults.md, made of the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from link.cases import CASES
from twin_edge.files import write_atomic

_SIGNS: Final = {"pass": "pass", "fail": "**fail**", "not-runnable": "n/a"}
_HEAD: Final = """# What goes wrong, and what holds then

The 32 cases in which a twin's link goes wrong, each tried against a real mosquitto on the loopback, with twin-edge's
link and, side by side, with a bare paho-mqtt 2.2 and aiomqtt 2.5. `make bench-link` runs all of it and writes this
page; `python -m link case 7 --client paho` runs one. A quarter runs with the tests.

How it is done: a TCP proxy between device and broker stalls, cuts, drops, slows and delays; the broker is frozen and
killed by signals, restarted with and without persistence, limited and given ACLs by its configuration; devices are
killed by `kill -9`. An observer with a straight connection to the broker counts what comes. Where a broker must do what
mosquitto cannot be told to do (cases 31 and 32), a small scripted one stands in.

The bare clients are used as their documentation shows it, and with some care: all callbacks that can tell of a failure
are set, what a broker may have lost is said again on each connect, the will is retained, and with aiomqtt an event
leaves the queue only after `publish` has returned. Everything else is at its default. `n/a`: the case cannot be run
with this client or here; the reason stands below. A case passes when all of its checks hold; a bare client may fail one
for want of something that it never promised, and the evidence says which.

"""
_COST: Final = """## What the link costs at 30 states a second

States of the rig, coded beforehand. The processor's time is that of the link's own threads and of the calls into it;
bytes are those of MQTT, TCP and IP on the loopback, the acknowledgements of TCP included. The last lines are a bare
client that sends the same packets.

| setting | CPU, % of a core | kbit/s up | kbit/s down | packets/s up | kbit/s up, a report a second | bytes written |
|---|---|---|---|---|---|---|
"""


def write_page(results: Path, page: Path) -> None:
    """Writes the page.

    Args:
        results: Folder with `faults.json` and `link.json`; what is not there is left out.
        page: The file.
    """
    faults = _read(results / "faults.json")
    link = _read(results / "link.json")
    parts = [_HEAD, _table(faults), _evidence(faults)]
    if link:
        parts += [_cost(link.get("cost", [])), _shows(link.get("shows", {}))]
    write_atomic(page, ("".join(part for part in parts if part).rstrip() + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return value


def _table(faults: dict[str, Any]) -> str:
    clients = list(faults)
    results = {client: {one["case"]: one["result"] for one in faults[client]} for client in clients}
    lines = [f"| # | case | expected | {' | '.join(clients)} |", f"|---|---|---|{'---|' * len(clients)}"]
    for number, case in sorted(CASES.items()):
        cells = [_SIGNS.get(results[client].get(number, ""), "") for client in clients]
        lines.append(f"| {number} | {case.name} | {case.expect} | {' | '.join(cells)} |")
    counts = [list(results[client].values()) for client in clients]
    sums = [f"{one.count('pass')} pass, {one.count('fail')} fail, {one.count('not-runnable')} n/a" for one in counts]
    lines.append(f"| | | | {' | '.join(sums)} |")
    return "\n".join(lines) + "\n\n"


def _evidence(faults: dict[str, Any]) -> str:
    lines = ["## Evidence\n\nChecks that failed begin with NOT.\n"]
    for number, case in sorted(CASES.items()):
        lines.append(f"\n### {number}. {case.name}\n\n{' '.join((case.run.__doc__ or '').split())}\n\n")
        for client, outcomes in faults.items():
            lines += [
                f"- {client}, {one['result']}: {_plain(one['evidence'])}\n" for one in outcomes if one["case"] == number
            ]
    return "".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _cost(cost: list[dict[str, Any]]) -> str:
    if not cost:
        return ""
    columns = ("setting", "cpu_percent", "kbit_s_up", "kbit_s_down", "packets_s_up", "kbit_s_up_with_a_report_a_second")
    lines = [_COST, *(f"| {' | '.join(str(one[name]) for name in (*columns, 'written_bytes'))} |\n" for one in cost)]
    return "".join(lines) + "\n"


def _shows(shows: dict[str, Any]) -> str:
    lines = ["## Kills, a long outage, a soak\n\n| what | measured | |\n|---|---|---|\n"]
    lines += [f"| {one['name']} | {_plain(one['evidence'])} | {one['result']} |\n" for one in shows.values()]
    return "".join(lines) if shows else ""
