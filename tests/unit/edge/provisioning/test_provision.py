"""Certificates by the word of openssl, and a folder that only ever grows."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.config import load_run_config
from twin_edge.errors import ConfigError
from twin_edge.provisioning import Client, Plan, Role, Site, access_rules, next_steps, provision
from twin_edge.provisioning.authority import Authority, Issued
from twin_edge.provisioning.plan import Roster
from twin_edge.sync import TwinId

CAM_1, CAM_2 = TwinId("org.acme", "cam-01"), TwinId("org.acme", "cam-02")
ADA = Client(Role.VIEWER, "ada")
SITE = {"hosts": ("broker.lan", "10.0.0.2", "2001:db8::1"), "port": 8884}


def openssl(*args):
    assert shutil.which("openssl"), "apt install openssl"
    return subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_certificates_are_what_openssl_takes_them_for(out):
    done = provision(Plan((CAM_1,), (ADA,), out, SITE), {})
    ca = out / "ca" / "ca.pem"
    purposes = {
        out / "broker" / "cert.pem": ("sslserver", "sslclient"),
        out / "devices" / "org.acme" / "cam-01" / "cert.pem": ("sslclient", "sslserver"),
        out / "clients" / "viewer" / "ada" / "cert.pem": ("sslclient", "sslserver"),
    }
    for path, (good, bad) in purposes.items():
        verified = openssl("verify", "-x509_strict", "-CAfile", ca, "-purpose", good, path)
        assert verified.returncode == 0, verified.stderr
        assert openssl("verify", "-CAfile", ca, "-purpose", bad, path).returncode != 0
        text = openssl("x509", "-in", path, "-noout", "-text").stdout
        assert "prime256v1" in text
        assert "CA:FALSE" in text
    for host, flag in (("broker.lan", "-verify_hostname"), ("10.0.0.2", "-verify_ip"), ("2001:db8::1", "-verify_ip")):
        assert openssl("verify", "-CAfile", ca, flag, host, out / "broker" / "cert.pem").returncode == 0
    assert openssl("verify", "-CAfile", ca, "-verify_hostname", "x.lan", out / "broker" / "cert.pem").returncode != 0
    subject = openssl("x509", "-in", out / "devices" / "org.acme" / "cam-01" / "cert.pem", "-noout", "-subject").stdout
    assert re.search(r"CN ?= ?cam-01$", subject.strip())
    assert "CA:TRUE, pathlen:0" in openssl("x509", "-in", ca, "-noout", "-text").stdout
    assert done.url == "mqtts://broker.lan:8884"


def test_keys_are_for_their_owner_only(out):
    provision(Plan((CAM_1,), (ADA,), out, SITE), {})
    keys = list(out.rglob("key.pem"))
    assert len(keys) == 4
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert len({key.read_bytes() for key in keys}) == 4


def test_running_again_changes_nothing(out):
    provision(Plan((CAM_1,), (ADA,), out, SITE), {})
    before = bytes_of(out)
    for plan in (Plan((CAM_1,), (ADA,), out, SITE), Plan((CAM_1,), out=out), Plan(out=out)):
        done = provision(plan, {})
        assert set(done.files.values()) == {"kept"}
        assert bytes_of(out) == before


def test_adding_a_device_keeps_everything_else(out):
    provision(Plan((CAM_1,), out=out, site={**SITE, "pin_client_ids": True}), {})
    before = bytes_of(out)
    done = provision(Plan((CAM_2,), out=out), {})
    after = bytes_of(out)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {out / "broker" / "acl"}
    assert {path.relative_to(out / "devices" / "org.acme").parts[0] for path in set(after) - set(before)} == {"cam-02"}
    assert [what for path, what in done.files.items() if "cam-02" in str(path)] == ["made", "made"]
    # What was said of the broker the first time holds.
    assert done.url == "mqtts://broker.lan:8884"
    assert "use_username_as_clientid true" in (out / "broker" / "mosquitto.conf").read_text()


def test_force_makes_new_keys_for_those_named_only(out):
    provision(Plan((CAM_1, CAM_2), out=out, site=SITE), {})
    before = bytes_of(out)
    provision(Plan((CAM_1,), out=out, force=True), {})
    changed = {path.relative_to(out) for path, data in bytes_of(out).items() if before[path] != data}
    assert {str(path) for path in changed} == {
        "devices/org.acme/cam-01/key.pem",
        "devices/org.acme/cam-01/cert.pem",
    }
    provision(Plan(out=out, force=True), {})
    assert (out / "ca" / "key.pem").read_bytes() == before[out / "ca" / "key.pem"]
    assert (out / "broker" / "key.pem").read_bytes() != before[out / "broker" / "key.pem"]


def test_certificate_that_ends_soon_is_renewed_with_the_same_key(out):
    provision(Plan((CAM_1,), out=out, site=SITE, days=20), {})
    folder = out / "devices" / "org.acme" / "cam-01"
    key, old = (folder / "key.pem").read_bytes(), (folder / "cert.pem").read_bytes()
    done = provision(Plan(out=out), {})
    assert done.files[folder / "cert.pem"] == "renewed"
    assert (folder / "key.pem").read_bytes() == key
    assert (folder / "cert.pem").read_bytes() != old
    until = Issued.read((folder / "cert.pem").read_bytes()).not_after
    assert until - datetime.now(UTC) > timedelta(days=700)


def test_other_hosts_renew_the_brokers_certificate(out):
    provision(Plan((CAM_1,), out=out, site=SITE), {})
    done = provision(Plan(out=out, site={"hosts": ("new.lan",)}), {})
    assert done.url == "mqtts://new.lan:8884"
    assert Issued.read((out / "broker" / "cert.pem").read_bytes()).hosts == ("new.lan",)
    assert 'broker = "mqtts://new.lan:8884"' in (out / "devices" / "org.acme" / "cam-01" / "twin.toml").read_text()


def test_an_authority_of_ones_own(out, tmp_path):
    certificate, key = Authority.create("correct horse")
    (tmp_path / "my-ca.pem").write_bytes(certificate)
    (tmp_path / "my-key.pem").write_bytes(key)
    plan = Plan((CAM_1,), out=out, site=SITE, ca=tmp_path / "my-ca.pem", ca_key=tmp_path / "my-key.pem")
    (tmp_path / "my-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        provision(plan, {})
    (tmp_path / "my-key.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="TWIN_EDGE_CA_PASSPHRASE"):
        provision(plan, {})
    provision(plan, {"TWIN_EDGE_CA_PASSPHRASE": "correct horse"})
    assert not (out / "ca" / "key.pem").exists()
    path = out / "devices" / "org.acme" / "cam-01" / "cert.pem"
    assert openssl("verify", "-CAfile", tmp_path / "my-ca.pem", path).returncode == 0
    with pytest.raises(ConfigError, match="give both with --ca and --ca-key"):
        provision(Plan((CAM_2,), out=out), {})
    other, other_key = Authority.create()
    (tmp_path / "other.pem").write_bytes(other)
    (tmp_path / "my-key.pem").write_bytes(other_key)
    with pytest.raises(ConfigError, match="belongs to another authority"):
        provision(Plan((CAM_2,), out=out, ca=tmp_path / "other.pem", ca_key=tmp_path / "my-key.pem"), {})


def test_authorities_that_are_none():
    certificate, key = Authority.create()
    _, other = Authority.create()
    with pytest.raises(ConfigError, match="does not belong"):
        Authority(certificate, other)
    with pytest.raises(ConfigError, match="cannot be read"):
        Authority(b"no PEM", key)
    with pytest.raises(ConfigError, match="cannot be read"):
        Authority(certificate, b"no PEM")
    leaf = Authority(certificate, key).issue("leaf", other, 10)
    with pytest.raises(ConfigError, match="not an authority's"):
        Authority(leaf, other)


def test_the_passphrase_encrypts_the_key(out):
    environ = {"TWIN_EDGE_CA_PASSPHRASE": "correct horse"}
    provision(Plan((CAM_1,), out=out, site=SITE), environ)
    assert b"ENCRYPTED" in (out / "ca" / "key.pem").read_bytes()
    assert b"ENCRYPTED" not in (out / "broker" / "key.pem").read_bytes()
    with pytest.raises(ConfigError, match="TWIN_EDGE_CA_PASSPHRASE"):
        provision(Plan((CAM_2,), out=out), {})
    provision(Plan((CAM_2,), out=out), environ)


@pytest.mark.parametrize(
    ("twins", "clients"),
    [
        ((CAM_1, TwinId("org.other", "cam-01")), ()),
        ((CAM_1,), (Client(Role.VIEWER, "cam-01"),)),
        ((), (Client(Role.VIEWER, "ada"), Client(Role.OPERATOR, "ada"))),
    ],
)
def test_two_of_one_name_are_refused_before_anything_is_written(out, twins, clients):
    with pytest.raises(ConfigError, match="the same name at the broker"):
        provision(Plan(twins, clients, out), {})
    assert not out.exists()


def test_a_name_that_is_taken_already_is_refused(out):
    provision(Plan((CAM_1,), out=out, site=SITE), {})
    before = bytes_of(out)
    with pytest.raises(ConfigError, match="the same name at the broker"):
        provision(Plan((TwinId("org.other", "cam-01"),), out=out), {})
    assert bytes_of(out) == before


def test_nobody_to_provision(out):
    with pytest.raises(ConfigError, match="nobody to provision"):
        provision(Plan(out=out), {})


@pytest.mark.parametrize(
    "site",
    [
        {"hosts": ("bro ker",)},
        {"hosts": ("a\nallow_anonymous true",)},
        {"hosts": ("",)},
        {"bind": "everywhere"},
        {"port": 0},
        {"install_dir": "/etc/x\nallow_anonymous true"},
        {"install_dir": "relative"},
        {"device_dir": '/etc/"'},
        {"device_dir": "/etc/../root"},
    ],
)
def test_what_would_break_the_files_is_refused(site):
    with pytest.raises(ConfigError):
        Site(**site)


@pytest.mark.parametrize("name", ["", "a b", "a\nuser b", "#", "+", "a" * 65, "cam:01"])
def test_names_that_would_break_the_rules_are_refused(name):
    with pytest.raises(ConfigError):
        Client(Role.VIEWER, name)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_site_or_refused(data):
    with pytest.raises(ConfigError):
        Site.from_bytes(data)


def test_site_comes_back_as_it_was():
    site = Site(("broker.lan", "::1"), 1, "0.0.0.0", pin_client_ids=True)  # noqa: S104 - an address to be told apart
    assert Site.from_bytes(site.to_bytes()) == site


NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
TWINS = st.builds(TwinId, st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,4}){0,2}", fullmatch=True), NAMES)


@given(st.lists(TWINS, max_size=6, unique_by=lambda twin: twin.device))
def test_a_device_has_rules_for_its_own_topics_only(twins):
    """Read as mosquitto reads them: a `user` line begins the rules of one user."""
    rules: dict[str, list[tuple[str, str]]] = {}
    user = None
    for line in access_rules(Roster(tuple(twins)).twins, ()).splitlines():
        if line.startswith("user "):
            user = line.removeprefix("user ")
        elif line and not line.startswith("#"):
            assert user is not None, "a rule before the first user would be for anonymous clients"
            kind, access, topic = line.split(" ")
            assert kind == "topic"
            rules.setdefault(user, []).append((access, topic))
    assert set(rules) == {twin.device for twin in twins}
    for twin in twins:
        root = f"twin/v1/{twin.namespace}/{twin.device}/"
        for access, topic in rules[twin.device]:
            assert "%" not in topic
            assert "+" not in topic
            if topic.startswith("twin/"):
                assert topic in {f"{root}up/#", f"{root}down/#"}
                assert access == ("readwrite" if topic == f"{root}up/#" else "read")
            else:
                assert (access, topic) in {
                    ("write", f"homeassistant/device/{twin.device}/config"),
                    ("read", "homeassistant/status"),
                }


def test_settings_of_a_device_are_settings_of_run(out):
    provision(Plan((CAM_1,), out=out, site={**SITE, "device_dir": "/opt/twin"}), {})
    config = load_run_config(out / "devices" / "org.acme" / "cam-01" / "twin.toml", {})
    assert (config.twin, config.broker) == ("org.acme/cam-01", "mqtts://broker.lan:8884")
    assert [str(path) for path in (config.ca_file, config.cert_file, config.key_file)] == [
        f"/opt/twin/{name}.pem" for name in ("ca", "cert", "key")
    ]
    assert config.wait_for_broker


def test_next_steps_name_what_was_made(out):
    plan = Plan((CAM_1,), (ADA,), out, SITE)
    text = next_steps(plan, provision(plan, {}))
    for part in ("ca/key.pem", "install -o mosquitto", "twin-edge doctor --config", "--broker mqtts://broker.lan:8884"):
        assert part in text
    again = next_steps(Plan(out=out), provision(Plan(out=out), {}))
    assert "kept     7 files" in again


def test_command(tmp_path, environment):
    command = [sys.executable, "-m", "twin_edge", "provision", "--out", "p", "--broker-host", "broker.lan"]
    done = subprocess.run(
        [*command, "org.acme/cam-01", "--viewer", "ada", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    made = json.loads(done.stdout)
    assert made["devices"] == ["org.acme/cam-01"]
    assert made["clients"] == [{"role": "viewer", "name": "ada"}]
    assert made["broker"] == "mqtts://broker.lan:8883"
    refused = subprocess.run(
        [*command, "org.other/cam-01"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_without_cryptography_the_extra_is_named(tmp_path, environment):
    code = (
        "import sys\nsys.modules['cryptography'] = None\nsys.argv[1:] = ['provision', 'a.b/c']\n"
        "from twin_edge.cli.app import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'twin-edge[provision]'" in done.stderr
