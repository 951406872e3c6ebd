"""The model card: read whole or refused with what to do."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from qcnode.assess.model_card import CARD_NAME, NetworkFacts, load_card
from qcnode.assess.networks.qcresunet import Design
from qcnode.errors import ConfigurationError
from qcnode.tissues import Structure, Tissue

PACKAGED = Path(__file__).parents[1] / "qcnode" / "models" / "cardiac-sax"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(PACKAGED, tmp_path / "cardiac-sax"))


def test_packaged_card():
    card = load_card(PACKAGED)
    assert card.task == "cardiac-sax"
    assert card.quality.tolerance_mm == 2.0
    assert [t.name for t in card.tissue_list()] == ["right ventricle", "myocardium", "left ventricle"]
    assert all(isinstance(t, Tissue) for t in card.tissue_list())
    assert all(isinstance(s, Structure) for s in card.structure_list())
    assert {s for t in card.tissues for s in t.structures} <= {s.name for s in card.structures}
    assert "non-commercial" in card.training.terms
    assert "nominal" in card.training.limits
    assert sum(f.stat().st_size for f in PACKAGED.iterdir()) < 20e6


def test_network_facts_are_the_networks_parameters():
    facts = {name: (field.annotation, field.default) for name, field in NetworkFacts.model_fields.items()}
    assert list(facts) == [f.name for f in dataclasses.fields(Design)]
    optional = [f.name for f in dataclasses.fields(Design)][7:]
    assert {n: facts[n][1] for n in optional} == {f.name: f.default for f in dataclasses.fields(Design) if f.name in optional}
    assert load_card(PACKAGED).members == 3


def test_no_folder(tmp_path):
    with pytest.raises(ConfigurationError, match="No model card"):
        load_card(tmp_path / "nowhere")


def test_altered_weights_are_refused(folder):
    weights = folder / load_card(folder).weights_file
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigurationError, match="SHA-256 differs"):
        load_card(folder)


def test_missing_weights_are_named(folder):
    (folder / load_card(folder).weights_file).unlink()
    with pytest.raises(ConfigurationError, match=r"weights\.safetensors is missing"):
        load_card(folder)


@pytest.mark.parametrize(("key", "value"), [("quality", None), ("surprise", 1), ("tissues", [])])
def test_broken_cards_say_which_field(folder, key, value):
    content = json.loads((folder / CARD_NAME).read_text())
    content[key] = value
    (folder / CARD_NAME).write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=key):
        load_card(folder)


def test_the_digest_names_what_shapes_a_prediction_and_not_what_was_measured_later():
    card = load_card(PACKAGED)
    assert card.model_copy(update={"results": {"dsc_mae": 0.1}}).digest() == card.digest()
    other_files = tuple(f.model_copy(update={"sha256": "0" * 64}) for f in card.files)
    assert card.model_copy(update={"files": other_files}).digest() != card.digest()
    other_box = card.preprocessing.model_copy(update={"margin": 0.5})
    assert card.model_copy(update={"preprocessing": other_box}).digest() != card.digest()
