from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from r3d2_ros.harmonizer.model.variants import VARIANTS
from tests.training.small import MODEL


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower on several threads, ten times so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def small_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, MODEL.variant, MODEL)
