from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import ConfigError
from twin_edge.provisioning import Plan, provision
from twin_edge.sync import BrokerConfig, TwinId
from twin_edge.sync.mqtt.credentials import find_password


@pytest.fixture
def secret(tmp_path):
    def write(data, name="password", mode=0o600):
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return write


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("provision")
    provision(Plan((TwinId("org.acme", "cam-01"),), out=folder, site={"hosts": ("localhost",)}), {})
    device = folder / "devices" / "org.acme" / "cam-01"
    return {f"{name}_file": device / f"{name}.pem" for name in ("ca", "cert", "key")}


def test_password_of_a_file_wins_over_the_environment(secret, tmp_path):
    environ = {"TWIN_EDGE_MQTT_PASSWORD": "env", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_password(None, {}) is None
    assert find_password(None, environ) == "env"
    credential = secret(b"systemd\n", "mqtt-password", 0o440)
    assert find_password(None, environ) == "env"
    assert find_password(None, {**environ, "TWIN_EDGE_MQTT_PASSWORD": ""}) == "systemd"
    assert find_password(secret(b"file\r\n"), environ) == "file"
    # Nothing but systemd's own folder is trusted with the mode that systemd may show.
    with pytest.raises(ConfigError, match="mode 0440"):
        find_password(credential, {})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620, 0o700 + 0o010])
def test_file_that_others_can_read_is_refused_with_the_command_that_helps(secret, mode):
    path = secret(b"hunter2", mode=mode)
    with pytest.raises(ConfigError) as caught:
        find_password(path, {})
    assert caught.value.fix == f"chmod 600 {path}"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"nul\0", b"x" * 5000])
def test_file_without_a_password(secret, data):
    with pytest.raises(ConfigError, match="holds no password"):
        find_password(secret(data), {})


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="check its path"):
        find_password(tmp_path / "none", {})
    with pytest.raises(ConfigError, match="check its path"):
        find_password(tmp_path, {})


@given(data=st.binary(max_size=64))
def test_any_bytes_are_a_password_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any-password"
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        found = find_password(path, {})
    except ConfigError:
        return
    assert found
    assert found.isprintable()
    assert found.encode() == data.removesuffix(b"\n").removesuffix(b"\r")


def test_secrets_are_in_no_representation(secret, files, caplog):
    with caplog.at_level(logging.DEBUG):
        config = BrokerConfig.from_url(
            "mqtts://localhost", password_file=secret(b"hunter2"), environ={"TWIN_EDGE_MQTT_PASSWORD": "x"}, **files
        )
    assert config.password == "hunter2"  # noqa: S105 - the test's own
    assert "hunter2" not in repr(config) + str(config.address) + caplog.text


def test_certificate_needs_tls_and_a_key_needs_a_certificate(files):
    with pytest.raises(ConfigError, match="needs TLS"):
        BrokerConfig.from_url("mqtt://localhost", environ={}, **files)
    with pytest.raises(ConfigError, match="key without a certificate"):
        BrokerConfig.from_url("mqtts://localhost", key_file=files["key_file"], environ={})


def test_files_that_cannot_be_used(files, secret, tmp_path):
    def refusal(**changes):
        with pytest.raises(ConfigError) as caught:
            BrokerConfig.from_url("mqtts://localhost", environ={}, **{**files, **changes})
        assert "\n" not in str(caught.value)
        return str(caught.value)

    key = files["key_file"].read_bytes()
    assert "cannot read the key file" in refusal(key_file=tmp_path / "none.pem")
    assert "cannot read the certificate file" in refusal(cert_file=tmp_path / "none.pem")
    assert "hold no certificate and key" in refusal(cert_file=secret(b"no PEM", "cert.pem"))
    assert "hold no certificate and key" in refusal(key_file=secret(b"no PEM", "key.pem"))
    assert "chmod 600" in refusal(key_file=secret(key, "open.pem", 0o644))
    assert "cannot read the CA file" in refusal(ca_file=tmp_path / "none.pem")
    # One file may hold both.
    both = secret(files["cert_file"].read_bytes() + key, "both.pem")
    config = BrokerConfig.from_url("mqtts://localhost", ca_file=files["ca_file"], cert_file=both, environ={})
    assert config.key_file is None


def test_encrypted_key_is_refused_and_nothing_asks_for_a_passphrase(files, secret):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files["key_file"].read_bytes(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    with pytest.raises(ConfigError, match="is encrypted"):
        BrokerConfig.from_url("mqtts://localhost", environ={}, **{**files, "key_file": secret(pem)})
