"""The bundles of all twins that are followed, each loaded once and fetched once."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Final

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import BundleError, MessageError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.update import Renderer
from twin_edge.sync.wire.blocks import Assembler, BundleIndex
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.codec import PacketReader, PayloadDecoder

MAX_LOADED_BYTES: Final = 512 * 1024 * 1024
"""Files of all bundles that may be loaded at once; whose bundle would be too much is not read."""
_AT_ONCE: Final = 2
"""Bundles that are fetched at the same time."""
_MAX_WAITING: Final = 64
"""Bundles that may wait for their turn; the twins of others ask again."""
_MAX_REFUSED: Final = 256
_PATIENCE_S: Final = 10.0
"""After this time without a new block another twin with the same bundle is tried."""

_LOGGER = logging.getLogger(__name__)


class LoadedBundle:
    """A bundle, and what all twins with it share.

    Args:
        bundle: The verified bundle.

    Attributes:
        bundle: The bundle.
        renderer: Renders its states.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.renderer = Renderer(bundle)
        self._decoder = PayloadDecoder(bundle.codec)

    def reader(self) -> PacketReader:
        """Returns a reader for one stream of packets; the readers of a bundle are for one thread together."""
        return PacketReader(self.bundle.codec, self._decoder)


class BundleStore:
    """Loads bundles from the cache, and fetches the others from the broker, from any twin that has them.

    All methods are for the network thread. What no twin uses any more is forgotten.

    Args:
        client: The connection.
        cache: Bundles that were fetched before.
        on_loaded: Gets each bundle that was fetched.

    Attributes:
        refused: Why bundles are not used, by digest and the twin that they came from: one that lies about its bundle
            spoils it for no other.
    """

    def __init__(self, client: MqttClient, cache: BundleCache, on_loaded: Callable[[LoadedBundle], None]) -> None:
        self.refused: dict[tuple[str, TwinId], str] = {}
        self._client = client
        self._cache = cache
        self._on_loaded = on_loaded
        self._loaded: weakref.WeakValueDictionary[str, LoadedBundle] = weakref.WeakValueDictionary()
        self._fetches: dict[str, _Fetch] = {}
        self._waiting: dict[str, TwinId] = {}

    def get(self, digest: str, twin: TwinId) -> LoadedBundle | None:
        """Returns a bundle; where it is not there, begins to fetch it from a twin, if that can be done now."""
        loaded = self._loaded.get(digest)
        if loaded is not None or (digest, twin) in self.refused:
            return loaded
        cached = self._cache.load(digest)
        if cached is not None:
            return self._load(cached, twin)
        self._want(digest, twin)
        return None

    def missing(self, digest: str) -> int:
        """Returns how many blocks of a bundle that is being fetched have not come; 0 without its index."""
        fetch = self._fetches.get(digest)
        return fetch.assembler.missing if fetch is not None and fetch.assembler is not None else 0

    def connected(self) -> None:
        """Subscribes again to what is being fetched."""
        for fetch in self._fetches.values():
            fetch.subscribe()

    def asked(self, digest: str, twin: TwinId) -> None:
        """A twin was asked to send its bundle again: what lies on the broker is taken once more from it."""
        fetch = self._fetches.get(digest)
        if fetch is None:
            self._want(digest, twin)
        elif fetch.twin == twin:
            fetch.subscribe()

    def heard(self, message: Inbound, now: float) -> bool:
        """Takes an untrusted message; returns whether it is about a bundle that is being fetched.

        Raises:
            MessageError: It was refused.
        """
        for digest, fetch in self._fetches.items():
            if message.topic.startswith(fetch.root):
                if not fetch.heard(message, now):
                    return True
                del self._fetches[digest]
                try:
                    self._finish(digest, fetch)
                finally:
                    self._begin_next()
                return True
        return False

    def tick(self, now: float, others: Callable[[str, TwinId], TwinId | None]) -> None:
        """Tries another twin where one does not bring its bundle.

        Args:
            now: Monotonic seconds.
            others: Finds another twin with a bundle, after the one that was tried.
        """
        for digest, fetch in self._fetches.items():
            fetch.since = fetch.since or now
            if now - fetch.since < _PATIENCE_S:
                continue
            fetch.since = now
            other = others(digest, fetch.twin)
            if other is not None:
                # The blocks that have come are kept: the digest of each is known.
                fetch.move(other)

    def _load(self, bundle: Bundle, twin: TwinId) -> LoadedBundle | None:
        used = sum(len(each.bundle.data) for each in list(self._loaded.values()))
        if used + len(bundle.data) > MAX_LOADED_BYTES:
            self._refuse(bundle.digest, twin, f"the bundles of all twins take more than {MAX_LOADED_BYTES >> 20} MiB")
            return None
        loaded = self._loaded[bundle.digest] = LoadedBundle(bundle)
        return loaded

    def _want(self, digest: str, twin: TwinId) -> None:
        if digest not in self._fetches and len(self._waiting) < _MAX_WAITING:
            self._waiting.setdefault(digest, twin)
            self._begin_next()

    def _begin_next(self) -> None:
        while self._waiting and len(self._fetches) < _AT_ONCE:
            digest = next(iter(self._waiting))
            fetch = self._fetches[digest] = _Fetch(self._client, digest, self._waiting.pop(digest))
            fetch.subscribe()

    def _finish(self, digest: str, fetch: _Fetch) -> None:
        try:
            bundle = fetch.bundle()
        except (BundleError, MessageError) as error:
            # Each block is what the index says, so asking for them again would bring the same.
            self._refuse(digest, fetch.twin, str(error))
            _LOGGER.warning("the bundle of %s is refused (%s)", fetch.twin, error)
            raise MessageError(f"the fetched bundle is refused ({error.message})") from error
        self._cache.store(bundle)
        loaded = self._load(bundle, fetch.twin)
        if loaded is not None:
            self._on_loaded(loaded)

    def _refuse(self, digest: str, twin: TwinId, why: str) -> None:
        if len(self.refused) >= _MAX_REFUSED:
            self.refused.pop(next(iter(self.refused)))
        self.refused[digest, twin] = why


class _Fetch:
    """One bundle on its way, from one twin."""

    def __init__(self, client: MqttClient, digest: str, twin: TwinId) -> None:
        self.twin = twin
        self.since = 0.0
        """When something new came last."""
        self.assembler: Assembler | None = None
        self._client = client
        self._digest = digest
        self._topics = twin.topics
        self.root = f"{self._topics.root}up/bundle/"

    def subscribe(self) -> None:
        """Subscribes to the index, and to the blocks once that is known; retained messages come once more."""
        self._client.subscribe([(self._topics.index, 1)])
        if self.assembler is not None:
            self._client.subscribe([(self._topics.blocks, 1)])

    def move(self, twin: TwinId) -> None:
        """Goes on with another twin."""
        self._unsubscribe()
        self.twin, self._topics = twin, twin.topics
        self.root = f"{self._topics.root}up/bundle/"
        self.subscribe()

    def heard(self, message: Inbound, now: float) -> bool:
        """Takes an index or a block; returns whether nothing is missing any more."""
        if message.topic == self._topics.index:
            index = BundleIndex.from_bytes(message.payload) if message.payload else None
            # The index of another bundle lies there until the device has brought the whole new one.
            known = self.assembler is not None and self.assembler.index == index
            if index is not None and index.digest == self._digest and not known:
                self.since = now
                self.assembler = Assembler(index)
                self._client.subscribe([(self._topics.blocks, 1)])
            return False
        number = self._topics.block_number(message.topic)
        assembler = self.assembler
        if number is None or assembler is None:
            return False
        before = assembler.missing
        if not assembler.add(number, message.payload) or assembler.missing == before:
            return False
        self.since = now
        if assembler.missing:
            return False
        self._unsubscribe()
        return True

    def bundle(self) -> Bundle:
        """Returns the verified bundle; see `Assembler.bundle` for what it raises."""
        if self.assembler is None:
            raise MessageError("a bundle without an index")
        return self.assembler.bundle()

    def _unsubscribe(self) -> None:
        self._client.unsubscribe([self._topics.index, self._topics.blocks])
