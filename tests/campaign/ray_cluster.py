"""A Ray cluster of two machines with one core each, both this one. Prints its address; ends when stdin does."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(f"address {cluster.address}", flush=True)
sys.stdin.read()
cluster.shutdown()
