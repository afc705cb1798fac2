"""The subscriber's side for many twins: all that match some patterns, over one connection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from twin_edge.errors import ConfigError, SyncError
from twin_edge.sync.mqtt.transport import BrokerConfig
from twin_edge.sync.view.base import BaseView
from twin_edge.sync.view.listeners import Tap
from twin_edge.sync.view.patterns import EVERY, parse_patterns
from twin_edge.sync.view.status import TwinStatus, twin_status
from twin_edge.sync.wire.topics import TwinId

MAX_TWINS: Final = 1024
_MAX_QUEUED_IN_ALL: Final = 65_536


class TwinViews(BaseView):
    """Follows all twins that match patterns, those included that come later; iterate over it for their updates.

    The updates of one twin come in order and none comes twice; twins with updates take turns. When they are not
    fetched, the oldest of a twin are dropped and counted as missed. Renderings are made in the thread that looks at
    them.

    Args:
        broker: URL of the broker, or how to reach it.
        twins: Whom to follow, such as `org.acme/cam-01`, `org.acme/*` or `*/*`; one pattern or up to 64.
        cache_dir: Where to keep fetched bundles; `$XDG_CACHE_HOME/twin-edge/bundles` when None.
        max_queued: Updates of one twin that may wait to be fetched, and 65536 in all; 0 keeps none, for those who only
            look at `status` or use a tap.
        max_twins: Twins that are followed at most; others are ignored and counted.
        tap: Gets what the twins send as it came, for recorders.

    Raises:
        ConfigError: The URL or a pattern is malformed, or the patterns name more twins than are followed.
    """

    def __init__(
        self,
        broker: str | BrokerConfig,
        twins: str | Iterable[str] = EVERY,
        cache_dir: Path | None = None,
        *,
        max_queued: int = 256,
        max_twins: int = MAX_TWINS,
        tap: Tap | None = None,
    ) -> None:
        super().__init__(
            broker,
            cache_dir,
            max_queued=max_queued,
            max_queued_in_all=_MAX_QUEUED_IN_ALL,
            max_twins=max_twins,
            tap=tap,
        )
        patterns = parse_patterns(twins)
        if sum(pattern.exact for pattern in patterns) > max_twins:
            raise ConfigError(f"more than {max_twins} twins are named", fix="name fewer, or set max_twins")
        self._wanted = ", ".join(map(str, patterns))
        self.follow(*patterns)

    @property
    def twins(self) -> tuple[TwinId, ...]:
        """The twins that are followed, in the order in which they were found."""
        return tuple(self._followers())

    def __getitem__(self, twin: TwinId | str) -> TwinStatus:
        """Returns what is known of a twin.

        Raises:
            KeyError: It has not been found.
            ConfigError: It is no twin id.
        """
        return twin_status(self._followers()[TwinId.parse(twin) if isinstance(twin, str) else twin])

    def what_is_missing(self, timeout_s: float) -> SyncError:
        """Returns an error that says why no update has come for some seconds."""
        followers = list(self._followers().values())
        if not self._client.connected:
            what = "the broker does not answer any more"
        elif not any(follower.codec for follower in followers):
            what = f"no twin {self._wanted} has been published there; start one with 'twin-edge run'"
        elif not any(follower.bundle for follower in followers):
            trouble = next(follower.trouble for follower in followers if follower.codec)
            what = f"their bundles are not on the broker and nobody sends them; {trouble}"
        elif not any(follower.availability and follower.availability.online for follower in followers):
            what = f"all of the {len(followers)} twins found are offline"
        else:
            what = "twins are online and send no states"
        return SyncError(f"no update came within {timeout_s:g} s: {what}")
