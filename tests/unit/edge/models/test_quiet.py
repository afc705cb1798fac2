"""The runtimes' information lines stay off the terminal; their errors do not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from twin_edge.errors import IncompatibleRuntimeError
from twin_edge.models.engine import Model
from twin_edge.models.quiet import chatter_hidden
from twin_edge.models.runtimes import installed_runtimes, load_runtime


def test_only_information_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with chatter_hidden():
        os.write(2, b"INFO: made a delegate\nWARNING: slow\nINFO: more\nERROR: node 3 failed\nunfinished")
    os.write(2, b" and after\n")
    assert capfd.readouterr().err == "WARNING: slow\nERROR: node 3 failed\nunfinished and after\n"


def test_what_an_error_was_preceded_by_comes_through(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with chatter_hidden():
            os.write(2, b"INFO: x\nERROR: why\n")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "ERROR: why\nafter\n"


def test_debug_logs_show_all(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), chatter_hidden():
        os.write(2, b"INFO: made a delegate\n")
    assert capfd.readouterr().err == "INFO: made a delegate\n"


def test_threads_wait_for_each_other_and_leave_no_descriptor_open(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _ in range(50):
            with chatter_hidden():
                os.write(2, b"INFO: x\nkept\n")

    before = len(list(Path("/proc/self/fd").iterdir()))
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err == 400 * "kept\n"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_a_standard_error(environment: dict[str, str]) -> None:
    code = (
        "import os\n"
        "from twin_edge.models.quiet import chatter_hidden\n"
        "os.close(2)\n"
        "with chatter_hidden():\n    print('worked')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "worked\n"


@pytest.mark.parametrize("name", installed_runtimes())
def test_a_model_that_is_none_is_still_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(IncompatibleRuntimeError, match="cannot load the model"):
        Model(b"no model", load_runtime(name))
    os.write(2, b"after\n")
    assert capfd.readouterr().err.endswith("after\n")


@pytest.mark.parametrize("debug", [False, True])
def test_the_commands_are_quiet(bundle_path: Path, environment: dict[str, str], *, debug: bool) -> None:
    if "litert" not in installed_runtimes():
        pytest.skip("LiteRT is not installed")
    for arguments in (["inspect", str(bundle_path), "--runtimes"], ["bench", str(bundle_path), "--rounds", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "twin_edge", *arguments, *(["--debug"] * debug)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert ("XNNPACK delegate" in done.stderr) == debug, done.stderr
        assert debug or "INFO:" not in done.stderr
