"""Settings: where values come from, what is refused and in which words, and the file that we write."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.addresses import local_name, parse_address
from engine.cli.init import first_text
from engine.cores import existing_cores, parse_cores
from engine.errors import SettingsError
from engine.experiment import Camera, Experiment, Section
from engine.settings import _built, _parsed
from engine.settings_faults import Fault


def refused(path: Path | None, overrides: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> str:
    """What is said of settings that are refused, all of it."""
    with pytest.raises(SettingsError) as caught:
        Experiment.load(path, overrides, environ or {})
    return str(caught.value)


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "experiment.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_our_defaults_hold_without_a_file() -> None:
    assert Experiment.load(None, environ={}) == Experiment()


def test_a_value_comes_from_the_command_line_then_the_environment_then_the_file_then_its_base(write) -> None:
    write("[tracking]\ndiameter = 7\nseparation = 7\nminmass = 7\npercentile = 7\n", "lab.toml")
    path = write('base = "lab.toml"\n[tracking]\ndiameter = 9\nseparation = 9\nminmass = 9\n')
    environ = {"RINGTRACK_TRACKING__DIAMETER": "11", "RINGTRACK_TRACKING__SEPARATION": "11", "RINGTRACK_CACHE": "/x"}
    tracking = Experiment.load(path, ["tracking.diameter=13"], environ).tracking
    assert (tracking.diameter, tracking.separation, tracking.minmass, tracking.percentile) == (13, 11, 9, 7)
    assert tracking.max_ecc == 0.3


def test_a_base_is_looked_for_beside_the_file_that_names_it(write, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write("[camera]\nfps = 24\n", "lab.toml")
    path = write('base = "../lab.toml"', "deep/experiment.toml")
    assert Experiment.load(path, environ={}).camera.fps == 24


def test_bases_that_name_each_other_are_refused(write) -> None:
    write('base = "experiment.toml"', "lab.toml")
    assert "leads back" in refused(write('base = "lab.toml"'))


def test_all_faults_are_told_at_once_each_with_its_line(write) -> None:
    path = write(
        "[tracking]\n"
        "diameter = 20\n"
        "'separation' = 1.5\n"
        "diamter = 3\n"
        "memory = 2\n"
        "[camra]\n"
        "[camera]\n"
        "fps = 0\n"
        "dtype = 'uint32'\n"
    )
    said = refused(path, ("tracking.minmass=much", "lonely"), {"RINGTRACK_RING__SECONDS": "-1"})
    assert said.splitlines()[0] == "10 faults in the settings:"
    for line in (
        f"tracking.diameter: 20 is even; it must be odd, at least 3 ({path}, line 2). Try 19 or 21.",
        f"tracking.separation: 1.5 is not allowed; it must be a whole number, at least 1, at most 1024 ({path}, line 3",
        f"tracking.diamter: no such key ({path}, line 4). Nearest: tracking.diameter.",
        f"tracking.memory: no such key ({path}, line 5). Nearest: linking.memory.",
        f"camra: no such section ({path}, line 6). Nearest: [camera].",
        f"camera.fps: 0 is not allowed; it must be a number, above 0, at most 1e+06 ({path}, line 8)",
        f'camera.dtype: "uint32" is not allowed; it must be one of "uint16", "uint8" ({path}, line 9)',
        'tracking.minmass: "much" is not allowed; it must be a number, at least 0 (--set tracking.minmass=much)',
        "--set lonely: it must be section.key=value, as in tracking.diameter=11",
    ):
        assert line in said
    assert "ring.seconds: -1 is not allowed" in said


FAULTS = {
    "an even diameter": ("tracking.diameter=20", "20 is even; it must be odd, at least 3", "Try 19 or 21."),
    "more bits than the type has": ("camera.dtype=uint8 camera.bits=12", "12 is more than uint8 has", "Try 8"),
    "a frame too small": ("camera.width=20 ", "20 leaves no room for features of diameter 21", "at least 21"),
    "an upper limit below the lower": ("tracking.maxmass=50", "50 is not above tracking.minmass = 100", "no limit"),
    "sizes the wrong way round": ("tracking.maxsize=1 tracking.minsize=2", "1 is not above", "tracking.minsize = 2"),
    "a percentile beyond 100": ("tracking.percentile=101", "at most 100", "tracking.percentile"),
    "an overlap too small": ("tracking.tile_overlap=8", "8 is too small", "Try "),
    "no address": ("camera.listen=localhost", '"localhost" is no address', "tcp://host:port"),
    "a socket that leaves a file": ("camera.listen=ipc:///tmp/camera", "is no address", "ipc://@name"),
    "a name of nothing": ("camera.listen=ipc://@", "is no address", "ipc://@name"),
    "a control server without a port": ("control.listen=ipc://@control", "is no address", "tcp://host:port"),
    "a port beyond all": ("web.listen=127.0.0.1:65536", "no address", "port 0 to 65535"),
    "one port for two": ("control.listen=tcp://127.0.0.1:50052", "port 50052 is that of camera.listen", ""),
    "the whole network": ("camera.listen=tcp://0.0.0.0:50052", "allowed explicitly", "remote = true under [network]"),
    "any interface": ("web.listen=*:80", "allowed explicitly", "[network]"),
    "cores in no form": ("tracking.cores=2..4", 'not understood at "2..4"', '"2-37,40"'),
    "cores backwards": ("tracking.cores=4-2", 'not understood at "4-2"', ""),
    "a core that does not exist": ("tracking.cores=0,9999", "core 9999 does not exist on this machine", "it has"),
    "a name with a slash": ("experiment.name=a/b", "cannot be part of a file name", ""),
    "no number": ("tracking.max_ecc=nan", "nan is not allowed", "a number, at least 0"),
    "infinity": ("camera.pixel_um=inf", "inf is not allowed", ""),
    "a truth value as number": ("camera.width=true", "true is a truth value", "a whole number"),
    "a number as truth value": ("record.csv=1", "1 is not allowed; it must be true or false", ""),
    "a section that is none": ("trakcing.diameter=3", "no such section", "Nearest: [tracking]."),
    "a note that is a list": ("notes.sample=[1]", "a list is not allowed", "text, a number"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_is_refused_with_what_is_allowed(name: str) -> None:
    overrides, fact, remedy = FAULTS[name]
    said = refused(None, tuple(overrides.split()))
    assert fact in said
    assert remedy in said
    assert "\n" not in said, "one fault, one line"


FILES = {
    "broken TOML": ("[tracking]\ninvert = True\n", "line 2, column 10). The line is: invert = True"),
    "a section that is a value": ("tracking = 3", "3 is not allowed; it must be a section: [tracking]"),
    "a base that is no name": ("base = 3", "it must be the name of a file"),
    "a base that is not there": ('base = "none.toml"', "none.toml: no such file"),
    "a key given twice": ("[tracking]\ndiameter = 3\ndiameter = 5", "line 3"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_with(name: str, write) -> None:
    text, said = FILES[name]
    assert said in refused(write(text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.toml")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    assert "UTF-8" in refused(tmp_path / "latin.toml")


def test_a_fault_that_only_follows_from_another_is_not_told(write) -> None:
    said = refused(write("[tracking]\ndiameter = 'big'\n[camera]\nwidth = 10\n"))
    assert "tracking.diameter" in said
    assert "camera.width" not in said


def test_other_computers_may_connect_when_that_is_said() -> None:
    experiment = Experiment.load(None, ["camera.listen=tcp://0.0.0.0:50052", "network.remote=true"], {})
    assert experiment.camera.listen == "tcp://0.0.0.0:50052"


def test_a_protected_key_may_be_repeated_but_not_changed(write) -> None:
    write('[camera]\npixel_um = 0.1\n[lab]\nprotect = ["camera.pixel_um", "slm.*"]\n', "lab.toml")
    path = write('base = "lab.toml"\n[camera]\npixel_um = 0.1\n')
    assert Experiment.load(path, environ={}).camera.pixel_um == 0.1
    said = refused(path, ("camera.pixel_um=0.2", "slm.enabled=true", "lab.protect=[]"))
    assert "camera.pixel_um: protected by" in said
    assert "lab.toml, line 4; it is 0.1 there (--set camera.pixel_um=0.2). Leave it out here." in said
    assert "slm.enabled: protected" in said


def test_a_required_note_must_be_there(write) -> None:
    write('[lab]\nrequired_notes = ["operator"]\n', "lab.toml")
    path = write('base = "lab.toml"\n[notes]\nsample = "beads"\n')
    assert 'Add operator = "…" under [notes].' in refused(path)
    assert refused(path, ("notes.operator=  ",))
    experiment = Experiment.load(path, ["notes.operator=Ann O'Hara"], {})
    assert experiment.notes == {"operator": "Ann O'Hara", "sample": "beads"}
    assert Experiment.loads(experiment.to_toml()) == experiment


def test_the_settings_of_another_computer_can_be_read_here() -> None:
    with pytest.raises(SettingsError):
        Experiment.load(None, ["tracking.cores=9999"], {})
    assert Experiment.load(None, ["tracking.cores=9999"], {}, machine=False).tracking.cores == "9999"


KINDLY = {
    "tracking.max_ecc=.3": ("tracking", "max_ecc", 0.3),
    "tracking.invert=True": ("tracking", "invert", True),
    "experiment.name=123": ("experiment", "name", "123"),
    'experiment.name="a b"': ("experiment", "name", "a b"),
    "tracking.cores=0": ("tracking", "cores", "0"),
    "tracking.max_ecc=1e9": ("tracking", "max_ecc", 1e9),
}


@pytest.mark.parametrize("override", KINDLY)
def test_a_value_on_the_command_line_is_read_kindly(override: str) -> None:
    section, key, value = KINDLY[override]
    assert getattr(getattr(Experiment.load(None, [override], {}), section), key) == value


def test_bits_are_those_of_the_type_unless_given() -> None:
    assert (Camera().bits, Camera(dtype="uint8").bits, Camera(bits=12).bits) == (16, 8, 12)
    assert (Camera(bits=12).saturation, Camera(bits=12, high_aligned=True).saturation) == (4095, 4095 << 4)


@pytest.mark.parametrize(("text", "cores"), [("", ()), ("3", (3,)), ("2-4, 1,3", (1, 2, 3, 4)), ("0-0", (0,))])
def test_cores_are_read(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text) == cores


def test_addresses_are_read() -> None:
    assert parse_address("tcp://[::1]:5") == ("::1", 5)
    assert parse_address("127.0.0.1:8766", scheme="") == ("127.0.0.1", 8766)
    for wrong in ("tcp://:5", "tcp://a", "udp://a:5", "tcp://a:b", "tcp://a/b:5"):
        with pytest.raises(ValueError):
            parse_address(wrong)
    assert local_name("ipc://@lab-2.camera") == "lab-2.camera"
    assert not any(local_name(wrong) for wrong in ("ipc:///tmp/a", "ipc://@", "ipc://@a b", "ipc://@a\n", "tcp://a:5"))


def test_every_key_is_explained_and_every_section_too() -> None:
    for line in Experiment().to_toml().splitlines():
        if line and not line.startswith("#"):
            assert line.partition(" # ")[2].strip(), line


def test_the_written_file_names_what_stands_in_the_design() -> None:
    text = Experiment().to_toml()
    assert 'listen = "tcp://127.0.0.1:50052"' in text
    assert max(map(len, text.splitlines())) <= 130


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def _sections() -> st.SearchStrategy[Experiment]:
    """Any experiment whose values are each allowed; they need not fit together."""

    def any_of(section: type[Section]) -> st.SearchStrategy[Section]:
        return st.builds(section, **{field.name: _values(field) for field in msgspec.structs.fields(section)})

    sections = {}
    for field in msgspec.structs.fields(Experiment):
        notes = st.dictionaries(TEXTS, st.one_of(TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), _floats(0)))
        sections[field.name] = notes if field.name == "notes" else any_of(field.type)
    return st.builds(Experiment, **sections)


def _values(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[object]:
    kind = msgspec.inspect.type_info(field.type)
    kind = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
    match kind:
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case msgspec.inspect.FloatType():
            return _floats(kind.ge or kind.gt or 0, kind.le).filter(lambda value: value > 0 or kind.gt is None)
        case msgspec.inspect.StrType(max_length=longest):
            return st.text(st.characters(codec="utf-8"), min_size=1, max_size=longest or 20)
    return st.lists(TEXTS, max_size=3).map(tuple)


def _floats(least: float, most: float | None = None) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False, allow_infinity=False)


@settings(max_examples=60)
@given(_sections())
def test_whatever_is_written_is_read_back_equal(experiment: Experiment) -> None:
    faults: list[Fault] = []
    layer, _ = _parsed(experiment.to_toml(), "written", faults)
    assert faults == []
    again = _built({path: given.value for path, given in layer.values.items()})
    assert again == experiment
    assert again.version_hash() == experiment.version_hash()
    assert msgspec.json.decode(msgspec.json.encode(experiment), type=Experiment) == experiment  # as processes get it


SOUND = {"tracking.diameter": "7", "camera.bits": "12", "experiment.name": "Größe", "notes.laser mW": "3.5"}


def test_a_sound_experiment_is_read_back_equal() -> None:
    experiment = Experiment.load(None, [f"{key}={value}" for key, value in SOUND.items()], {})
    again = Experiment.loads(experiment.to_toml())
    assert again == experiment
    assert again.version_hash() == experiment.version_hash() != Experiment().version_hash()
    assert existing_cores()


@pytest.mark.parametrize(
    "wrong, says",
    [
        (("slm.display=screen:1",), "slm.display"),
        (("slm.display=udp://10.0.0.1:5",), "another computer"),
        (("slm.display=tcp://x",), "no address"),
        (("slm.blank_s=0.1",), "slm.blank_s"),
        (("slm.feedback=p", "slm.gain=0.1"), "needs slm.stiffness_pN_um"),
        (("slm.reach_um=0.8",), "camera.pixel_um"),
        (("slm.registration=/nowhere.json",), "there is no file"),
        ((), "slm.registration"),
    ],
)
def test_light_that_would_not_be_safe_or_not_be_there_is_refused(wrong: tuple[str, ...], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Experiment.load(None, ["slm.enabled=true", *wrong], {})


def test_encryption_without_keys_is_refused_and_the_remedy_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGTRACK_KEYS", str(tmp_path))
    with pytest.raises(SettingsError, match="ringtrack keys"):
        Experiment.load(None, ["camera.encrypt=true"], {})
    assert Experiment.load(None, ["camera.encrypt=true"], {}, machine=False).camera.encrypt
    for name in ("server.key_secret", "client.key"):
        (tmp_path / name).touch()
    assert Experiment.load(None, ["camera.encrypt=true"], {}).camera.encrypt


def test_the_page_of_the_settings_shows_the_file_that_init_writes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert first_text(Experiment()) in page, "docs/settings.md: put the output of `ringtrack init -` into it"
