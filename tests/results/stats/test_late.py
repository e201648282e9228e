"""Special functions that are imported without the package around them."""

import subprocess
import sys
import threading

from results.stats import late


def test_the_compiled_functions_come_without_their_package_and_are_the_ones_it_has_later():
    code = (
        "import sys; from results.stats.late import special; mine = special.stdtr\n"
        "print('scipy.special' in sys.modules)\n"
        "import scipy.special, scipy.stats; print(scipy.special.stdtr is mine, mine(2.0, 0.0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "0.5"]


def test_a_function_written_in_python_comes_from_the_package():
    assert float(late.special.polygamma(1, 1.0)) > 1.6


def test_beside_another_thread_the_package_is_imported_itself(monkeypatch):
    monkeypatch.setattr(late, "module_from_spec", None)  # an empty package would be made by this
    monkeypatch.delitem(sys.modules, "scipy.special", raising=False)
    monkeypatch.delitem(sys.modules, late.COMPILED, raising=False)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert late.compiled_alone() is sys.modules[late.COMPILED]
        assert sys.modules["scipy.special"].stdtr is late.compiled_alone().stdtr
    finally:
        done.set()
        thread.join()


def test_a_scipy_without_such_a_module_gives_its_functions_all_the_same(monkeypatch):
    monkeypatch.setattr(late, "COMPILED", "scipy.special._renamed")
    assert late.compiled_alone() is None
    assert float(late.LateFunctions().stdtr(2.0, 0.0)) == 0.5
