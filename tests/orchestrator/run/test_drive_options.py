"""Options of the driver that cannot be meant are refused before anything starts, with what to give instead."""

import socket

import pytest

from orchestrator.run.drive_options import DriveOptions
from trainer.spec.errors import UserError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inline": True}, "--inline starts no Ray"),
        ({"address": "auto"}, "ray start --metrics-export-port=8080"),
    ],
)
def test_a_port_for_metrics_is_refused_where_the_sweep_starts_no_ray_of_its_own(options, said):
    with pytest.raises(UserError, match=said):
        DriveOptions(metrics_port=8080, **options).demand_usable()


def test_a_port_for_metrics_that_is_taken_or_is_none_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 70_000):
            with pytest.raises(UserError, match=f"--metrics-port {port}: .* choose another"):
                DriveOptions(metrics_port=port).demand_usable()
