"""What a checkpoint says of the data that it was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.cli import train as command
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import check_commercial, load_checkpoint, load_config
from r3d2_ros.harmonizer.model.config import Licence, ModelConfig
from r3d2_ros.harmonizer.model.random_weights import RANDOM_LICENCE, is_random
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.training.config import load_train_config
from r3d2_ros.training.sources import open_datasets, with_origin
from r3d2_ros.training.train import train
from tests.training.small import MODEL, StopAfter, config, run, write_pairs

STREETS = Licence(name="Apache-2.0", source="r3d2_ros, procedural streets", commercial=True)


def of_kind(folder: Path, kind: str) -> Path:
    """A dataset whose dataset.json says so."""
    write_pairs(folder, train=2, val=0)
    made = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**made, "kind": kind}))
    return folder


def told(tmp_path: Path, *folders: Path, begin: ModelConfig = MODEL, **changes: Any) -> tuple[Licence, ...]:
    settings = config(tmp_path, pairs=tmp_path, data={"folders": [str(folder) for folder in folders]}, **changes)
    return with_origin(begin, settings, open_datasets(settings)).licences


def test_the_shipped_recipe_records_what_the_shipped_model_does(tmp_path: Path) -> None:
    """Three procedural datasets, one licence; going on from the shipped model adds none."""
    recipe = load_train_config(command.config_file("nano"))
    streets = [of_kind(tmp_path / f"pairs{n}", "procedural") for n in (1, 2, 3)]
    shipped = load_config(model_folder("nano", "checkpoint"))
    assert told(tmp_path, *streets, licences=list(recipe.licences)) == shipped.licences == (STREETS,)
    assert told(tmp_path, *streets, begin=shipped, licences=list(recipe.licences)) == (STREETS,)


def test_other_data_in_the_shipped_recipe_are_of_unknown_licence(tmp_path: Path) -> None:
    recipe = load_train_config(command.config_file("nano"))
    shipped = load_config(model_folder("nano", "checkpoint"))
    recorded = of_kind(tmp_path / "waymo_pairs", "recorded")
    found = told(tmp_path, recorded, begin=shipped, licences=list(recipe.licences))
    assert found == (STREETS, Licence(name="not stated", source="dataset waymo_pairs", commercial=False))
    with pytest.raises(InputError, match="got 'not stated' of dataset waymo_pairs"):
        check_commercial(found, where="here")


def test_a_licence_goes_with_the_dataset_that_it_names(tmp_path: Path) -> None:
    """One that names none of them, as that of the streets in an old recipe, says nothing of the second."""
    one, two = of_kind(tmp_path / "one", "recorded"), of_kind(tmp_path / "two", "recorded")
    texts = ["Own;one, drives of June;commercial", "Apache-2.0;r3d2_ros, procedural streets;commercial"]
    assert told(tmp_path, one, two, licences=texts) == (
        Licence(name="Own", source="one, drives of June", commercial=True),
        STREETS,
        Licence(name="not stated", source="dataset two", commercial=False),
    )
    both = ["Own;one;commercial", "CC-BY-NC-4.0;two;non-commercial"]
    assert [licence.name for licence in told(tmp_path, one, two, licences=both)] == ["Own", "CC-BY-NC-4.0"]


def test_a_licence_that_names_two_datasets_is_refused(tmp_path: Path) -> None:
    """The folders' own names are the same: one of them may be of other terms. Of procedural ones nothing is asked."""
    june, may = of_kind(tmp_path / "june" / "pairs", "recorded"), of_kind(tmp_path / "may" / "pairs", "recorded")
    with pytest.raises(InputError, match="licences: expected one dataset in a folder 'pairs', .*june/pairs and .*may"):
        told(tmp_path, june, may, licences=["Own;pairs, drives of June;commercial"])
    assert [licence.name for licence in told(tmp_path, june, may)] == ["not stated"]
    streets = of_kind(tmp_path / "streets" / "pairs", "procedural")
    assert told(tmp_path, june, streets, licences=["Own;pairs;commercial"])[1] == STREETS


def test_a_licence_that_names_no_dataset_is_refused(tmp_path: Path) -> None:
    """Recorded, it would be a claim about data that nobody has named."""
    one, two = of_kind(tmp_path / "june_pairs", "recorded"), of_kind(tmp_path / "may_pairs", "recorded")
    expected = "name of a dataset's folder, one of june_pairs, may_pairs, got 'jun_pairs'. Did you mean 'june_pairs'"
    with pytest.raises(InputError, match=f"licences: .*{expected}"):
        told(tmp_path, one, two, licences=["Own;jun_pairs, drives of June;commercial", "Own;may_pairs;commercial"])


def test_a_dataset_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", train=2, val=0)
    (tmp_path / "link").symlink_to(pairs)
    for again in (pairs, pairs / ".." / "pairs", tmp_path / "link"):
        settings = config(tmp_path, pairs=pairs, data={"folders": [str(pairs), str(again)]})
        with pytest.raises(InputError, match="data.folders: expected each dataset once, got '.*pairs' and again"):
            open_datasets(settings)


def test_a_sequence_is_in_one_split_of_all_datasets(tmp_path: Path) -> None:
    """Else what is looked at was trained on."""
    one, two = write_pairs(tmp_path / "one", train=2, val=0), write_pairs(tmp_path / "two", train=2, val=1)
    settings = config(tmp_path, pairs=one, data={"folders": [str(one), str(two)]})
    assert len(open_datasets(settings)) == 2
    path = two / "val" / "val_000" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sequence": "train_000"}))
    (two / "train" / "train_000").rename(two / "away")
    with pytest.raises(InputError, match=f"{path}: expected sequence 'train_000' in one split of all datasets, got it"):
        open_datasets(settings)


def test_a_licence_that_is_none_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs")
    with pytest.raises(InputError, match="licences: expected NAME;SOURCE;commercial or .*, got 'MIT'"):
        run(config(tmp_path, pairs=pairs, licences=["MIT"]))
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_training_records_it_and_may_be_resumed_with_other_licences(tmp_path: Path) -> None:
    """Those of an old checkpoint's configuration are among what is compared no more."""
    pairs = write_pairs(tmp_path / "pairs")
    settings = config(tmp_path, pairs=pairs, steps=2)
    first = train(settings, resume=False, stop=StopAfter(1)).checkpoint
    unknown = Licence(name="not stated", source="dataset pairs", commercial=False)
    assert load_checkpoint(first).config.licences == (unknown,)
    facts = json.loads((first / "training.json").read_text())
    facts["config"]["licences"] = ["Apache-2.0;r3d2_ros, procedural streets;commercial"]
    (first / "training.json").write_text(json.dumps(facts))
    last = run(config(tmp_path, pairs=pairs, steps=2, licences=["MIT;pairs;commercial"]), resume=True)
    assert load_checkpoint(last).config.licences == (Licence(name="MIT", source="pairs", commercial=True),)


def test_random_numbers_are_no_longer_random_when_they_are_trained(tmp_path: Path) -> None:
    """Else no benchmark would measure the quality of a model that began with `r3d2 model init --random`."""
    begin = replace(MODEL, licences=(RANDOM_LICENCE,))
    settings = config(tmp_path, pairs=of_kind(tmp_path / "streets", "procedural"))
    trained = with_origin(begin, settings, open_datasets(settings))
    assert RANDOM_LICENCE in trained.licences
    assert is_random(begin) and not is_random(trained)
