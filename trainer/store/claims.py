"""Claims in a bucket: exclusive rights to work on something, without synchronised clocks.

    PLACE/00000003    {"who": "process 12 on HOST", "mirror": "...", "beat": 123}; the heartbeat changes `beat`

To claim, a process creates the next number, which succeeds for one process only; it then lists the place again and
gives the claim up if an earlier one is still alive. A claim has expired when its content did not change for
`EXPIRES_AFTER_S` by the observer's own clock. A process that was only suspended can therefore lose its claim while it
still works: the conditional write of a stage's manifest decides which result counts, not the claim.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from trainer.spec.errors import StoreUnreachable
from trainer.store.bucket import Bucket

HEARTBEAT_EVERY_S = 5.0
EXPIRES_AFTER_S = 30.0


class Heartbeat(BaseModel):
    """Content of a claim's object."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    who: str
    """Process and host of the holder, for people."""
    mirror: str
    """Identifier of the holder's mirror."""
    beat: int
    """A number that each heartbeat changes; only its change is used, never its value."""


class BucketClaims:
    """Claims of one mirror, and its observations of claims of other mirrors.

    mirror:  identifies this machine's folder; two processes of one mirror exclude each other by a local lock first
    """

    def __init__(self, bucket: Bucket, mirror: str):
        self._bucket, self._mirror = bucket, mirror
        self._observed: dict[str, tuple[bytes, float]] = {}
        self._seen_changing: set[str] = set()

    def acquire(self, place: str) -> HeartbeatClaim | None:
        """The claim, which the caller releases; None while another process holds one that has not expired."""
        expired = sorted(self._bucket.list(place))
        if self._holders(expired):
            return None
        number = int(expired[-1].rsplit("/", 1)[1]) + 1 if expired else 0
        claim = HeartbeatClaim(self._bucket, f"{place}/{number:08}", self._mirror, expired)
        if not claim.begin():
            return None
        if self._holders([key for key in self._bucket.list(place) if key not in (claim.key, *expired)]):
            claim.release()
            return None
        return claim

    def holder(self, place: str) -> str:
        """Process and host that hold the place now; empty if none does."""
        return next(iter(self._holders(sorted(self._bucket.list(place)))), "")

    def heartbeat_seen(self, place: str) -> bool:
        """Whether a claim of the place changed between two looks of this object, so its holder is certainly alive."""
        return any(key.startswith(f"{place}/") for key in self._seen_changing)

    def _holders(self, keys: Sequence[str]) -> list[str]:
        """Holders of those of the claims that have not expired."""
        parsed = [self._unexpired(key, content) for key, content in self._bucket.read_all(keys).items()]
        return [heartbeat.who for heartbeat in parsed if heartbeat]

    def _unexpired(self, key: str, content: bytes) -> Heartbeat | None:
        """The claim's heartbeat, or None if the claim has expired or cannot be parsed.

        A claim of this very mirror counts as expired: while its holder lives, its local lock keeps others from asking.
        """
        try:
            heartbeat = Heartbeat.model_validate_json(content)
        except ValueError:
            return None
        if heartbeat.mirror == self._mirror:
            return None
        last_content, since_s = self._observed.get(key, (b"", 0.0))
        if last_content != content:
            if last_content:
                self._seen_changing.add(key)
            self._observed[key] = content, time.monotonic()
            return heartbeat
        return None if time.monotonic() - since_s > EXPIRES_AFTER_S else heartbeat


class HeartbeatClaim:
    """A claim whose object is rewritten regularly by a background thread, as a sign that its holder is alive.

    expired:  keys of expired claims of the same place, which `release` deletes too
    """

    def __init__(self, bucket: Bucket, key: str, mirror: str, expired: Sequence[str]):
        self.key = key
        self._bucket, self._mirror, self._expired = bucket, mirror, expired
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="claim", daemon=True)

    def begin(self) -> bool:
        """Creates the object and starts the heartbeat. Returns False if another process created it first."""
        if not self._bucket.create(self.key, self._content()):
            return False
        self._thread.start()
        return True

    def release(self) -> None:
        """Ends the heartbeat and deletes the object; if the bucket cannot be reached, the claim expires instead."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(StoreUnreachable):
            self._bucket.remove([*self._expired, self.key], retry=False)

    def _keep_beating(self) -> None:
        while not self._released.wait(HEARTBEAT_EVERY_S):
            with contextlib.suppress(StoreUnreachable):  # a few missed heartbeats do not expire the claim
                self._bucket.put(self.key, self._content(), retry=False)

    def _content(self) -> bytes:
        who = f"process {os.getpid()} on {socket.gethostname()}"
        return Heartbeat(who=who, mirror=self._mirror, beat=time.time_ns()).model_dump_json().encode()
