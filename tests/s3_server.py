"""A local S3 in a process of its own: `python tests/s3_server.py` prints its port and ends with its parent."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server:
    """A server that can fall silent, as a lost network does: nothing it holds is lost."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.settings = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(self._process.stdout.readline())}"}

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()  # until the process that started this is gone


if __name__ == "__main__":
    main()
