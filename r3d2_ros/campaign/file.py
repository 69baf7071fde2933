"""Campaign files (YAML): what is to be done, validated before anything starts. `docs/campaigns.md` shows every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r3d2_ros.campaign.keys import Campaign, Kind, beside
from r3d2_ros.campaign.replay_file import ReplayCampaignKeys, replay_campaign
from r3d2_ros.errors import InputError
from r3d2_ros.resources import user_path
from r3d2_ros.schema import load_yaml, validate


def load_campaign(source: str | Path) -> Campaign:
    """The campaign of a file. Relative paths are relative to it. InputErrors: every fault, with file and key."""
    path, kind, data = _read(source)
    if kind == "scenario":
        # Here, because replays need nothing of what runs scenarios.
        from r3d2_ros.campaign.scenario_file import ScenarioCampaignKeys, scenario_campaign

        return scenario_campaign(path, validate(ScenarioCampaignKeys, data, str(path)))
    return replay_campaign(path, validate(ReplayCampaignKeys, data, str(path)))


def results_folder(source: str | Path) -> Path:
    """`out` of a campaign file; what the tasks read is not looked at. InputError(s) for a file that is none."""
    path, _, data = _read(source)
    out = data.get("out") if isinstance(data, dict) else None
    if not isinstance(out, str) or not out:
        raise InputError(f"{path}: out", "the folder of the results", repr(out))
    return beside(path, out)


def _read(source: str | Path) -> tuple[Path, Kind, Any]:
    """Path, kind and contents of a file."""
    path = user_path(source, "campaign").absolute()
    data = load_yaml(path)
    is_scenarios = isinstance(data, dict) and "scenarios" in data
    if is_scenarios and "bags" in data:
        raise InputError(str(path), "either 'bags' or 'scenarios'", "both", "Make a campaign of each")
    return path, "scenario" if is_scenarios else "replay", data
