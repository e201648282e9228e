"""A Ray that does not come up is a message, not a hang."""

import os
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from orchestrator.run import ray_session
from tests.separate_nodes import free_port
from trainer.spec.errors import UserError

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_local_ray_offers_the_cpus_that_this_process_may_use_and_metrics_at_the_port_that_is_asked():
    before, port = os.sched_getaffinity(0), free_port()
    os.sched_setaffinity(0, {min(before)})
    try:
        with ray_session.ray_session(None, port):
            import ray  # only now: it reads the settings of its token when it is imported

            assert ray.cluster_resources()["CPU"] == 1
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
                assert page.status == 200
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture
def mute_address() -> Iterator[str]:
    """Somebody who takes every call and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take_calls() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take_calls, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_that_never_answers_ends_in_a_message(mute_address, monkeypatch):
    monkeypatch.setattr(ray_session, "START_LIMIT_S", 2.0)
    expected = f"--address {mute_address}.*did not come up within 2 s"
    with pytest.raises(UserError, match=expected), ray_session.ray_session(mute_address):
        pass
