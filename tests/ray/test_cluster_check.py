"""`cluster check`, the token and the exporter on a real head with dashboard and client port, and three raylets."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ray.test_cluster import BLIND

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
TOKEN = "cd" * 32
CHECK = [sys.executable, "-m", "orchestrator", "cluster", "check"]
PATIENCE_S = 120
PEER = """
import ray
ray.init("ray://127.0.0.1:{port}")
print("let in", ray.nodes())
"""
GAUGE = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
def slot():
    from trainer.slot_metrics import SlotMetrics
    from trainer.spec.messages import Progress
    metrics = SlotMetrics(3, "sound", [])
    for _ in range(60):
        metrics.completed(Progress("a-s1", "train", 0.5, "", 1234.5))
        time.sleep(1)

ray.get(slot.options(resources={"sound": 1}).remote())
"""


def free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """A head with a token, one sound node, one that sees another store and one with other code."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "sitecustomize.py").write_text(BLIND)
    shutil.copytree(ROOT / "trainer", folder / "other" / "trainer", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "other" / "trainer" / "ranks.py").open("a").write("\n# changed\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")  # before Ray is imported, which reads it once
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "node_name": "head", "include_dashboard": True, "dashboard_port": free_port()}
        made = Cluster(initialize_head=True, head_node_args=head | {"ray_client_server_port": free_port()})
        made.add_node(num_cpus=1, node_name="sound", resources={"sound": 1})
        with pytest.MonkeyPatch.context() as of_node:
            of_node.setenv("FAIRWAY_TEST_BLIND", "1")
            made.add_node(num_cpus=1, node_name="blind")
        with pytest.MonkeyPatch.context() as of_node:
            of_node.setenv("PYTHONPATH", os.pathsep.join([str(folder / "other"), str(ROOT)]))
            made.add_node(num_cpus=1, node_name="changed")
        made.ports = head["dashboard_port"], made.head_node._ray_params.ray_client_server_port
        yield made
        made.shutdown()


def checked(cluster, folder: Path, *words: str, width: int = 120) -> subprocess.CompletedProcess:
    variables = os.environ | {"COLUMNS": str(width)}
    command = [*CHECK, "--address", cluster.address, *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE_S * 2)


def test_each_node_gets_its_row_and_each_fault_its_remedy(cluster, tmp_path):
    done = checked(cluster, tmp_path, "--format", "json")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row["node"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"head", "sound", "blind", "changed"}
    faults = {name: [fault for fault in row["faults"] if "are free" not in fault] for name, row in rows.items()}
    assert faults["sound"] == faults["head"] == []
    assert [fault.partition(",")[0] for fault in faults["blind"]] == ["it does not see the store of this sweep"]
    assert [fault.partition(";")[0] for fault in faults["changed"]] == [
        "it runs other code of this package than the driver"
    ]
    assert rows["sound"]["write_bytes_per_s"] > 0
    assert all(abs(row["clock_s"]) < 1 for row in rows.values())  # all on this very machine


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal_and_breaks_no_word(cluster, tmp_path, width):
    said = checked(cluster, tmp_path, width=width).stdout
    print(said)
    table = said.partition("blind: it does")[0].splitlines()
    assert max(map(len, table)) <= width
    assert [line.split()[0] for line in table] == ["node", "blind", "changed", "head", "sound"]
    assert not any("…" in line for line in table)
    assert "changed: it runs other code of this package than the driver" in said


def asked(port: int, path: str, token: str = "", content: bytes | None = None) -> tuple[int, str]:
    """Status and body of a request to the dashboard."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_a_peer_without_the_token_can_neither_list_nor_submit_jobs_nor_connect(cluster, tmp_path):
    dashboard, client = cluster.ports
    job = json.dumps({"entrypoint": f"touch {tmp_path / 'ran'}"}).encode()
    for token in ("", "ef" * 32):
        for path, content in (("/api/jobs/", None), ("/api/jobs/", job), ("/api/v0/actors", None)):
            status, said = asked(dashboard, path, token, content)
            assert status in (401, 403), (path, status, said)
    status, said = asked(dashboard, "/api/jobs/", TOKEN)
    assert (status, "touch" in said) == (200, False)
    for variables in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ef" * 32}):
        known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        peer = subprocess.run(
            [sys.executable, "-c", PEER.format(port=client)], env=known | {"HOME": str(tmp_path)} | variables,
            capture_output=True, text=True, timeout=PATIENCE_S * 2,
        )  # fmt: skip
        assert peer.returncode != 0
        assert "let in" not in peer.stdout
    assert not (tmp_path / "ran").exists()


def test_the_gauges_of_a_slot_come_out_of_rays_exporter(cluster, tmp_path):
    (tmp_path / "gauge.py").write_text(GAUGE)
    slot = subprocess.Popen([sys.executable, "gauge.py", cluster.address], cwd=tmp_path)
    try:
        ports = [node["MetricsExportPort"] for node in nodes_of(cluster, tmp_path)]
        wanted, end, found = "ray_fairway_slot_tokens_per_s", time.monotonic() + PATIENCE_S, []
        while not found and time.monotonic() < end:
            time.sleep(1)
            lines = [line for port in ports for line in asked(port, "/metrics", TOKEN)[1].splitlines()]
            found = [line for line in lines if line.startswith(wanted)]
        assert 'machine="sound"' in found[0]
        assert 'slot="3"' in found[0]
        assert found[0].endswith(" 1234.5")
    finally:
        slot.kill()


def nodes_of(cluster, folder: Path) -> list[dict[str, Any]]:
    code = f"import json, ray; ray.init('{cluster.address}', log_to_driver=False); print(json.dumps(ray.nodes()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    return [node for node in json.loads(done.stdout) if node["Alive"]]
