"""The cluster files that ship: Ray's own schema takes them, each asks for a token, and none trains on the head."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.cluster import launcher
from orchestrator.cluster.launcher import check_launcher_file, make_token, placeholders
from orchestrator.cluster.price import read_price
from trainer.spec.errors import UserError
from trainer.spec.yaml_text import YamlText

FILES = Path(__file__).parents[3] / "orchestrator" / "cluster"
LAUNCHER = ("aws.yaml", "gcp.yaml", "hosts.yaml")
PRICED = (*LAUNCHER, "kuberay_cluster.yaml", "kuberay_job.yaml", "slurm.sh", "skypilot.yaml", "single_node.sh")


def tree(name: str) -> dict[str, Any]:
    return YamlText((FILES / name).read_text(encoding="utf-8"), name).value


def schema() -> dict[str, Any]:
    from importlib.util import find_spec

    ray = Path(find_spec("ray").origin).parent  # its path alone: nothing of Ray is imported
    return json.loads((ray / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_s_own_schema_takes_the_file(name):
    jsonschema.validate(tree(name), schema())


@pytest.mark.parametrize("name", LAUNCHER)
def test_every_node_of_a_launcher_file_starts_ray_with_the_shared_token_and_a_dashboard_on_loopback(name):
    file = tree(name)
    assert file["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token" in command for command in file["setup_commands"])
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [command for command in file[key] if "ray start" in command]
        assert start.startswith(". ~/.fairway_env;")
    assert "--dashboard-host=127.0.0.1" in " ".join(file["head_start_ray_commands"])


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_in_a_cloud_the_head_takes_no_runs_is_not_preemptible_and_gpu_nodes_come_and_go(name):
    file = tree(name)
    head, nodes = (file["available_node_types"][kind] for kind in ("head", "h100x8"))
    assert file["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in " ".join(file["head_start_ray_commands"])
    assert not {"InstanceMarketOptions", "scheduling"} & set(head["node_config"])
    assert (nodes["min_workers"], nodes["resources"]["GPU"]) == (0, 8)
    assert nodes["resources"]["CPU"] >= 8  # a worker takes a CPU and a GPU
    assert file["idle_timeout_minutes"] <= 10


CLUSTER_FIELDS = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
}  # fmt: skip
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
JOB_FIELDS = {
    "entrypoint", "submissionMode", "backoffLimit", "activeDeadlineSeconds", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "rayClusterSpec",
}  # fmt: skip
POD_FIELDS = {"nodeSelector", "tolerations", "containers", "volumes"}
CONTAINER_FIELDS = {"name", "image", "resources", "volumeMounts"}


def cluster_specs() -> list[dict[str, Any]]:
    return [tree("kuberay_cluster.yaml")["spec"], tree("kuberay_job.yaml")["spec"]["rayClusterSpec"]]


def test_manifests_name_only_fields_of_kuberay_s_documented_interface():
    for name, kind in (("kuberay_cluster.yaml", "RayCluster"), ("kuberay_job.yaml", "RayJob")):
        assert (tree(name)["apiVersion"], tree(name)["kind"]) == ("ray.io/v1", kind)
    assert set(tree("kuberay_job.yaml")["spec"]) <= JOB_FIELDS
    for spec in cluster_specs():
        assert set(spec) <= CLUSTER_FIELDS
        assert set(spec["autoscalerOptions"]) <= {"idleTimeoutSeconds", "upscalingMode"}
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            assert set(group) <= GROUP_FIELDS
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())
            pod = group["template"]["spec"]
            assert set(pod) <= POD_FIELDS
            assert all(set(container) <= CONTAINER_FIELDS for container in pod["containers"])


def test_on_kubernetes_there_is_a_token_8_gpus_a_node_shared_memory_and_an_end():
    cluster, of_job = cluster_specs()
    assert cluster == of_job
    (nodes,) = cluster["workerGroupSpecs"]
    (container,) = nodes["template"]["spec"]["containers"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert (nodes["replicas"], nodes["minReplicas"]) == (0, 0)
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert container["volumeMounts"][0]["mountPath"] == "/dev/shm"
    assert nodes["template"]["spec"]["volumes"][0]["emptyDir"]["medium"] == "Memory"
    job = tree("kuberay_job.yaml")["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] > 0
    assert job["activeDeadlineSeconds"] > 0


def test_versions_in_the_files_are_those_that_are_tested():
    from importlib.metadata import version

    assert {spec["rayVersion"] for spec in cluster_specs()} == {version("ray")}


@pytest.mark.parametrize("name", ["slurm.sh", "single_node.sh"])
def test_scripts_are_valid_bash(name):
    done = subprocess.run(["bash", "-n", FILES / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_slurm_and_skypilot_start_ray_with_a_token_that_no_file_and_no_command_line_holds():
    slurm, sky = (FILES / "slurm.sh").read_text(), tree("skypilot.yaml")
    assert "export RAY_AUTH_MODE=token" in slurm
    assert "umask 077" in slurm
    assert "RAY_AUTH_TOKEN=" not in slurm
    assert sky["secrets"] == {"RAY_AUTH_TOKEN": None}
    assert "RAY_AUTH_MODE=token" in sky["run"]
    assert sky["resources"] | {"accelerators": "H100:8", "use_spot": False} == sky["resources"]
    assert sky["resources"]["autostop"]["down"] is True


def test_commands_in_the_files_exist_with_their_options():
    import shlex

    import typer

    from orchestrator.commands.app import app

    command = typer.main.get_command(app).commands["sweep"]
    text = (
        tree("kuberay_job.yaml")["spec"]["entrypoint"],
        (FILES / "slurm.sh").read_text(),
        tree("skypilot.yaml")["run"],
    )
    lines = [
        line for part in text for line in re.findall(r"^ *(orchestrator sweep .+)", part.replace("\\\n", ""), re.M)
    ]
    assert len(lines) == 3
    for line in lines:
        words = [re.sub(r"\$\{#NODES\[@\]\}|\$SKYPILOT_NUM_NODES", "1", word) for word in shlex.split(line)[2:]]
        command.make_context(line, [word for word in words if word != "&"])


@pytest.mark.parametrize("name", PRICED)
def test_each_file_says_what_a_node_costs(name):
    price = read_price(FILES / name)
    assert price.gpus_per_node == 8
    assert 1 < price.usd_per_gpu_hour < 20


def test_a_file_without_a_price_says_which_field_is_missing(tmp_path):
    (tmp_path / "mine.yaml").write_text("metadata: {usd_per_node_hour: 20}")
    with pytest.raises(UserError, match="no gpus_per_node; add it"):
        read_price(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="No such file"):
        read_price(tmp_path / "none.yaml")


def test_words_in_capitals_must_be_replaced_before_a_cluster_is_started(tmp_path):
    assert placeholders(tree("hosts.yaml")) == ["HEAD_IP", "NODE_IP", "USER"]
    assert placeholders(tree("gcp.yaml"))[:2] == ["PROJECT_ID", "IMAGE_WITH_PYTHON_3_11"]
    with pytest.raises(UserError, match="put your own values in place of: AMI_WITH_PYTHON_3_11"):
        check_launcher_file(FILES / "aws.yaml")
    text = (FILES / "hosts.yaml").read_text().replace("HEAD_IP", "10.0.0.1").replace("[NODE_IP]", "[]")
    (tmp_path / "mine.yaml").write_text(text.replace("ssh_user: USER", "ssh_user: me"))
    check_launcher_file(tmp_path / "mine.yaml")


def test_a_file_that_asks_for_no_token_is_refused_with_the_reason(tmp_path):
    (tmp_path / "open.yaml").write_text(
        "cluster_name: open\nprovider: {type: local, head_ip: 10.0.0.1, worker_ips: []}\n"
        "head_start_ray_commands: [ray start --head]\nworker_start_ray_commands: []\n"
    )
    with pytest.raises(UserError, match="head_start_ray_commands starts Ray without a token.*run code there"):
        check_launcher_file(tmp_path / "open.yaml")
    with pytest.raises(UserError, match="is no file of Ray's cluster launcher"):
        check_launcher_file(FILES / "kuberay_job.yaml")


def test_the_token_is_made_once_and_only_this_user_can_read_it(tmp_path):
    path = tmp_path / "ray" / "auth_token"
    assert make_token(path)
    token = path.read_text()
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert not make_token(path)
    assert path.read_text() == token


def test_up_is_ray_s_own_launcher(tmp_path, monkeypatch):
    text = (FILES / "hosts.yaml").read_text().replace("HEAD_IP", "10.0.0.1").replace("NODE_IP", "10.0.0.2")
    (tmp_path / "mine.yaml").write_text(text.replace("ssh_user: USER", "ssh_user: me"))
    program = tmp_path / "ray"  # stands for Ray's command line
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(launcher, "TOKEN", tmp_path / "auth_token")
    monkeypatch.setattr(launcher, "ray_program", lambda: str(program))
    assert launcher.launch("up", tmp_path / "mine.yaml", yes=True) == 3
    assert (tmp_path / "said").read_text().split() == ["up", str(tmp_path / "mine.yaml"), "--yes"]
    assert (tmp_path / "auth_token").exists()


def test_a_plan_takes_its_price_from_a_cluster_file_and_refuses_two_prices():
    from orchestrator.commands.sweep import price_of

    assert price_of(FILES / "slurm.sh", None) == 3.0
    with pytest.raises(UserError, match="--price 2 and --cluster .*: two prices"):
        price_of(FILES / "slurm.sh", 2.0)
