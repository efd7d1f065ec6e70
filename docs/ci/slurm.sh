#!/usr/bin/env bash
# Performance tests as a batch job on one GPU. Submit it with --wait, so that sbatch ends with the status of the tests:
#   sbatch --wait slurm.sh || echo "the gate is red: status $?"
# Choose a partition whose nodes have one kind of GPU: a baseline counts for the GPU that it was recorded on.
#SBATCH --job-name=vllmperf
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=128G
#SBATCH --time=01:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=vllmperf-%j.log
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:-.}"
folder=vllmperf-${SLURM_JOB_ID:-local}
export HF_HOME=${HF_HOME:-$HOME/.cache/huggingface} # on a file system of all nodes
export VLLMPERF_LOCKS=${VLLMPERF_LOCKS:-/tmp/vllmperf-locks} # on the node: other jobs there lease its other GPUs

# Two minutes before its time is over the job gets SIGTERM: pytest then ends its engines and writes what it has.
pid=
stop=
trap 'stop=yes; if [ -n "$pid" ]; then kill -TERM "$pid"; fi' TERM

.venv/bin/pytest --vllmperf --vllmperf-require-gpu tests/test_vllm_performance.py \
    --junitxml="$folder/junit.xml" --vllmperf-json="$folder/run.json" \
    --vllmperf-report="$folder/report.md" --vllmperf-report="$folder/report.html" &
pid=$!
if [ -n "$stop" ]; then kill -TERM "$pid"; fi # the signal came before the process had its number

status=0
wait "$pid" || status=$?
if kill -0 "$pid" 2> /dev/null; then # the signal has ended the wait, not pytest
    status=0
    wait "$pid" || status=$?
fi
exit "$status"
