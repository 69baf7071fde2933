"""Writes docs/messages.md from the message files, whose comments are the contract."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "messages.md"
ORDER = ("FrameSet", "CameraStatus", "ActorArray", "Actor", "VehicleCommand")

INTRODUCTION = """\
# Messages

Written by `scripts/messages_page.py` from the files in `msg/`. Quaternions are x, y, z, w as in every ROS message;
lengths are in metres. The package is `r3d2_ros`, so the first one is `r3d2_ros/msg/FrameSet`.
"""


def page() -> str:
    """The whole page as Markdown."""
    sections = [INTRODUCTION]
    for name in ORDER:
        text = (ROOT / "msg" / f"{name}.msg").read_text(encoding="utf-8").strip()
        summary, _, body = text.partition("\n")
        sections.append(f"## {name}\n\n{summary.removeprefix('# ')}\n\n```\n{body.strip()}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
