"""A local Ray cluster for tests: a head, and two nodes with one simulated GPU each, every one a process.

Prints the address. `kill 0` on standard input ends a node with all of its processes, `kill head` the head; the end of
the input ends the cluster.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}

from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}


def main() -> None:
    # In a folder of its own: else `--ray auto` of another run would find this cluster. Ray keeps its address in `ray`.
    with tempfile.TemporaryDirectory(prefix="vt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        Path(folder, "ray").mkdir()
        serve(folder)


def serve(folder: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "temp_dir": folder, **SMALL})
    nodes = [cluster.add_node(num_cpus=1, num_gpus=1, wait=False, **SMALL) for _ in range(2)]
    print(cluster.address, flush=True)  # noqa: T201 - to the test
    for line in sys.stdin:
        which = line.split()[1]
        node = cluster.head_node if which == "head" else nodes[int(which)]
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
