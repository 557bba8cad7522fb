"""The laboratory's YAML: what is shipped loads, and what is wrong is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vipa.errors import ConfigurationError
from vipa.lab import LAB_FOLDER, load_lab, split_address


def edited(tmp_path: Path, change: dict[str, Any], source: str = "simulated") -> str:
    """A copy of a shipped YAML with dotted keys set; None removes a key."""
    content = yaml.safe_load((LAB_FOLDER / f"{source}.yaml").read_text())
    for dotted, value in change.items():
        *parents, key = dotted.split(".")
        at = content
        for parent in parents:
            at = at.setdefault(parent, {})
        if value is None:
            del at[key]
        else:
            at[key] = value
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize("name", sorted(p.stem for p in LAB_FOLDER.glob("*.yaml")))
def test_every_shipped_laboratory_loads(name: str) -> None:
    lab = load_lab(name)
    assert set(lab.cameras) == {"front", "side"}
    for camera in lab.cameras.values():
        pose = camera.extrinsics.matrix()
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_simulated_one_is_simulated_and_the_real_one_is_not() -> None:
    assert load_lab("simulated").simulated
    assert not load_lab("example_real").simulated


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm.adress": "1.2.3.4"}, "unknown key arm.adress; known keys here: address"),
        ({"arm.address": None}, "missing key arm.address"),
        ({"hand.model": "RH57"}, "hand: model: no hand 'RH57'; known: "),
        ({"cameras.front.feed": None}, "missing key cameras.front.feed"),
        ({"cameras.front.device.serial": ""}, "cameras.front.device: serial: missing"),
        ({"cameras.front.extrinsics.quaternion": [1, 1, 0, 0]}, "cameras.front.extrinsics: quaternion"),
        ({"referee": "operator"}, "referee: a simulated laboratory needs the address of its control port"),
        ({"cameras.front.device.serial": "f0000002"}, "cameras: two have the serial number f0000002"),
        ({"control.inference_period": 0.6}, "control: inference_period: 0.6 is not between 0 and observation_age"),
        ({"cameras": {}}, "cameras: at least one camera is needed"),
        ({"control.gate.workspace_max": [0.3, 1.0, 1.0]}, None),
        ({"control.gate.workspace_max": [-2.0, 1.0, 1.0]}, "control.gate: workspace_min must be below workspace_max"),
        (
            {"arm.relative_dynamics": 0.1},
            "control.gate.velocity_fraction: 0.45 is more than arm.relative_dynamics, 0.1",
        ),
        ({"control.rate": "fast"}, "control.rate: expected float, found 'fast'"),
        ({"workstation.adress": "gpu"}, "unknown key workstation.adress; known keys here: address, jpeg_quality"),
        ({"workstation.port": 8000}, "missing key workstation.address"),
        ({"workstation.address": "ws://gpu:8000"}, "workstation: address: 'ws://gpu:8000' is no address like"),
        ({"workstation.address": "gpu", "workstation.port": 0}, "workstation: port: 0 is outside 1-65535"),
        ({"workstation.address": "gpu", "workstation.jpeg_quality": 101}, "workstation: jpeg_quality: 101"),
    ],
)
def test_one_wrong_key_is_named(tmp_path: Path, change: dict[str, Any], message: str | None) -> None:
    path = edited(tmp_path, change)
    if message is None:
        load_lab(path)
        return
    with pytest.raises(ConfigurationError) as refused:
        load_lab(path)
    assert message in str(refused.value)
    assert str(refused.value).count(path) == 1
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("address", "url"), [("gpu", "ws://gpu:8001"), ("fd00::2", "ws://[fd00::2]:8001")])
def test_the_workstation_is_named_by_its_address(tmp_path: Path, address: str, url: str) -> None:
    path = edited(tmp_path, {"workstation.address": address, "workstation.port": 8001})
    workstation = load_lab(path).workstation
    assert workstation is not None
    assert workstation.client_options() == {"url": url, "token_file": "", "jpeg_quality": 90}
    assert load_lab("simulated").workstation is None


def test_an_unknown_laboratory_names_those_shipped() -> None:
    with pytest.raises(ConfigurationError, match=r"laboratory moon: .*example_real, simulated"):
        load_lab("moon")


@pytest.mark.parametrize("address", ["", "host", ":80", "host:", "host:x", "host:0", "host:65536"])
def test_bad_addresses_name_their_key(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"hand\.address: expected host:port"):
        split_address(address, "hand.address")


def test_an_address_with_colons_is_split_at_the_last() -> None:
    assert split_address("::1:80", "key") == ("::1", 80)


REFERENCES = {"calibration.references": {"front": "calibrated/reference_front.yaml"}}


def test_references_are_beside_the_yaml_and_of_standing_cameras(tmp_path: Path) -> None:
    lab = load_lab(edited(tmp_path, {**REFERENCES, "calibration.drift_check": "warn"}))
    assert lab.calibration.references == {"front": tmp_path / "calibrated" / "reference_front.yaml"}
    assert not load_lab("example_real").calibration.checks_drift  # a bare off, which YAML takes for False
    wrist = {"cameras.front.extrinsics.frame": "fr3_link8"}
    for change, message in (
        ({"calibration.drift_check": "refuse"}, "calibration: references: missing"),
        ({"calibration.references": {"top": "a.yaml"}}, "calibration.references: no camera top"),
        ({**REFERENCES, **wrist}, "calibration.references: camera front sits on the wrist"),
        ({"calibration.tolerance_mm": 0.0}, "calibration: tolerance_mm: 0 is not between"),
        ({"calibration.drift_check": "yes"}, "calibration.drift_check: 'yes' is not one of"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            load_lab(edited(tmp_path, change))
