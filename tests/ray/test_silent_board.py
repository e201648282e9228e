"""A board that hangs on a real local Ray: the sweep says so and ends with the line to resume, and Ray is gone."""

import signal
import subprocess
import sys

import psutil
import pytest

from tests.ray.test_road import PATIENCE_S, Sweeps, titles, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SOON = (
    "from orchestrator.run import on_ray, watch; on_ray.ANSWER_WITHIN_S = 1.0; watch.SAY_AFTER_S = 3.0; "
    "watch.STOP_AFTER_S = 8.0; from orchestrator.cli import main; main()"
)


def test_a_board_that_hangs_is_spoken_of_and_the_sweep_ends_with_the_line_to_resume(tmp_path):
    sweeps = Sweeps(tmp_path)
    driver = subprocess.Popen(
        [sys.executable, "-c", SOON, *sweeps.sweep("hung")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: any("RayTrainWorker" in title for title in titles(driver.pid)), driver)
    family = psutil.Process(driver.pid).children(recursive=True)
    (board,) = [process for process in family if process.cmdline()[:1] and "Board" in process.cmdline()[0]]
    board.send_signal(signal.SIGSTOP)
    out, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 2, out
    assert out.count("gave no answer for") == 2, out
    assert "orchestrator resume road --store hung" in out
    assert "hung/sweeps/road/ray.log" in out.replace("\n", "")
    assert "Traceback" not in out
    assert psutil.wait_procs(family, timeout=20)[1] == []
