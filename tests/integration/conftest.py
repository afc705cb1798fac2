"""Real brokers and real devices for the integration tests, all on loopback."""

import dataclasses
import json
import time

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from brokers import eventually
from twin_edge.bundle import Bundle, seal
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, TwinId
from twin_edge.twin.packet import Flags, Packet


@pytest.fixture(scope="session")
def twin_bundle(bundle_path):
    return Bundle.open(bundle_path)


@pytest.fixture(scope="session")
def other_bundle(twin_bundle):
    """The same models under another name: another bundle, by its digest."""
    manifest = dataclasses.replace(twin_bundle.manifest, name="other", files={})
    return Bundle.from_bytes(seal(manifest, twin_bundle.members))


TWIN = TwinId("org.acme", "cam-01")


class Device:
    """A link with made-up states: state n holds n in its bytes, so that a mix-up shows."""

    def __init__(self, url, bundle, session=1, twin=TWIN, **config):
        self.bundle = bundle
        self.session = session
        self.seq = 0
        self.link = DeviceLink(LinkConfig(BrokerConfig.from_url(url), **config), twin, bundle, session)

    def state(self, seq):
        length = self.bundle.manifest.state.length
        return np.frombuffer(seq.to_bytes(4, "little") * (length // 4 + 1), np.int8)[:length]

    def send(self, flags=Flags.NONE, seq=None):
        seq = self.seq if seq is None else seq
        packet = Packet(
            self.bundle.model_id, self.session, seq, time.time_ns() // 1000, self.state(seq)[np.newaxis], flags=flags
        )
        self.seq = (seq + 1) % 2**32
        return self.link.publish(packet)

    def stream(self, count, per_second=60.0):
        due = time.monotonic()
        for _ in range(count):
            self.send(Flags.KEY if self.link.take_resync() else Flags.NONE)
            due += 1 / per_second
            time.sleep(max(0.0, due - time.monotonic()))

    def __enter__(self):
        self.link.start()
        return self

    def __exit__(self, *_):
        self.link.stop()


@pytest.fixture
def device_class():
    return Device


class RawClient:
    """A plain paho client that remembers what it hears."""

    def __init__(self, port):
        self.heard = []
        self.correlations = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = self._remember
        self._client.on_connect = self._subscribe_again
        self._topics = {}
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert eventually(self._client.is_connected)

    def is_connected(self):
        return self._client.is_connected()

    def _remember(self, _client, _userdata, message):
        self.heard.append((message.topic, message.payload))
        correlation = getattr(message.properties, "CorrelationData", None)
        if correlation is not None:
            self.correlations.append(correlation)

    def publish(self, topic, payload, *, qos=0, retain=False):
        self._client.publish(topic, payload, qos, retain)

    def request(self, topic, payload, response_topic, correlation):
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = response_topic
        properties.CorrelationData = correlation
        self._client.publish(topic, payload, 1, properties=properties)

    def _subscribe_again(self, *_):
        for topic, qos in self._topics.items():
            self._client.subscribe(topic, qos)

    def subscribe(self, topic, qos):
        self._topics[topic] = qos
        self._client.subscribe(topic, qos)

    def all(self, topic):
        return [payload for heard, payload in self.heard if heard == topic]

    def last(self, topic):
        return next(iter(reversed(self.all(topic))), None)

    def forget(self):
        self.heard.clear()

    @staticmethod
    def json(payload):
        return json.loads(payload)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes the sockets by which it wakes itself when it goes: at once, with nobody left who holds it.
        self._client.on_connect = self._client.on_message = None
        self._client = None


@pytest.fixture
def raw_client_class():
    return RawClient


@pytest.fixture
def raw_client(mosquitto):
    client = RawClient(mosquitto.port)
    yield client
    client.close()
