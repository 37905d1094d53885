from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from megatron_codex.config.command_line import field_docs, parse_command
from megatron_codex.config.load import apply_override, build_config, load_config, parse_value, save_config
from megatron_codex.errors import ConfigError, Fault, InputError, raise_faults


@dataclass(frozen=True, kw_only=True)
class Engine:
    cylinders: int
    """Number of cylinders."""
    power_kw: float = 50.0
    """Power in kW."""

    def __post_init__(self) -> None:
        if self.cylinders < 1:
            raise_faults(
                [
                    Fault(
                        field="cylinders",
                        value=self.cylinders,
                        rule="must be at least 1",
                        remedy="give a positive count",
                    )
                ]
            )


@dataclass(frozen=True, kw_only=True)
class Body:
    kind: str | None = None
    """Gives the doors."""
    doors: int | None = None
    """Doors; needed without a kind."""

    def __post_init__(self) -> None:
        if self.kind is None and (self.doors or 0) < 1:
            raise_faults([Fault(field="doors", value=self.doors, rule="is required without a kind", remedy="give it")])


@dataclass(frozen=True, kw_only=True)
class Car:
    engine: Engine
    """The engine."""
    body: Body = field(default_factory=lambda: Body(kind="estate"))
    """The body."""
    wheels: int = 4
    """Number of wheels."""
    spark_plugs: int | None = None
    """Spark plugs; None: one a cylinder."""
    files: tuple[Path, ...] = ()
    """Files of the car."""
    gears: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    """Gears."""
    electric: bool = False
    """No combustion."""

    def __post_init__(self) -> None:
        faults = []
        if self.spark_plugs is not None and self.spark_plugs % self.engine.cylinders:
            faults.append(
                Fault(
                    field="spark_plugs",
                    value=self.spark_plugs,
                    rule="must be a multiple of engine.cylinders",
                    remedy="give a multiple",
                    others=("engine.cylinders",),
                )
            )
        if self.wheels < 3:
            faults.append(Fault(field="wheels", value=self.wheels, rule="must be at least 3", remedy="add wheels"))
        raise_faults(faults)


def lines(error: ConfigError) -> list[str]:
    return str(error).splitlines()


def test_yaml_then_overrides_in_order(tmp_path: Path) -> None:
    path = tmp_path / "car.yaml"
    path.write_text("engine: {cylinders: 4}\nwheels: 3\n")
    car = load_config(Car, path, ["wheels=5", "engine.power_kw=1e2", "wheels=6"])
    assert car == Car(engine=Engine(cylinders=4, power_kw=100.0), wheels=6)


def test_faults_of_every_kind_and_level_come_at_once() -> None:
    tree = {"engine": {"cylinders": "four", "colour": "red"}, "wheels": 2, "weels": 4, "gears": [1, "x"]}
    with pytest.raises(ConfigError) as caught:
        build_config(Car, tree, source="car.yaml")
    fields = sorted(fault.field for fault in caught.value.faults)
    assert fields == ["engine.colour", "engine.cylinders", "gears", "weels", "wheels"]
    assert all(line.startswith("car.yaml: ") for line in lines(caught.value))
    assert any("did you mean wheels?" in line for line in lines(caught.value))


@dataclass(frozen=True, kw_only=True)
class Trailer:
    loads: float | tuple[float, ...] = ()
    """Loads in kg."""
    colour: Literal["red", "blue"] | None = None
    """Colour."""


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"loads": "x"}, "loads: got 'x'; must be a number or a list (each item a number)"),
        ({"loads": [1, "x"]}, "loads: got [1, 'x']; must be a number or a list (each item a number)"),
        ({"colour": "green"}, "colour: got 'green'; must be one of red, blue or null"),
    ],
    ids=["no type fits", "an item", "choices"],
)
def test_a_value_of_the_wrong_type_is_one_fault_in_words(tree: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(Trailer, tree)
    assert lines(caught.value) == [f"{line}; change this value"]


def test_a_rule_that_reads_a_faulty_field_is_not_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(Car, {"engine": {"cylinders": 0}, "spark_plugs": 3})
    assert [fault.field for fault in caught.value.faults] == ["engine.cylinders"]


def test_a_faulty_default_does_not_hide_the_rules_above() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(Car, {"engine": {"cylinders": 4}, "body": {"doors": 0}, "wheels": 2})
    assert sorted(fault.field for fault in caught.value.faults) == ["body.doors", "wheels"]


def test_a_missing_required_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"engine\.cylinders: is required"):
        build_config(Car, {"engine": {}})
    with pytest.raises(ConfigError, match="engine: is required"):
        build_config(Car, {})


def test_the_saved_config_loads_to_an_equal_one(tmp_path: Path) -> None:
    car = Car(engine=Engine(cylinders=2), files=(Path("a"), Path("b c")), electric=True)
    save_config(car, tmp_path / "config.yaml")
    assert load_config(Car, tmp_path / "config.yaml") == car


@pytest.mark.parametrize(
    ("text", "rule"),
    [("a: [1", "not valid YAML"), ("- 1", "must be a mapping"), ("a: 1\n\tb: 2", "not valid YAML")],
    ids=["unclosed", "list", "tab"],
)
def test_a_broken_yaml_file_is_named(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rule) as caught:
        load_config(Car, path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("override", ["wheels", "=3", "engine..x=1", "wheels.x=1", "gears=[1"])
def test_a_malformed_override_is_named(override: str) -> None:
    with pytest.raises(InputError):
        load_config(Car, None, ["engine.cylinders=1", "wheels=4", override])


@pytest.mark.parametrize(
    ("text", "value"), [("2e-3", 0.002), ("1E5", 1e5), ("12M", "12M"), ("[1, 2]", [1, 2]), ("true", True), ("1_0", 10)]
)
def test_numbers_are_read_as_people_write_them(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_an_override_does_not_change_its_siblings() -> None:
    tree = {"engine": {"cylinders": 4}}
    apply_override(tree, "engine.power_kw=3")
    assert tree == {"engine": {"cylinders": 4, "power_kw": 3}}


def test_flags_win_over_overrides_and_yaml(tmp_path: Path) -> None:
    (tmp_path / "car.yaml").write_text("engine: {cylinders: 4}\nwheels: 3\nelectric: true\n")
    argv = ["--config", str(tmp_path / "car.yaml"), "wheels=5", "--wheels", "6", "--no-electric"]
    car = parse_command(Car, argv)
    assert (car.wheels, car.electric, car.engine.cylinders) == (6, False, 4)


def test_a_tuple_flag_takes_values_or_a_comma_list() -> None:
    car = parse_command(Car, ["--gears", "1,2,3", "--files", "a", "b,c", "engine.cylinders=4", "--files", "d=e"])
    assert car.gears == (1, 2, 3)
    assert car.files == (Path("a"), Path("b,c"), Path("d=e"))


@pytest.mark.parametrize("argv", [["--nope"], ["--wheels"], ["stray"]])
def test_a_wrong_argument_is_bad_input(argv: list[str]) -> None:
    with pytest.raises(InputError):
        parse_command(Car, ["engine.cylinders=4", *argv])


def test_help_shows_docstrings_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_command(Car, ["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Number of wheels. (default: 4)" in text
    assert "engine.power_kw: Power in kW. (default: 50.0)" in text


def test_every_field_of_the_example_has_its_docstring() -> None:
    assert field_docs(Engine) == {"cylinders": "Number of cylinders.", "power_kw": "Power in kW."}


def test_several_files_add_up(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("engine: {cylinders: 4, power_kw: 70}\nwheels: 3\n")
    second.write_text("engine: {cylinders: 6}\nfiles: [a]\n")
    car = parse_command(Car, ["--config", str(first), "--config", str(second), "wheels=5"])
    assert (car.engine.cylinders, car.engine.power_kw, car.wheels, car.files) == (6, 70, 5, (Path("a"),))
    with pytest.raises(ConfigError, match=r"first\.yaml \+ .*second\.yaml: engine\.cylinders: got 0"):
        parse_command(Car, ["--config", str(first), "--config", str(second), "engine.cylinders=0"])
