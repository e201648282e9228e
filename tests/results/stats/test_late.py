"""Modules that are imported later than they are named."""

import sys
from types import ModuleType

from results.stats.late import postpone


def test_a_postponed_module_is_loaded_when_one_of_its_names_is_used():
    sys.modules.pop("wsgiref.headers", None)
    postpone("wsgiref.headers")
    module = sys.modules["wsgiref.headers"]
    from wsgiref import headers

    assert (headers is module, type(module) is ModuleType) == (True, False)
    assert headers.Headers.__name__ == "Headers"
    assert type(module) is ModuleType


def test_a_module_that_is_loaded_already_stays_as_it_is():
    loaded = sys.modules["results.stats.late"]
    postpone("results.stats.late")
    assert sys.modules["results.stats.late"] is loaded
