"""The identity of a twin, and the topics that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from twin_edge.errors import ConfigError

PREFIX: Final = "twin/v1"
ANY_CODEC: Final = f"{PREFIX}/+/+/up/codec"
"""Matches the codec of every twin of a broker."""
ANY_AVAIL: Final = f"{PREFIX}/+/+/up/avail"
"""Matches the availability of every twin of a broker."""
MAX_BLOCKS: Final = 65_536
"""Blocks of a bundle: enough for the largest one in the smallest useful blocks."""

_NAMESPACE: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z]\w*(?:[.-]\w+)*\Z", re.ASCII)
_DEVICE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TOPIC: Final = re.compile(rf"{PREFIX}/([^/]+)/([^/]+)/(.+)", re.DOTALL)


_FORM = "give it as NAMESPACE/DEVICE, such as org.acme/cam-01 (letters, digits, _ and -)"


@dataclass(frozen=True, slots=True, order=True)
class TwinId:
    """Names one twin, as `<namespace>/<device>`.

    Raises:
        ConfigError: A part has characters that the topics, Eclipse Ditto or Home Assistant do not allow.
    """

    namespace: str
    """An Eclipse Ditto namespace such as `org.acme`: letters, digits, `_`, in parts joined by `.` or `-`; 1-128."""
    device: str
    """Letters, digits, `_` and `-`, 1-64; also the MQTT client id of the device."""

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace) or not _DEVICE.fullmatch(self.device):
            raise ConfigError(
                f"{f'{self.namespace}/{self.device}'!r:.200} is not a twin id",
                fix=_FORM,
            )

    @classmethod
    def parse(cls, text: str) -> TwinId:
        """Reads `<namespace>/<device>`.

        Raises:
            ConfigError: It is not of this form.
        """
        namespace, slash, device = text.partition("/")
        if not slash:
            raise ConfigError(f"{text!r:.200} is not a twin id", fix=_FORM)
        return cls(namespace, device)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.device}"

    @property
    def thing(self) -> str:
        """The id of the Ditto thing, `<namespace>:<device>`."""
        return f"{self.namespace}:{self.device}"

    @property
    def topics(self) -> Topics:
        """The topics of this twin."""
        return Topics(f"{PREFIX}/{self}/", f"{self}/things/twin/commands/merge")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one twin: `up/` is written by the device only, `down/` is read by the device only."""

    root: str
    """What all of them begin with, the slash at its end included."""
    merge: str
    """The topic inside of a Ditto merge command, which is no MQTT topic."""

    @property
    def avail(self) -> str:
        """Whether the device is there; also its last will."""
        return f"{self.root}up/avail"

    @property
    def codec(self) -> str:
        """What the packets need to be read."""
        return f"{self.root}up/codec"

    @property
    def key(self) -> str:
        """The last key packet, for those who come late."""
        return f"{self.root}up/key"

    @property
    def stream(self) -> str:
        """Every packet."""
        return f"{self.root}up/z"

    @property
    def state(self) -> str:
        """The state report."""
        return f"{self.root}up/state"

    @property
    def birth(self) -> str:
        """What the device is, said on each connect."""
        return f"{self.root}up/birth"

    @property
    def event(self) -> str:
        """What happened."""
        return f"{self.root}up/event"

    @property
    def history(self) -> str:
        """Packets of an outage, many in one message."""
        return f"{self.root}up/hist"

    @property
    def canary(self) -> str:
        """Empty messages by which the device finds out whether the broker still takes any."""
        return f"{self.root}up/canary"

    @property
    def answer(self) -> str:
        """Answers to those who gave no response topic."""
        return f"{self.root}up/res"

    @property
    def index(self) -> str:
        """The index of the bundle's blocks."""
        return f"{self.root}up/bundle/index"

    @property
    def blocks(self) -> str:
        """Matches every block of the bundle."""
        return f"{self.root}up/bundle/block/+"

    def block(self, number: int) -> str:
        """Returns the topic of one block of the bundle, counted from 0."""
        return f"{self.root}up/bundle/block/{number}"

    @property
    def request(self) -> str:
        """Requests to the device."""
        return f"{self.root}down/req"

    @property
    def ditto_out(self) -> str:
        """What else we say to Eclipse Ditto: questions, and answers to live messages."""
        return f"{self.root}up/ditto"

    @property
    def ditto_in(self) -> str:
        """What Eclipse Ditto says to us."""
        return f"{self.root}down/ditto"

    @property
    def preview(self) -> str:
        """The picture for people, a JPEG."""
        return f"{self.root}up/preview"

    @property
    def settings(self) -> str:
        """Matches the wish for any setting."""
        return self.setting("+")

    def setting(self, key: str) -> str:
        """Returns the topic of what somebody wants a setting to be."""
        return f"{self.root}down/set/{key}"

    def reported(self, key: str) -> str:
        """Returns the topic of what a setting is."""
        return f"{self.root}up/cfg/{key}"

    def setting_key(self, topic: str) -> str | None:
        """Returns for which setting a wish on a topic is, None when it is none."""
        prefix = self.setting("")
        key = topic.removeprefix(prefix)
        return key if topic.startswith(prefix) and _KEY.fullmatch(key) else None

    def block_number(self, topic: str) -> int | None:
        """Returns which block of the bundle comes on a topic, None when it is none."""
        prefix = self.block(0)[:-1]
        digits = topic[len(prefix) :]
        if not topic.startswith(prefix) or not re.fullmatch("0|[1-9][0-9]{0,5}", digits):
            return None
        return int(digits) if int(digits) < MAX_BLOCKS else None


def twin_of(topic: str) -> TwinId | None:
    """Returns the twin to which an MQTT topic belongs, None when it is none of ours or its id is malformed."""
    match = _TOPIC.fullmatch(topic)
    if not match:
        return None
    try:
        return TwinId(match[1], match[2])
    except ConfigError:
        return None
