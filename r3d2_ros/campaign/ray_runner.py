"""Tasks over Ray: it finds the machine for each, by the cores and the share of a GPU that the task asks for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from typing import Any

from r3d2_ros.campaign.runner import Say
from r3d2_ros.campaign.task import Ended, Task
from r3d2_ros.campaign.work import run_task
from r3d2_ros.errors import InputError, MissingPackageError

CONNECT_S = 10.0


class RayEngine:
    """The workers of a Ray cluster. The campaign's folder, its inputs and r3d2_ros are the same on all its machines.

    address  of the cluster, or 'auto': the one of this machine
    InputError when there is none, MissingPackageError without Ray.
    """

    def __init__(self, address: str, tasks: Sequence[Task], say: Say) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingPackageError("ray", "--ray", "pip install 'r3d2_ros[ray]'") from error
        _check_reachable(address)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(" ".join(str(error).split())) from error
        finally:
            for number, handler in handlers.items():  # Ray puts its own in their place, which end the process
                signal.signal(number, handler)
        self._ray: Any = ray
        self._refs: dict[Any, Task] = {}
        nodes = [node for node in ray.nodes() if node["Alive"]]
        self.title = f"ray, {len(nodes)} nodes"
        for threads, gpus in sorted({(task.threads, task.gpus) for task in tasks}):
            if not any(_has(node["Resources"], threads, gpus) for node in nodes):
                say(f"no machine of the cluster has {threads} CPUs and {gpus:g} GPUs: such tasks wait until one joins")

    def start(self, task: Task) -> bool:
        remote = self._ray.remote(_run_in_worker).options(
            num_cpus=task.threads, num_gpus=task.gpus, max_retries=0, name=task.name
        )
        self._refs[remote.remote(task)] = task
        return True

    def ended(self, timeout_s: float) -> list[tuple[Task, Ended]]:
        ready, _ = self._ray.wait(list(self._refs), timeout=timeout_s)
        return [(self._refs.pop(ref), self._result(ref)) for ref in ready]

    def _result(self, ref: Any) -> Ended:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.TaskCancelledError:
            return Ended("stopped", "interrupted")
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().split("\n")[0]
            return Ended("failed", f"the Ray worker failed: {type(error).__name__}: {first}")

    def stop(self) -> None:
        for ref in self._refs:
            self._ray.cancel(ref)

    def close(self) -> None:
        self._ray.shutdown()


def _run_in_worker(task: Task) -> Ended:
    """The task in a worker of the cluster. Ray ends it by SIGINT, which workers ignore whose cluster was started in the
    background of a script."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run_task(task)


def _check_reachable(address: str) -> None:
    """InputError when nothing answers at HOST:PORT, for which Ray itself waits for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(f"{address}: {error}") from error


def _no_cluster(got: str) -> InputError:
    return InputError("--ray", "the address of a Ray cluster that is running", got, "Start one: ray start --head")


def _has(resources: dict[str, float], threads: int, gpus: float) -> bool:
    return resources.get("CPU", 0) >= threads and resources.get("GPU", 0) >= gpus
