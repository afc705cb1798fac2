"""A mosquitto on loopback with the files that 'twin-edge provision' makes, and clients that come as somebody."""

import getpass
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from paho.mqtt.enums import CallbackAPIVersion

from brokers import Mosquitto, eventually, find_free_port, require_mosquitto
from twin_edge.provisioning import Client, Plan, Role, provision
from twin_edge.sync import TwinId

CAM_1, CAM_2 = TwinId("org.acme", "cam-01"), TwinId("org.acme", "cam-02")
ADA, OLGA, HA = Client(Role.VIEWER, "ada"), Client(Role.OPERATOR, "olga"), Client(Role.HOME_ASSISTANT, "ha")


class ProvisionedMosquitto(Mosquitto):
    """The broker of a provisioned folder, with two devices and three clients."""

    def __init__(self, folder: Path, **site):
        require_mosquitto()
        self.folder = folder
        self.port = find_free_port()
        self.process = None
        self.url = f"mqtts://localhost:{self.port}"
        self.site = {
            "hosts": ("localhost", "127.0.0.1"),
            "port": self.port,
            "bind": "127.0.0.1",
            "install_dir": str(folder / "broker"),
            "device_dir": str(folder / "devices" / "org.acme" / "cam-01"),
            **site,
        }
        self.done = provision(Plan((CAM_1, CAM_2), (ADA, OLGA, HA), folder, self.site))
        self.configure()

    def configure(self):
        text = (self.folder / "broker" / "mosquitto.conf").read_text()
        self.config = self.folder / "mosquitto.conf"
        # Started as root, as in a container, it would become another user and find the keys closed.
        self.config.write_text(f"{text}persistence false\nuser {getpass.getuser()}\n")

    def of(self, who) -> Path:
        """Returns the folder of a device or a client."""
        if isinstance(who, TwinId):
            return self.folder / "devices" / who.namespace / who.device
        return self.folder / "clients" / who.role.value / who.name

    def client(self, who, **options):
        return MutualTlsClient(self.port, self.of(who), **options)


class MutualTlsClient:
    """A plain paho client with a certificate, which remembers what it hears and what the broker says."""

    def __init__(self, port, folder, *, client_id="", protocol=mqtt.MQTTv5, user=None, will=None):
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        if (folder / "cert.pem").exists():
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.heard, self.acks = [], {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False
        )
        self._client.tls_set_context(context)
        if user:
            self._client.username_pw_set(user, "guess")
        if will:
            self._client.will_set(will, b"forged", 1)
        self._client.on_message = lambda _c, _u, message: self.heard.append((message.topic, message.payload))
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self.acks.__setitem__(mid, reason)
        self._subscribed = set()
        self._client.on_subscribe = lambda _c, _u, mid, _reasons, _p: self._subscribed.add(mid)
        self._client.connect("localhost", port)
        self._client.loop_start()
        assert eventually(lambda: self._client.is_connected() or self._client.socket() is None)

    @property
    def connected(self):
        return self._client.is_connected()

    def publish(self, topic, payload=b"forged", *, retain=False):
        """Publishes with QoS 1; returns the reason of the broker's answer."""
        mid = self._client.publish(topic, payload, 1, retain).mid
        assert eventually(lambda: mid in self.acks)
        return self.acks[mid]

    def subscribe(self, topic):
        _, mid = self._client.subscribe(topic, 1)
        assert eventually(lambda: mid in self._subscribed)

    def topics(self):
        return [topic for topic, _ in self.heard]

    def break_off(self):
        self._client.on_disconnect = None
        self._client.socket().shutdown(2)
        self._client.loop_stop()

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def issue(folder: Path, ca: Path, *, name="localhost", begins=-1.0, ends=1.0, host=None) -> Path:
    """Makes a broker's or, without a host, a client's certificate with any dates (days from now)."""
    certificate = x509.load_pem_x509_certificate((ca / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((ca / "key.pem").read_bytes(), None)
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    path = folder / "cert.pem"
    path.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path
