"""The tests' own protection: segments of dead processes are removed, those of living ones are not."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from tests import dds_isolation


@pytest.fixture
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dds_isolation, "SHARED_MEMORY", tmp_path)
    for name in ("fastrtps_dead", "fastrtps_alive", "fastrtps_port7410"):
        (tmp_path / name).write_bytes(b"data")
        (tmp_path / f"{name}_el").touch()
    return tmp_path


def test_only_segments_without_an_owner_are_removed(shared_memory: Path) -> None:
    names = dds_isolation.segment_names()
    assert names == {"fastrtps_dead", "fastrtps_alive"}
    owner = os.open(shared_memory / "fastrtps_alive_el", os.O_RDWR)
    fcntl.flock(owner, fcntl.LOCK_SH)
    try:
        dds_isolation.remove_orphaned_segments(names)
    finally:
        os.close(owner)
    assert dds_isolation.segment_names() == {"fastrtps_alive"}
    assert not (shared_memory / "fastrtps_dead").exists()
    assert (shared_memory / "fastrtps_alive").exists()


def test_domain_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 0))
        port = participant.getsockname()[1]
        assert not dds_isolation._port_is_free(port)
    taken = {7400 + 250 * domain + 10 for domain in range(1, 102) if domain != 17}
    monkeypatch.setattr(dds_isolation, "_port_is_free", lambda port: port not in taken)
    assert dds_isolation.free_domain_id() == 17
