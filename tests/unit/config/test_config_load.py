"""node.yaml: every mistake at once, each with its place and its cure."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from dicom_node import plugins
from dicom_node.config.load import load_settings, parse_settings
from dicom_node.config.model import NodeSettings, SiteSettings
from dicom_node.core.artifact import DICOM
from dicom_node.core.errors import ConfigError
from dicom_node.core.run import Priority, Release
from dicom_node.delivery.settings import DestinationSettings

ROOT = Path(__file__).resolve().parents[3]
MINIMAL = "site: {timezone: Europe/Berlin}\n"


def mistakes(text: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_settings(textwrap.dedent(text), **more)
    return str(caught.value).splitlines()


MANY = """\
site: {timezone: Asia/Kalkutta}
reception:
  port: 70000
  peers:
    - ae_title: PACS
      hots: 10.0.0.1
routing:
  hold:
    - name: phantoms
      when: {}
  rules:
    - name: chest
      pipeline: cxr_tbb
      release: at_onse
      priority: high
      outputs: [secondary_captur]
      destinations: [pcas]
    - name: chest
      when:
        body_part: ""
destinations:
  pacs:
    kind: dicom_store
    ae_title: MAIN-PACS-ARCHIVE
    host: 10.0.0.1
    port: abc
  pacs:
    kind: folder
  b:
    kind: dicom_stor
  ris:
    kind: hl7_mllp
    host: ris
    port: 2575
    outputs: [secondary_capture]
databse_url: x
"""


def test_all_mistakes_are_shown_at_once_each_with_line_column_and_cure() -> None:
    """Eighteen mistakes in one file give eighteen lines, in the order of the file, each naming place, thing and cure."""
    found = mistakes(MANY)
    starts = [line.split(": ")[0] for line in found]
    assert starts == [
        "node.yaml:1:18 site.timezone",
        "node.yaml:3:9 reception.port",
        "node.yaml:6:7 reception.peers[0].hots",
        "node.yaml:10:13 routing.hold[0].when",
        "node.yaml:13:17 routing.rules[0].pipeline",
        "node.yaml:14:16 routing.rules[0].release",
        "node.yaml:15:17 routing.rules[0].priority",
        "node.yaml:16:17 routing.rules[0].outputs[0]",
        "node.yaml:17:22 routing.rules[0].destinations[0]",
        "node.yaml:18:7 routing.rules[1].pipeline",
        "node.yaml:18:13 routing.rules[1].name",
        "node.yaml:20:20 routing.rules[1].when.body_part",
        "node.yaml:24:15 destinations.pacs.ae_title",
        "node.yaml:26:11 destinations.pacs.port",
        "node.yaml:27:3 destinations.pacs",
        "node.yaml:30:11 destinations.b.kind",
        "node.yaml:35:15 destinations.ris.outputs[0]",
        "node.yaml:36:1 databse_url",
    ]
    text = "\n".join(found)
    for cure in (
        "write a name such as Europe/Berlin or an offset such as +05:30",
        'Did you mean "host"?',
        "name at least one, e.g. patient_id: [PHANTOM*]",
        'Did you mean "cxr_tb"?',
        '"at_onse" is not one of silent, after_answer, at_once. Did you mean "at_once"?',
        "write stat, urgent or routine",
        'Did you mean "secondary_capture"?',
        'there is no destination "pcas". Known: pacs, b, ris. Did you mean "pacs"?',
        '"pipeline" is missing; add it.',
        "give this rule another",
        '"MAIN-PACS-ARCHIVE" has 17 characters; an AE title has at most 16 (PS3.5, VR AE).',
        '"abc" stands where a whole number belongs.',
        '"pacs" stands here twice; delete one.',
        'Did you mean "dicom_store"?',
        "secondary_capture makes DICOM objects, but hl7_mllp carries HL7 messages",
        'Did you mean "database_url"?',
    ):
        assert cure in text, cure


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("site:\n\ttimezone: x", "node.yaml:2:1 the file: this is not YAML"),
        ("site: [", "node.yaml:1:8 the file: this is not YAML"),
        ("a: b: c", "node.yaml:1:5 the file: this is not YAML"),
        ("- a\n- b", "node.yaml:1:1 the file: the file must hold settings"),
        ("", 'node.yaml:1:1 site: "site" is missing'),
        ("just text", "node.yaml:1:1 the file: the file must hold settings"),
        (MINIMAL + "---\n" + MINIMAL, "node.yaml:2:1 the file: this is not YAML"),
        ("site: &s {timezone: UTC}\nweb: *s", "node.yaml:2:1 web: an alias (*name) stands here"),
        ("site: {timezone: !!python/name:os.system UTC}", "node.yaml:1:18 site.timezone: the tag"),
        ("site: {timezone: UTC}\nx: \x07", "node.yaml:2:4 the file: a control character"),
        ('site: {timezone: "\\UFFFFFFFF"}', "node.yaml:1:1 the file:"),
        (MINIMAL + "? [a, b]\n: c\n", "node.yaml:1:1 the file: a list or mapping stands where the name"),
        ("[" * 5000, "node.yaml:1:1 the file: the settings are nested too deeply"),
    ],
)
def test_what_is_not_a_settings_file_is_said_with_its_place(text: str, start: str) -> None:
    """Broken YAML, aliases, tags and other shapes are mistakes, never tracebacks."""
    assert mistakes(text)[0].startswith(start)


@pytest.mark.parametrize(
    ("text", "place", "cure"),
    [
        ('site: {timezone: UTC}\nweb:\n  host: "x\n  port: 1\n', "3:9", "The quotation mark that opens here is not closed."),
        ("site: {timezone: UTC}\nweb:\n  port:80\n  host: x\n", "4:7", "Put a blank after the colon"),
        ("site: {timezone: UTC}\nweb:\n  host: x\n  port:80\n", "4:3", "Put a blank after the colon"),
        ("reception:\n  peers:\n    -ae_title: A\n      host: h\n", "4:11", "Put a blank after the dash"),
        ("reception:\n  ae_titles: [A]\n\u00a0\u00a0port: 1\n  path: fast\n", "4:7", "A non-breaking blank stands in this line"),
        ("site: {timezone: UTC}\nrouting: \u201ca: b\u201d\n", "2:12", "Curly quotation marks are letters here"),
        ("reception:\n  peers:\n    - ae_title: A\n     host: h\n", "4:6", "Indent this line as the others"),
        ("site:\n\ttimezone: x\n", "2:1", "Indent with spaces, not with tabs."),
    ],
)
def test_the_cure_of_broken_yaml_is_of_what_people_do(text: str, place: str, cure: str) -> None:
    """The place is where the mistake is, not where the reader gave up; the cure is one that can be done."""
    (line,) = mistakes(text)
    assert line.startswith(f"node.yaml:{place} the file: this is not YAML: ")
    assert cure in line


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("new york", "America/New_York"), ("CEST", ""), ("Mars", "")],
)
def test_a_city_is_told_its_time_zone(written: str, meant: str) -> None:
    """A city alone, or other letters, name one zone; an abbreviation names none, and nothing is guessed."""
    (line,) = mistakes(f"site: {{timezone: {written}}}\n")
    assert line.endswith(f'Did you mean "{meant}"?' if meant else "an offset such as +05:30.")


def test_a_file_that_this_user_may_not_read_is_said_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as somebody else than the node, or named one folder too deep."""

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "node.yaml").mkdir()
    with pytest.raises(ConfigError, match="this is a folder"):
        load_settings(tmp_path / "node.yaml", {})
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="this user may not read it; call dicom-node as"):
        load_settings(tmp_path / "node.yaml", {})


def test_texts_stay_as_written() -> None:
    """YAML's own ideas of ON, +10:30, 007 and 1.10 do not change what was meant."""
    loaded = parse_settings(
        textwrap.dedent("""\
        site: {timezone: +10:30}
        reception:
          ae_titles: [ON, 007]
          port: 104
        routing:
          rules:
            - {name: yes, pipeline: cxr_tb, bundles: {cxr_tb: 1.10}, accept_ap: yes, priority: STAT}
        studies:
        """)
    )
    assert loaded.site.timezone == "+10:30"
    assert str(loaded.site.tzinfo().utcoffset(None)) == "10:30:00"
    assert loaded.reception.ae_titles == ("ON", "007")
    assert loaded.reception.port == 104
    (rule,) = loaded.routing.rules
    assert rule.name == "yes"
    assert rule.bundles == {"cxr_tb": "1.10"}
    assert rule.accept_ap is True
    assert rule.priority is Priority.STAT
    assert loaded.studies.quiet_seconds == 10


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("{name: a, pipeline: cxr_tb, release: at_once}", "names no destinations; add them, or write silent"),
        (
            "{name: a, pipeline: cxr_tb, release: at_once, destinations: [d], outputs: key_objects}",
            'no destination of this rule takes "key_objects"',
        ),
        (
            "{name: a, pipeline: cxr_tb, bundles: {cxr_tbb: 1}}",
            'cxr_tb uses no bundle "cxr_tbb". Known: cxr_tb, lungs_cxr. Did you mean "cxr_tb"?',
        ),
        ("{name: a, pipeline: cxr_tb, outputs: [structured_report:ohif]}", 'structured_report has no flavour "ohif"'),
        ("{name: a, pipeline: cxr_tb, max_study_age_hours: 0}", "must be greater than 0"),
        ("{name: a, pipeline: cxr_tb, max_study_age_hours: nan}", "does not fit"),
        ("{name: a, pipeline: cxr_tb, when: {min_age_years: 60, max_age_years: 18}}", "nobody fits; exchange them"),
        ("{name: a, pipeline: cxr_tb, when: {patient: x}}", 'there is no setting "patient" here'),
    ],
)
def test_a_rule_that_cannot_be_meant_is_a_mistake(rule: str, what: str) -> None:
    """Each names the rule and the cure."""
    destinations = "destinations: {d: {kind: folder, path: /tmp, outputs: [secondary_capture]}}\n"
    (line,) = mistakes(MINIMAL + destinations + f"routing: {{rules: [{rule}]}}\n")
    assert "routing.rules[0]" in line
    if what != "does not fit":
        assert what in line


def test_pipeline_settings_are_read_by_the_pipeline() -> None:
    """A wrong setting of a pipeline is found when the file is read, with its place."""
    (line,) = mistakes(MINIMAL + "inference:\n  pipelines:\n    cxr_tb:\n      min_age_yeers: 3\n")
    assert line.startswith('node.yaml:5:7 inference.pipelines.cxr_tb.min_age_yeers: there is no setting "min_age_yeers" here.')
    (line,) = mistakes(MINIMAL + "inference:\n  pipelines:\n    cxr_tbb: {}\n")
    assert line.startswith("node.yaml:4:5 inference.pipelines.cxr_tbb: there is no pipeline")


def test_two_rooms_cannot_share_a_port() -> None:
    """Reception and web on one port is found before either starts."""
    (line,) = mistakes(MINIMAL + "reception: {port: 8080}\n")
    assert "port 8080 is taken twice" in line


def test_environment_variables_override_and_are_named_in_mistakes() -> None:
    """A variable wins over the file; a wrong one is named instead of a line that does not exist."""
    text = MINIMAL + "destinations: {main-pacs: {kind: folder, path: /a}}\nreception: {port: 104, peers: [{ae_title: A}]}\n"
    loaded = parse_settings(
        text,
        environ={
            "DICOM_NODE__RECEPTION__PORT": "11113",
            "DICOM_NODE__DESTINATIONS__MAIN_PACS__MAX_CONCURRENT": "7",
            "DICOM_NODE__RECEPTION__PEERS__0__HOST": "10.0.0.1",
            "DICOM_NODE__RECEPTION__AE_TITLES": "[A, B]",
            "DICOM_NODE_OTHER": "ignored",
        },
    )
    assert loaded.reception.port == 11113
    assert loaded.reception.peers[0].host == "10.0.0.1"
    assert loaded.reception.ae_titles == ("A", "B")
    assert loaded.destinations["main-pacs"].max_concurrent == 7
    found = mistakes(text, environ={"DICOM_NODE__RECEPTION__PORT": "x", "DICOM_NODE__RECEPTON": "1"})
    assert found[0].startswith('environment DICOM_NODE__RECEPTION__PORT reception.port: "x" stands where a whole number belongs.')
    assert 'Did you mean "reception"?' in found[1]


def test_secrets_come_from_variables_and_files_and_never_show(tmp_path: Path) -> None:
    """${NAME} and database_url_file are replaced; what is missing is said; the value itself is never printed."""
    (tmp_path / "secret").write_text("postgresql+psycopg://u:hunter2@h/n\n")
    (tmp_path / "node.yaml").write_text(MINIMAL + 'database_url_file: secret\nresults: {institution_name: "${HOSPITAL}"}\n')
    loaded = load_settings(tmp_path / "node.yaml", {"HOSPITAL": "General"})
    assert loaded.database_url == "postgresql+psycopg://u:hunter2@h/n"
    assert loaded.results.institution_name == "General"
    with pytest.raises(ConfigError, match=r"node.yaml:3:29 results.institution_name: environment variable HOSPITAL is not set"):
        load_settings(tmp_path / "node.yaml", {})
    found = mistakes(MINIMAL + "database_url: [hunter2]\ndatabase_url_file: nowhere\n", folder=tmp_path)
    assert "hunter2" not in "".join(found)
    assert any("both stand here" in line for line in found)
    assert "No such file" in mistakes(MINIMAL + "database_url_file: nowhere\n", folder=tmp_path)[0]


def test_a_missing_or_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    """No file, and a file in another encoding."""
    with pytest.raises(ConfigError, match="there is no such file; make one with: dicom-node init"):
        load_settings(tmp_path / "node.yaml", {})
    (tmp_path / "node.yaml").write_bytes(b"site:\n  name: M\xfcnchen\n")
    with pytest.raises(ConfigError, match=r"node.yaml:2:1 the file: this line is not UTF-8"):
        load_settings(tmp_path / "node.yaml", {})
    (tmp_path / "node.yaml").write_bytes(b"\xef\xbb\xbfsite: {timezone: UTC}\r\n")
    assert load_settings(tmp_path / "node.yaml", {}).site.timezone == "UTC"


class _FakeKind:
    """A destination of another package."""

    MEDIA_TYPES = (DICOM,)

    class Settings(DestinationSettings):
        """What it needs."""

        depth: int = Field(ge=1, description="How deep.")


def test_a_destination_of_another_package_is_read_with_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new kind needs no change in the configuration."""
    real_kinds, real_load = plugins.known_kinds, plugins.load_kind

    def known(family: str) -> tuple[str, ...]:
        return tuple(sorted((*real_kinds(family), "well"))) if family == "destination" else real_kinds(family)

    def load(family: str, name: str) -> Any:
        return _FakeKind if (family, name) == ("destination", "well") else real_load(family, name)

    for module in ("fields", "cross_checks", "model"):
        for name, function in (("known_kinds", known), ("load_kind", load)):
            monkeypatch.setattr(f"dicom_node.config.{module}.{name}", function, raising=False)
    loaded = parse_settings(MINIMAL + "destinations:\n  w: {kind: well, depth: 3, outputs: secondary_capture}\n")
    assert isinstance(loaded.destinations["w"], _FakeKind.Settings)
    (line,) = mistakes(MINIMAL + "destinations:\n  w: {kind: well, depth: 0}\n")
    assert line == 'node.yaml:3:26 destinations.w.depth: "0" must be greater than or equal to 1. Meant: How deep.'
    (line,) = mistakes(MINIMAL + "destinations:\n  w: {kind: well, depth: 1, dept: 2}\n")
    assert 'Did you mean "depth"?' in line


def test_settings_made_in_code_pass_the_same_checks() -> None:
    """The model itself refuses what the file may not say."""
    made = NodeSettings(site=SiteSettings(timezone="UTC"))
    assert NodeSettings.model_validate(made) is made
    with pytest.raises(ValueError, match="there is no pipeline"):
        NodeSettings.model_validate({"site": {"timezone": "UTC"}, "routing": {"rules": [{"name": "a", "pipeline": "nope"}]}})


def test_a_written_settings_object_reads_back_the_same() -> None:
    """JSON of the settings is a settings file."""
    loaded = load_settings((ROOT / "deploy/config/full.yaml"), {})
    again = parse_settings(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False))
    assert again == loaded


def test_the_full_example_has_every_section_with_a_comment_and_every_kind_of_destination() -> None:
    """Whoever looks for a setting finds it there in its place."""
    lines = (ROOT / "deploy/config/full.yaml").read_text(encoding="utf-8").splitlines()
    for section in NodeSettings.model_fields:
        (index,) = (n for n, line in enumerate(lines) if line.startswith(f"{section}:"))
        assert lines[index - 1].startswith("# "), section
    shown = {line.split()[-1] for line in lines if line.startswith("    kind: ")}
    assert set(plugins.known_kinds("destination")) <= shown


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/config").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_loads(path: Path) -> None:
    """The examples that come with the project are right, and send nothing unasked."""
    loaded = load_settings(path, {})
    assert loaded.routing.rules
    for rule in loaded.routing.rules:
        assert rule.release is Release.SILENT or rule.destinations


BASE = (ROOT / "deploy/config/full.yaml").read_text()
LINES = BASE.splitlines()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_mutated_file_is_settings_or_config_error(data: st.DataObject) -> None:
    """Whatever is cut, doubled, indented or typed into the file: settings, or ConfigError whose every line has a place."""
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["cut", "double", "indent", "text", "value", "swap"]))
        if change == "cut":
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        elif change == "indent":
            lines[at] = " " * data.draw(st.integers(1, 6)) + lines[at]
        elif change == "text":
            lines[at] = data.draw(st.text(max_size=30))
        elif change == "value":
            value = data.draw(
                st.sampled_from(["[]", "{}", "", "~", "-1", "nan", "inf", "[a, {b: c}]", "{0: 1}", "'x'", "1e999", "!x y"])
            )
            lines[at] = lines[at].partition(":")[0] + ": " + value
        else:
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
    try:
        loaded = parse_settings("\n".join(lines))
    except ConfigError as error:
        for line in str(error).splitlines():
            assert line.startswith("node.yaml:"), line
            assert ": " in line
    else:
        assert isinstance(loaded, NodeSettings)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda b: b.decode("latin-1")))
def test_any_text_is_settings_or_config_error(text: str) -> None:
    """No text raises anything but ConfigError."""
    with pytest.raises(ConfigError):
        parse_settings(text)


def test_the_port_for_messages_is_its_own() -> None:
    """HL7 cannot have the port of reception or the pages."""
    text = "site: {timezone: UTC}\norders: {listener: {port: 11112, peers: 10.0.0.1}}"
    with pytest.raises(ConfigError, match=r"orders\.listener\.port: port 11112 is taken twice, by DICOM and by HL7"):
        parse_settings(text)
