"""Claims in a bucket: who is at work on something that must not be done twice, without clocks that agree.

    PLACE/00000003    who claimed, and a beat that changes while they live

The next number is created only if nobody has it, so of several at once one succeeds; whoever did looks again, and
steps back should an older claim live after all. A claim whose beat stood still for `EXPIRES_AFTER_S` of the watcher's
own clock is of a dead claimer. A claimer that was only paused may thus be overtaken: publishing decides, not the claim.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Sequence

from trainer.spec.errors import StoreUnreachable
from trainer.store.bucket import Bucket

HEARTBEAT_EVERY_S = 5.0
EXPIRES_AFTER_S = 30.0


class BucketClaims:
    """Makes claims for one mirror, and watches those of others."""

    def __init__(self, bucket: Bucket, mirror: str):
        """mirror: tells this machine's folder from others; two of its processes never ask for one place at once."""
        self._bucket, self._mirror = bucket, mirror
        self._watched: dict[str, tuple[bytes, float]] = {}
        self._beating: set[str] = set()

    def acquire(self, place: str) -> HeartbeatClaim | None:
        """The claim, to be released; None while somebody else at work holds one."""
        dead = sorted(self._bucket.list(place))
        if self._alive(dead):
            return None
        number = int(dead[-1].rsplit("/", 1)[1]) + 1 if dead else 0
        mine = HeartbeatClaim(self._bucket, f"{place}/{number:08}", self._mirror, dead)
        if not mine.begin():
            return None
        if self._alive([key for key in self._bucket.list(place) if key not in (mine.key, *dead)]):
            mine.release()
            return None
        return mine

    def holder(self, place: str) -> str:
        """Who holds the place now, as people name them; empty if nobody does."""
        return next(iter(self._alive(sorted(self._bucket.list(place)))), "")

    def heartbeat_seen(self, place: str) -> bool:
        """Whether a claim changed while this watched: its holder lives for sure."""
        return any(key.startswith(f"{place}/") for key in self._beating)

    def _alive(self, keys: Sequence[str]) -> list[str]:
        """Who of these claimers still lives. One of this very mirror does not: its lock would have kept us away."""
        beats = {key: beat for key, beat in self._bucket.read_all(keys).items() if not self._is_dead(key, beat)}
        return [str(json.loads(beat)["who"]) for beat in beats.values()]

    def _is_dead(self, key: str, beat: bytes) -> bool:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if json.loads(beat)["mirror"] != self._mirror:
                seen, since_s = self._watched.get(key, (b"", 0.0))
                if seen != beat:
                    if seen:
                        self._beating.add(key)
                    self._watched[key] = beat, time.monotonic()
                    return False
                return time.monotonic() - since_s > EXPIRES_AFTER_S
        return True


class HeartbeatClaim:
    """A claim that tells the others, from a thread of its own, that its holder lives."""

    def __init__(self, bucket: Bucket, key: str, mirror: str, outlived: Sequence[str]):
        self.key = key
        self._bucket, self._mirror, self._outlived = bucket, mirror, outlived
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)

    def begin(self) -> bool:
        """Whether nobody else was faster."""
        if not self._bucket.create(self.key, self._content()):
            return False
        self._thread.start()
        return True

    def release(self) -> None:
        """Lets others have it; if the bucket does not hear of it, the beat has stopped all the same."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(StoreUnreachable):
            self._bucket.remove([*self._outlived, self.key], patient=False)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_EVERY_S):
            with contextlib.suppress(StoreUnreachable):  # the others wait a while before they call it dead
                self._bucket.put(self.key, self._content(), patient=False)

    def _content(self) -> bytes:
        who = f"process {os.getpid()} on {socket.gethostname()}"
        return json.dumps({"who": who, "mirror": self._mirror, "beat": time.time_ns()}).encode()
