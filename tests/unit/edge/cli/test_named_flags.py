"""An error names a flag only where the command at hand has it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from twin_converters.cli import app as convert
from twin_edge.cli.app import app as edge
from twin_training.cli import app as train
from twin_training.look_cli import app as look

ROOT = Path(__file__).parents[4]
BROKER = ("run", "watch", "record", "unpair", "doctor")

SAID_BY = {
    "edge/twin_edge/config.py": ("run", "doctor"),
    "edge/twin_edge/doctor/broker.py": ("doctor",),
    "edge/twin_edge/doctor/machine.py": ("doctor",),
    "edge/twin_edge/doctor/network.py": ("doctor",),
    "edge/twin_edge/filming/config.py": ("capture",),
    "edge/twin_edge/filming/recorder.py": ("capture",),
    "edge/twin_edge/provisioning/authority.py": ("provision",),
    "edge/twin_edge/provisioning/plan.py": ("provision",),
    "edge/twin_edge/provisioning/provision.py": ("provision",),
    "edge/twin_edge/recording/pictures.py": ("replay",),
    "edge/twin_edge/recording/reader.py": ("replay",),
    "edge/twin_edge/recording/recorder.py": ("record",),
    "edge/twin_edge/recording/tables.py": ("replay",),
    "edge/twin_edge/replaying.py": ("replay",),
    "edge/twin_edge/sync/device/counters.py": ("run",),
    "edge/twin_edge/sync/engine/spool.py": ("run",),
    "edge/twin_edge/sync/mqtt/credentials.py": BROKER,
    "edge/twin_edge/sync/mqtt/endings.py": BROKER,
    "edge/twin_edge/sync/mqtt/tls.py": BROKER,
    "edge/twin_edge/sync/mqtt/transport.py": BROKER,
    "edge/twin_edge/watching.py": ("watch",),
    "training/twin_training/auto.py": ("twin-train",),
    "training/twin_training/cli.py": ("twin-train",),
    "training/twin_training/diagnosis.py": ("twin-train",),
    "training/twin_training/loop.py": ("twin-train",),
    "training/twin_training/recipe.py": ("twin-train", "twin-train look"),
    "training/twin_training/run_guard.py": ("twin-train",),
    "converters/twin_converters/bundle_guard.py": ("twin-convert",),
    "converters/twin_converters/layers.py": ("twin-convert",),
    "converters/twin_converters/run.py": ("twin-convert",),
}
"""Whose screen the messages of a module come to: who writes one that names a flag thinks of all of these."""

NO_MESSAGES = {
    "edge/twin_edge/cli/common.py",  # every command has --debug; the test below sees to it
    "converters/twin_converters/measure.py",  # a process of its own
    "edge/twin_edge/provisioning/guide.py",  # whole commands, which its own tests run
    "edge/twin_edge/preprocess/region.py",  # what `twin-train look` says of a region, to be typed
    "edge/twin_edge/runtime/brokers.py",  # a whole command
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
COMMAND = re.compile(r"\btwin-(?:edge [a-z]+|train look|train|convert)\b")


def options(app: typer.Typer) -> set[str]:
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """Returns the flags of each command."""
    group = typer.main.get_command(edge)
    found = {
        name: {each for parameter in one.params for each in (*parameter.opts, *parameter.secondary_opts)}
        for name, one in group.commands.items()
    }
    return found | {"twin-train": options(train), "twin-train look": options(look), "twin-convert": options(convert)}


def texts(path: Path) -> Iterator[str]:
    """Goes through what a module may say: its texts, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | parts):
            yield node.value


def named(text: str) -> Iterator[tuple[str, str]]:
    """Goes through the flags in a text, each with the command that stands before it; with "" where none does."""
    for match in FLAG.finditer(text):
        before = text[: match.start()]
        quoted = before.rpartition("'")[2] if before.count("'") % 2 else None
        if quoted is not None and not COMMAND.search(quoted):
            continue  # another program's
        clause = re.split(r"[;,]|\bor\b", before)[-1]
        commands = COMMAND.findall(clause)
        yield (commands[-1].removeprefix("twin-edge ") if commands else ""), match[0]


def modules() -> list[str]:
    folders = ("edge/twin_edge", "training/twin_training", "converters/twin_converters")
    return [str(path.relative_to(ROOT)) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_flag_that_a_message_names_is_one_of_its_command(flags: dict[str, set[str]]) -> None:
    for module in modules():
        wiring = module.startswith("edge/twin_edge/cli/") or module.endswith(("/cli.py", "_cli.py"))
        if module in NO_MESSAGES or (wiring and module not in SAID_BY):
            continue
        for text in texts(ROOT / module):
            for command, flag in named(text):
                owners = (command,) if command else SAID_BY.get(module)
                assert owners, f"{module} names {flag}: say in SAID_BY which commands show {text!r}"
                for owner in owners:
                    assert flag in flags[owner], f"{module}: {owner} has no {flag}, which {text!r} names"


def test_the_list_above_is_no_longer_than_it_has_to_be() -> None:
    for module in SAID_BY:
        assert any(FLAG.search(text) for text in texts(ROOT / module)), module


def test_every_command_has_debug(flags: dict[str, set[str]]) -> None:
    assert [name for name, known in flags.items() if "--debug" not in known] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("give it with --broker", [("", "--broker")]),
        ("train first: twin-train SUBJECT --name NAME", [("twin-train", "--name")]),
        ("make one with 'twin-edge provision --broker-host'", [("provision", "--broker-host")]),
        ("run twin-train again, or give --out", [("", "--out")]),
        ("try 'rpicam-hello --list'", []),
    ],
)
def test_flags_are_found(text: str, found: list[tuple[str, str]]) -> None:
    assert list(named(text)) == found
