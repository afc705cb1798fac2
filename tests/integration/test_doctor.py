"""The doctor at real brokers: it finds what is wrong, says how to put it right, and nobody notices it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from provisioned import ADA, CAM_1, OLGA, ProvisionedMosquitto, issue
from twin_edge.config import RunConfig, load_run_config
from twin_edge.doctor import DoctorConfig, Outcome, examine, exit_code_of, machine
from twin_edge.doctor.examination import CHECKS
from twin_edge.provisioning.authority import Authority
from twin_edge.runtime.brokers import broker_config
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, StateReport, TwinView
from twin_edge.twin.packet import Flags, Packet

pytestmark = pytest.mark.broker
NETWORK = [check for check in CHECKS if check.run.__module__ != machine.__name__]
UP = "twin/v1/org.acme/cam-01/up"


@pytest.fixture
def broker(tmp_path):
    broker = ProvisionedMosquitto(tmp_path / "provision")
    yield broker
    broker.kill()


@pytest.fixture
def patient(broker, tmp_path):
    """Returns a function that makes the configuration of a device, with changes."""

    def make(peer=None, **changes):
        config = load_run_config(broker.of(CAM_1) / "twin.toml", {"state_dir": tmp_path / "state", **changes})
        peer_config = None if peer is None else load_run_config(broker.of(peer) / "broker.toml", {})
        return DoctorConfig(config, peer_config, has_bundle=False, timeout_s=3.0, listen_s=0.7)

    return make


def found(config, checks=NETWORK):
    findings = {finding.check: finding for finding in examine(config, checks)}
    for finding in findings.values():
        assert "\n" not in finding.seen + finding.fix
        assert finding.seen
        # What does not come out right comes with what to do, or says what it waits for.
        assert finding.fix or finding.outcome in {Outcome.OK, Outcome.SKIPPED}
    return findings


def outcomes(findings, outcome):
    return {name for name, finding in findings.items() if finding.outcome is outcome}


def rewrite_acl(broker, old, new=""):
    path = broker.folder / "broker" / "acl"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_provisioned_device_is_well(broker, patient):
    broker.start()
    findings = found(patient(ADA))
    assert outcomes(findings, Outcome.OK) == set(findings)
    assert len(findings) > 25
    assert "mqtts://localhost" in findings["credentials"].seen
    assert exit_code_of(findings.values()) == 0


def test_mqtt_3_tells_less_and_finds_the_same(broker, patient):
    broker.start()
    findings = found(patient(ADA, protocol="3.1.1"))
    assert outcomes(findings, Outcome.FAIL) == set()
    assert outcomes(findings, Outcome.SKIPPED) == {"discovery"}
    assert findings["write up/state"].outcome is Outcome.OK


class Streaming:
    """A device that sends a state every 20 ms, in a thread of its own."""

    def __init__(self, link, bundle):
        self.link, self.bundle, self.seq = link, bundle, 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._ending.wait(0.02):
            state = np.full((1, self.bundle.manifest.state.length), self.seq % 100, np.int8)
            flags = Flags.KEY if self.seq % 20 == 0 else Flags.NONE
            self.link.publish(Packet(self.bundle.model_id, 3, self.seq, 1_000_000, state, flags=flags))
            self.seq += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()


def test_nobody_notices_an_examination(broker, patient, twin_bundle, tmp_path, until):
    """A device that runs keeps its connection, its subscriber misses nothing, and what is retained stays."""
    broker.start()
    folder = broker.of(ADA)
    viewer = BrokerConfig.from_url(
        broker.url, ca_file=folder / "ca.pem", cert_file=folder / "cert.pem", key_file=folder / "key.pem", environ={}
    )
    link_config = LinkConfig(broker_config(patient().run))
    with (
        DeviceLink(link_config, CAM_1, twin_bundle, 3) as link,
        TwinView(viewer, str(CAM_1), tmp_path / "a", max_queued=100_000) as view,
        broker.client(OLGA) as witness,
        broker.client(OLGA) as late,
    ):
        assert link.wait_ready(20)
        link.report(StateReport(1, 0, 1_000_000, gap=0.5, in_sync=True))
        with Streaming(link, twin_bundle) as device:
            assert view.next_update(20)
            assert until(lambda: view.report is not None and view.online)
            witness.subscribe(f"{UP}/#")
            witness.subscribe("homeassistant/#")
            assert until(lambda: f"{UP}/key" in witness.topics())
            kept = {topic: payload for topic, payload in witness.heard if not topic.endswith(("/z", "/key"))}
            witness.heard.clear()
            findings = found(patient(ADA))
            # It runs under the lock of another state folder than the one that is examined, as on another machine.
            assert outcomes(findings, Outcome.FAIL) == {"identity"}
            assert "another device is org.acme/cam-01" in findings["identity"].seen
        for topic, payload in witness.heard:
            if not topic.endswith(("/z", "/key", "/res")) and f"{UP}/probe/" not in topic:
                # Nothing new was said on any topic that somebody listens to, and Home Assistant was told nothing.
                assert payload in {b"", kept.get(topic), b'"twin-edge doctor: ignore this"'}, topic
                assert payload == b"" or topic != f"{UP}/avail"
        seqs = [update.seq for update in view.updates(1.0)]
        assert seqs == list(range(seqs[0], device.seq))
        stats = view.stats()
        assert (stats.malformed, stats.missed, stats.reconnects, stats.errors) == (0, 0, 0, 0)
        assert view.online
        assert view.report.gap == 0.5
        assert (link.stats().reconnects, link.stats().errors) == (0, 0)
        assert link.stats().requests == 1  # the ping of the peer
        late.subscribe(f"{UP}/#")
        assert until(lambda: f"{UP}/key" in late.topics())
        assert {topic: data for topic, data in late.heard if not topic.endswith(("/z", "/key"))} == kept


def test_device_that_runs_here_is_no_stranger(broker, patient, twin_bundle):
    from twin_edge.doctor.machine import state_folder
    from twin_edge.doctor.patient import Patient
    from twin_edge.sync import Counters

    broker.start()
    config = patient()
    with (
        Counters.open(CAM_1, state_folder(Patient(config))),
        DeviceLink(LinkConfig(broker_config(config.run)), CAM_1, twin_bundle, 3) as link,
    ):
        assert link.wait_ready(20)
        findings = found(config)
        assert findings["identity"].outcome is Outcome.OK
        assert "runs on this machine" in findings["identity"].seen


def test_twin_that_died_elsewhere_is_told(broker, patient):
    broker.start()
    with broker.client(CAM_1) as device:
        from twin_edge.sync.wire.messages import Availability, build_avail

        device.publish(f"{UP}/avail", build_avail(CAM_1, Availability("online", 9)), retain=True)
    finding = found(patient())["identity"]
    assert finding.outcome is Outcome.WARN
    assert "is online; it is not this machine" in finding.seen


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_topic_that_may_not_be_written_is_named(broker, patient, protocol):
    rules = "\n".join(
        f"topic readwrite {UP}/{name}" for name in ("avail", "codec", "key", "z", "bundle/#", "res", "probe/#")
    )
    rewrite_acl(broker, f"topic readwrite {UP}/#", rules)
    broker.start()
    findings = found(patient(protocol=protocol))
    failed = outcomes(findings, Outcome.FAIL)
    assert failed == {f"write up/{name}" for name in ("birth", "state", "event", "hist", "preview", "cfg/probe", "ota")}
    assert f"allow it to write {UP}/state" in findings["write up/state"].fix
    assert findings["will"].outcome is Outcome.OK
    assert exit_code_of(findings.values()) == 5


def test_rules_without_home_assistant_probe_and_down(broker, patient):
    rewrite_acl(broker, "topic write homeassistant/device/cam-01/config\n")
    rewrite_acl(broker, f"topic readwrite {UP}/#", f"topic readwrite {UP}/+\ntopic readwrite {UP}/bundle/#")
    rewrite_acl(broker, "topic read twin/v1/org.acme/cam-01/down/#\n")
    broker.start()
    findings = found(patient(ADA))
    assert findings["discovery"].outcome is Outcome.WARN
    assert "Home Assistant will not find the device" in findings["discovery"].seen
    assert findings["will"].outcome is Outcome.SKIPPED
    assert findings["read down"].outcome is Outcome.FAIL
    assert "did not come through" in findings["read down"].seen


def test_peer_that_may_not_ask(broker, patient):
    rewrite_acl(broker, "topic write twin/v1/+/+/down/req\n")
    broker.start()
    assert found(patient(ADA))["read down"].outcome is Outcome.SKIPPED


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_broker_with_a_small_limit(broker, patient, twin_bundle, protocol):
    with broker.config.open("a") as file:
        file.write("max_packet_size 20000\n")
    broker.start()
    config = patient(protocol=protocol)
    assert found(config)["packet size"].outcome is Outcome.WARN
    checks = [*NETWORK[:-1], dataclasses.replace(NETWORK[-1], run=with_bundle(twin_bundle, NETWORK[-1].run))]
    finding = found(config, checks)["packet size"]
    assert finding.outcome is Outcome.FAIL
    assert "raise max_packet_size above" in finding.fix


def with_bundle(bundle, run):
    def check(patient, name):
        patient.bundle = bundle
        return run(patient, name)

    return check


def test_receive_maximum(broker, patient):
    with broker.config.open("a") as file:
        file.write("max_inflight_messages 2\n")
    broker.start()
    finding = found(patient())["receive maximum"]
    assert finding.outcome is Outcome.WARN
    assert finding.seen.startswith("2 at once")


def test_pinned_client_ids(tmp_path):
    broker = ProvisionedMosquitto(tmp_path / "provision", pin_client_ids=True)
    broker.start()
    try:
        run = load_run_config(broker.of(CAM_1) / "twin.toml", {"state_dir": tmp_path / "state"})
        findings = found(DoctorConfig(run, has_bundle=False, timeout_s=3.0, listen_s=0.3))
    finally:
        broker.kill()
    assert findings["login"].outcome is Outcome.WARN
    assert "one connection only" in findings["login"].seen
    assert findings["will"].outcome is Outcome.SKIPPED
    assert outcomes(findings, Outcome.FAIL) == set()


def test_open_broker_is_no_place_to_stay(mosquitto, tmp_path):
    run = RunConfig(broker=mosquitto.url, twin="org.acme/cam-01", state_dir=tmp_path)
    findings = found(DoctorConfig(run, has_bundle=False, listen_s=0.2))
    assert outcomes(findings, Outcome.WARN) == {"login", "isolation", "read down"}
    assert outcomes(findings, Outcome.FAIL) == set()


def test_each_step_on_the_way_has_its_own_failure(broker, patient, tmp_path):
    def first(**changes):
        findings = found(patient(**changes))
        name = next(name for name, finding in findings.items() if finding.outcome is Outcome.FAIL)
        after = list(findings)[list(findings).index(name) + 1 :]
        assert all(findings[each].outcome is Outcome.SKIPPED for each in after if each != "clock")
        return name, findings[name], exit_code_of(findings.values())

    port = broker.port
    assert first(broker="mqtts://no-such-host.invalid")[::2] == ("dns", 5)
    assert first()[::2] == ("tcp", 5)
    assert first(broker="embedded:")[::2] == ("credentials", 2)
    broker.start()
    other = tmp_path / "other-ca.pem"
    other.write_bytes(Authority.create()[0])
    name, finding, code = first(ca_file=other)
    assert (name, code) == ("tls", 5)
    assert "--ca-file" in finding.fix
    name, finding, code = first(broker=f"mqtt://127.0.0.1:{port}")
    assert (name, code) == ("credentials", 2)
    broker.of(CAM_1).joinpath("key.pem").chmod(0o644)
    name, finding, code = first()
    assert (name, code) == ("credentials", 2)
    assert finding.fix == f"chmod 600 {broker.of(CAM_1) / 'key.pem'}"


def test_dates_of_the_brokers_certificate(broker, patient):
    issue(broker.folder / "broker", broker.folder / "ca", begins=-2, ends=-1, host="localhost")
    broker.start()
    finding = found(patient())["tls"]
    assert finding.outcome is Outcome.FAIL
    assert "it has expired" in finding.seen
    assert "it is valid from 20" in finding.seen
    issue(broker.folder / "broker", broker.folder / "ca", begins=-2, ends=5.5, host="localhost")
    broker.restart()
    finding = found(patient())["tls"]
    assert finding.outcome is Outcome.WARN
    assert "5 days from now" in finding.seen


def test_certificate_of_the_device_that_ends(broker, patient):
    issue(broker.of(CAM_1), broker.folder / "ca", name="cam-01", begins=-5, ends=5.5)
    broker.start()
    findings = found(patient())
    assert findings["credentials"].outcome is Outcome.WARN
    assert "ends in 5 days" in findings["credentials"].seen
    assert findings["login"].outcome is Outcome.OK
    issue(broker.of(CAM_1), broker.folder / "ca", name="cam-01", begins=-5, ends=-1)
    findings = found(patient())
    assert "has expired" in findings["credentials"].seen
    assert exit_code_of(findings.values()) == 2


def test_wrong_password(mosquitto_factory, tmp_path):
    broker = mosquitto_factory({"cam-01": "right"}).start()
    secret = tmp_path / "password"
    for password, outcome in (("wrong", Outcome.FAIL), ("right", Outcome.OK)):
        secret.write_text(password)
        secret.chmod(0o600)
        run = RunConfig(broker=broker.url, twin="org.acme/cam-01", state_dir=tmp_path, password_file=secret)
        findings = found(DoctorConfig(run, has_bundle=False, listen_s=0.1))
        assert findings["login"].outcome is outcome
        assert password not in repr(findings)


def test_command(broker, bundle_path, environment, tmp_path):
    broker.start()
    command = [
        *(sys.executable, "-m", "twin_edge", "doctor", "--config", broker.of(CAM_1) / "twin.toml"),
        *("--bundle", bundle_path, "--camera", "rig:", "--state-dir", tmp_path),
    ]

    def run(*more):
        return subprocess.run(
            [*map(str, [*command, *more])], env=environment, capture_output=True, text=True, timeout=90, check=False
        )

    began = time.monotonic()
    done = run("--json")
    assert time.monotonic() - began < 60
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["fail"] == 0
    by_name = {line["check"]: line for line in lines[:-1]}
    assert by_name["bundle"]["outcome"] in {"ok", "warn"}  # the quick twin may be worse than the baseline
    assert by_name["camera"]["outcome"] == "ok"
    assert "self-test passed" in by_name["bundle"]["seen"]
    assert "needs" in by_name["packet size"]["seen"]
    done = run("--broker", "mqtts://localhost:1")
    assert done.returncode == 5
    assert "nothing answers at localhost:1" in done.stdout
    assert "-> check that the broker runs" in done.stdout
