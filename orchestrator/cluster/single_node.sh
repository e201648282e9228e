#!/bin/bash
# A rented machine of 8 GPUs, from nothing to a finished sweep. How to use it: docs/clusters.md
#   ssh MACHINE 'bash -s' < orchestrator/cluster/single_node.sh     # in a folder that holds this repository
# No `ray start` is needed: the sweep starts a Ray of its own, which listens on loopback and demands a token.
# usd_per_node_hour: 24.0
# gpus_per_node: 8
set -euo pipefail
cd "${FAIRWAY:-$HOME/fairway}"
python3.11 -m venv .venv
.venv/bin/pip install -q ".[s3]"
.venv/bin/orchestrator plan "${SPACE:-search_spaces/ttt.yaml}" --preset "${PRESET:-pr549}" --price "${PRICE:-3}"
exec .venv/bin/orchestrator sweep "${SPACE:-search_spaces/ttt.yaml}" --preset "${PRESET:-pr549}"
