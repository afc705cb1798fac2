"""Cases of the fault harness with the real link and a real mosquitto: the fast ones that no other test tries.

`make bench-link` runs all 32, and the bare clients beside them; see docs/faults.md.
"""

import json

import pytest

from link.bench import Bench
from link.cases import CASES
from link.clients import CLIENTS
from link.proxy import Proxy
from link.running import Outcome, as_json, run_here
from link.verdict import FAIL, PASS, Verdict
from twin_edge.sync import TwinId
from twin_edge.sync.wire.messages import parse_avail

pytestmark = [pytest.mark.broker, pytest.mark.slow]

TWIN = TwinId("org.acme", "cam-01")
FAST = (5, 12, 13, 19, 20, 24, 27, 31)


@pytest.mark.usefixtures("mosquitto_factory")  # says what to do where there is no mosquitto
@pytest.mark.parametrize("number", FAST, ids=lambda number: f"{number}: {CASES[number].name}")
def test_case_holds(number, bundle_path):
    outcome = run_here(number, "twin-edge", bundle_path)
    assert outcome.result == PASS, outcome.evidence


def test_there_are_32_cases():
    assert sorted(CASES) == list(range(1, 33))
    for case in CASES.values():
        assert case.run.__doc__
        assert case.expect


@pytest.mark.usefixtures("mosquitto_factory")
def test_a_bare_client_is_found_out(bundle_path):
    """The harness must be able to say no: a bare client carries out a stale command (measured)."""
    outcome = run_here(19, "paho", bundle_path)
    assert outcome.result == FAIL
    assert "NOT: stale command applied" in outcome.evidence


def test_a_short_break_is_not_told(mosquitto, twin_bundle, raw_client, device_class, until):
    raw_client.subscribe(TWIN.topics.avail, 1)
    with Proxy(mosquitto.port) as proxy, device_class(f"mqtt://127.0.0.1:{proxy.port}", twin_bundle) as device:
        assert until(lambda: device.link.stats().ready)
        proxy.cut()
        assert until(lambda: device.link.stats().reconnects == 1)
        assert until(lambda: len(raw_client.all(TWIN.topics.avail)) == 2)
        assert all(parse_avail(TWIN, payload).online for payload in raw_client.all(TWIN.topics.avail))


def test_a_verdict_needs_a_check_and_all_of_them():
    verdict = Verdict()
    assert verdict.result == FAIL
    verdict.check("3 of 3 came", True)
    assert verdict.result == PASS
    verdict.check("took 2 s", False)
    verdict.note("quickly")
    assert verdict.result == FAIL
    assert verdict.evidence == "NOT: took 2 s; 3 of 3 came (quickly)"


def test_results_are_lists_by_client(tmp_path, twin_bundle):
    outcome = Outcome(13, "handler raises", PASS, "3 of 3", 1.0)
    value = json.loads(as_json({name: [outcome] for name in CLIENTS}))
    assert list(value) == ["twin-edge", "paho", "aiomqtt"]
    assert value["twin-edge"][0]["case"] == 13
    assert Bench("paho", tmp_path, twin_bundle, full=False).setup(1).states.packet(7).seq == 7
