"""The node and its client as two processes: a run without pictures is no measurement."""

from __future__ import annotations

import pytest

from r3d2_ros.bench.harmonizer.faults import MeasurementError
from r3d2_ros.bench.transport import run_together

WAIT = ["-c", "import time; time.sleep(60)"]
END = ["-c", "raise SystemExit(3)"]
NOTHING = ["-c", "print('{\"lost\": 0, \"first_image_s\": null}')"]
ONE = ["-c", "print('noise'); print('{\"lost\": 0, \"first_image_s\": 1.5}')"]


def test_the_last_line_of_the_client_is_the_result() -> None:
    assert run_together(WAIT, ONE) == {"lost": 0, "first_image_s": 1.5}


@pytest.mark.parametrize(
    ("node", "client", "message"),
    [
        (END, WAIT, "the node ended with exit code 3 before the client did"),
        (WAIT, END, "the client ended with exit code 3"),
        (WAIT, NOTHING, "no image"),
    ],
)
def test_what_did_not_work_is_no_measurement(node: list[str], client: list[str], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        run_together(node, client)
