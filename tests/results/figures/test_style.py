"""How figures are written, whatever their words hold."""

import warnings

import pytest
from matplotlib.figure import Figure

from results.figures.style import as_svg, save


@pytest.mark.parametrize("write", [save, lambda figure, path: as_svg(figure, "one", "", "")], ids=["file", "page"])
def test_a_label_with_control_characters_is_repeated_in_no_warning(tmp_path, write):
    figure = Figure()
    figure.text(0.5, 0.5, "a\x1b[2J 漢")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write(figure, tmp_path / "figure.png")
    assert [str(one.message) for one in said] == []
