"""The Grafana board draws the gauges that slots and drivers set, all of them, and no other."""

import json
import re
from pathlib import Path

from orchestrator.run import sweep_metrics
from trainer import slot_metrics
from trainer.spec.stage_table import STAGES

BOARD = json.loads((Path(__file__).parents[3] / "orchestrator" / "cluster" / "grafana.json").read_text())


def test_the_board_draws_every_gauge_and_no_other():
    drawn = re.findall(r"ray_(\w+)[{,]", json.dumps([BOARD["panels"], BOARD["templating"]]))
    assert set(drawn) == set(slot_metrics.GAUGES) | set(sweep_metrics.GAUGES)


def test_the_stages_are_named_by_the_numbers_that_slots_send():
    panel = next(panel for panel in BOARD["panels"] if panel["title"] == "Stage of each slot")
    names = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert [names[str(number)]["text"] for number in range(len(names))] == ["between runs", *STAGES]


def test_panels_have_places_of_their_own_and_a_source_that_can_be_chosen():
    ids = [panel["id"] for panel in BOARD["panels"]]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]}
    assert len(set(ids)) == len(ids) == len(places)
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {"${datasource}"}
