#!/usr/bin/env bash
# Runs performance tests in a container, as the user who calls it; arguments are pytest's.
#   docker build --tag vllmperf --file Dockerfile .
#   ./docker-run.sh --vllmperf --vllmperf-require-gpu tests/test_vllm_performance.py
set -euo pipefail

cache=${VLLMPERF_DOCKER_CACHE:-$HOME/.cache/vllmperf-docker}
locks=${VLLMPERF_DOCKER_LOCKS:-/tmp/vllmperf-locks} # the same for all containers and runs of this host
mkdir -p "$cache"
if [ ! -d "$locks" ]; then
    mkdir -p "$locks"
    chmod 1777 "$locks"
fi

# --init: nothing is left over as a zombie. --pid=host: NVML tells which processes are on the GPU; in a name space of
# its own the plugin cannot see other users of the GPU. --shm-size: vLLM's processes talk through shared memory.
arguments=(
    --rm --init --pid=host --shm-size=8g
    --gpus "device=${VLLMPERF_DOCKER_GPU:-0}"
    --user "$(id -u):$(id -g)"
    --volume "$PWD:/work"
    --volume "$cache:/cache"
    --volume "$locks:/locks"
)
# Names of variables: their values, such as a token, stay out of the command line.
for name in HF_TOKEN VLLMPERF_KEY GITHUB_ACTIONS; do
    if [ -n "${!name:-}" ]; then arguments+=(--env "$name"); fi
done
# In a job of GitHub Actions the summary is a file outside of the repository.
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    arguments+=(--volume "$GITHUB_STEP_SUMMARY:/summary" --env GITHUB_STEP_SUMMARY=/summary --env GITHUB_WORKSPACE=/work)
fi

exec docker run "${arguments[@]}" "${VLLMPERF_DOCKER_IMAGE:-vllmperf}" "$@"
