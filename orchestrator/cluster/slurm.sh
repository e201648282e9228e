#!/bin/bash
# A sweep on Slurm: a head on the first node of the allocation, a worker on each other one. How to use it: docs/clusters.md
#   sbatch --nodes=2 orchestrator/cluster/slurm.sh search_spaces/ttt.yaml --preset pr549
# The store must lie on a file system that all nodes mount. Submitted again after a failure or a time limit, it goes on.
# usd_per_node_hour: 24.0
# gpus_per_node: 8
#SBATCH --job-name=fairway
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=fairway-%j.log
set -euo pipefail

export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$HOME/.ray/fairway-$SLURM_JOB_ID"
export RAY_TMPDIR="/tmp/ray-$SLURM_JOB_ID"   # short: Ray's sockets lie below it
PORT=$((20000 + SLURM_JOB_ID % 20000))

mkdir -p "$HOME/.ray"
(umask 077 && python -c "import secrets; print(secrets.token_hex(32))" > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD_IP=$(srun --nodes=1 --ntasks=1 -w "${NODES[0]}" hostname --ip-address | awk '{print $1}')

srun --overlap --nodes=1 --ntasks=1 -w "${NODES[0]}" \
    ray start --head --block --node-ip-address="$HEAD_IP" --port="$PORT" --dashboard-host=127.0.0.1 \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus=8 &
sleep 20
for NODE in "${NODES[@]:1}"; do
    srun --overlap --nodes=1 --ntasks=1 -w "$NODE" \
        ray start --block --address="$HEAD_IP:$PORT" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus=8 &
done

# The driver runs on the first node. Slurm's SIGTERM, two minutes before the time limit, ends it in order.
orchestrator sweep "$@" --address "$HEAD_IP:$PORT" --slots "${#NODES[@]}" --wait-for-nodes 300 &
DRIVER=$!
trap 'kill -TERM "$DRIVER"' TERM
STATUS=0
wait "$DRIVER" || STATUS=$?
if kill -0 "$DRIVER" 2> /dev/null; then STATUS=0; wait "$DRIVER" || STATUS=$?; fi
exit "$STATUS"
