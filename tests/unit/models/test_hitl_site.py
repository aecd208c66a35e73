"""A site's own scans and readers go through the rounds: two dozen drawn chests as DICOM, an index, an export of the node's form."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import load_bundle
from models.phantoms.ct import CtPhantom, thorax
from models.phantoms.ct_dicom import as_series
from models.recipes import ct_ntm
from models.training.hitl import report, training
from models.training.hitl.folds import keyed_number
from models.training.hitl.node_export import DrawnRegion
from models.training.hitl.protocol import FIRST, HITL
from models.training.hitl.site_answers import first_reads, read_exports
from models.training.hitl.site_cohort import Scan, read_scans
from models.training.hitl.site_index import Row, part_of, read_index, read_readers
from models.training.hitl.study import CLINICAL_ONLY, PICTURE_ONLY
from models.training.hitl.training import FitSettings
from pipelines.blocks.clinical import Clinical
from pipelines.blocks.prepare_ct import PreparedVolume

TINY = ct_ntm.Form(
    "TINY.", 0, 0, 0, 0, (16, 16, 16), (4, 4, 4, 4), FitSettings(2, rate=3e-3), FitSettings(1, rate=1e-3), resamples=200
)
READERS = ("ra", "rb", "rd_third")
ILL, WELL, DIFFER = (1.0, 0.75, 1.0), (0.0, 0.25, 0.0), (1.0, 0.25, 0.0)
#: Hundredths of the keyed hash: who trains, validates, tests where readers agree.
TRAIN, VALIDATE, HELD = range(60), range(60, 75), range(75, 100)


def ids(buckets: range, count: int) -> list[str]:
    """Return patients whose hash puts them there."""
    found = (f"pt{n:04d}" for n in range(5000) if keyed_number(f"pt{n:04d}") % 100 in buckets)
    return [next(found) for _ in range(count)]


TRAINED, VALIDATED, TESTED = ids(TRAIN, 5), ids(VALIDATE, 4), ids(HELD, 10)
DIFFERED, CHILD, ABROAD = ids(TRAIN, 9)[5:], ids(VALIDATE, 5)[4], ids(HELD, 11)[10]
EVERYBODY = [*TRAINED, *VALIDATED, *TESTED, *DIFFERED, CHILD, ABROAD]


def is_ill(patient: str) -> bool:
    return EVERYBODY.index(patient) % 2 == 0


@pytest.fixture(scope="module")
def chests() -> tuple[CtPhantom, CtPhantom]:
    return thorax(1, slices=40, size=56), thorax(2, slices=40, size=56, ntm=0.9, cavities=4)


@pytest.fixture(scope="module")
def data(chests: tuple[CtPhantom, CtPhantom], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a data scientist fills: a series a patient, and ``index.csv``."""
    folder = tmp_path_factory.mktemp("site")
    rows = []
    for patient in EVERYBODY:
        (folder / patient).mkdir()
        born: dict[str, Any] = {"PatientBirthDate": "20150101"} if patient == CHILD else {}
        for n, ds in enumerate(as_series(chests[is_ill(patient)], seed=patient, PatientSex="F", **born)):
            ds.save_as(folder / patient / f"{n:03d}.dcm", enforce_file_format=True)
        said: Sequence[float | str] = DIFFER if patient in DIFFERED else ILL if is_ill(patient) else WELL
        line = {
            "patient_id": patient,
            "export_id": f"ex_{patient}",
            "series": patient,
            "truth": "disease" if is_ill(patient) else "none",
            "smear": "2+",
        }
        reads = dict(zip(("read_ra", "read_rb", "read_rc"), said, strict=True)) if patient != ABROAD else {}
        rows.append({**line, "site": "elsewhere" if patient == ABROAD else "", **reads})
    with (folder / "index.csv").open("w", newline="") as handle:
        lines = csv.DictWriter(
            handle, ["patient_id", "export_id", "series", "truth", "smear", "site", "read_ra", "read_rb", "read_rc"]
        )
        lines.writeheader()
        lines.writerows(rows)
    (folder / "readers.csv").write_text("reader,export_id\nrc,rd_third\n")
    return folder


def export(folder: Path, cases: list[dict[str, Any]], regions: list[dict[str, Any]]) -> Path:
    """Write what ``dicom-node learning export`` writes, as far as the protocol reads it."""
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"format": "dicom-node training export, 1"}))
    for name, lines in (("labels", cases), ("rois", regions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def answered(patient: str, images: Sequence[str], bundle: str) -> dict[str, Any]:
    """All three now say that it is there, and that the map lies at the right place."""
    reads = [{"reader": reader, "value": 1.0, "context": "after_ai", "ai_shown": True, "map_relevant": "yes"} for reader in READERS]
    return {
        "result": f"rs_{patient}_{bundle[:4]}", "patient": patient, "split": "train", "images": list(images), "pipeline": "ct_ntm",
        "finding": "ntm_disease", "label": 1.0, "status": "consensus", "ai": {"probability": 0.6}, "bundles": [bundle],
        "reads": reads,
    }  # fmt: skip


class Site:
    """What two calls of the recipe left."""

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out
        self.words = ["--data", str(data), "--out", str(out), "--rounds", "1", "--threads", "1", "--date", "2026-01-01"]

    def call(self, *more: str) -> tuple[str, dict[str, Any]]:
        ct_ntm.main([*self.words, *more], TINY)
        return (self.out / "report.md").read_text(), json.loads((self.out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def site(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(data, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def begun(site: Site) -> tuple[str, dict[str, Any]]:
    return site.call("--bundle", str(site.out / "ct_ntm" / "1.0.0"))


@pytest.fixture(scope="module")
def listed(site: Site, begun: tuple[str, dict[str, Any]]) -> list[dict[str, str]]:
    with (site.out / "next.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def went_on(
    site: Site, begun: tuple[str, dict[str, Any]], listed: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """Round 1: one patient of the fold answered on the bundle of round 0 and a region was drawn, the other on something else."""
    first, second = sorted({line["patient_id"] for line in listed})
    made = load_bundle(site.out / "ct_ntm" / "1.0.0").sha256
    image = f"images/{first}/{next(line['image'] for line in listed if line['patient_id'] == first).split('#')[0]}.dcm"
    region = {
        "result": f"rs_ex_{first}_{made[:4]}", "image": image, "frame": 1, "points": [[10, 20], [20, 30]], "sign": 1,
        "finding": "ntm_disease", "reader": "ra", "strength": "strong",
    }  # fmt: skip
    lost = {**region, "image": f"images/{first}/1.2.3.dcm"}
    cases = [answered(f"ex_{first}", [image], made), answered(f"ex_{second}", [], "0" * 64)]
    folder = export(tmp_path_factory.mktemp("exports") / "one", cases, [region, lost])
    with pytest.MonkeyPatch.context() as patch:
        fits: list[int] = []

        def counted(*given: Any) -> Any:
            fits.append(1)
            return training.fit(*given)

        patch.setattr("models.training.hitl.network.fit", counted)
        found = site.call("--round", "1", "--answers", str(folder))
    assert len(fits) == 2  # round 1 of either arm; round 0 is kept
    return found


def test_round_0_trains_on_first_reads_and_says_what_it_cannot_say(begun: tuple[str, dict[str, Any]], site: Site) -> None:
    page, found = begun
    assert {row["arm"] for row in found["discrimination"]} == {FIRST, CLINICAL_ONLY, PICTURE_ONLY}
    (internal,) = [row for row in found["discrimination"] if row["arm"] == FIRST]
    assert (internal["cohort"], internal["n"], internal["positives"]) == ("internal, consensus", 10, 5)
    assert "external: **not computed**, 1 with and 0 without" in page or "external: **not computed**, 0 with and 1 without" in page
    for what in (report.COMPARED, report.ENERGY, report.READERS, report.THRESHOLDS, report.CONTROL):
        assert f"{what}: **not computed**" in page, what
    (gone,) = found["left_out"]
    assert gone.startswith(f"{CHILD}: too_young")
    bundle = load_bundle(site.out / "ct_ntm" / "1.0.0")
    assert (bundle.version, bundle.synthetic, bundle.evidence) == ("1.0.0", False, "demo")
    card = (bundle.folder / "MODEL_CARD.md").read_text()
    assert "drawn chests" not in card
    assert "SYNTHETIC" not in card


def test_what_readers_shall_look_at_next_names_patients_and_places(
    begun: tuple[str, dict[str, Any]], listed: list[dict[str, str]], site: Site
) -> None:
    folds = json.loads((site.out / "protocol.json").read_text())["low"]
    assert sorted({line["patient_id"] for line in listed}) == sorted(folds[1])
    assert sorted(folds[0] + folds[1]) == sorted(DIFFERED)
    for line in listed:
        assert 0 <= float(line["probability"]) <= 1
        if line["image"]:
            assert 0 <= float(line["column"]) < 56
            assert 0 <= float(line["row"]) < 56
    assert f"the {len(folds[1])} patients of `next.csv`" in begun[0]
    assert "--round 1 --answers EXPORT" in begun[0]


def test_round_1_goes_on_with_answers_to_its_own_network_alone(
    went_on: tuple[str, dict[str, Any]], listed: list[dict[str, str]], site: Site
) -> None:
    page, found = went_on
    first, second = sorted({line["patient_id"] for line in listed})
    told = found["readers"][HITL]
    assert (told["consensus"]["hits"], told["consensus"]["n"]) == (1, 1)
    assert (told["helpful"]["cases"]["hits"], told["helpful"]["answers"]["yes"]) == (1, 3)
    assert told["right"]["after"]["hits"] == int(is_ill(first))
    assert f"{second}: answers to another network than that of the round before" in found["unused"]
    assert f"{second}: nobody looked again in round 1; the first reads stand" in found["unused"]
    assert f"{first}: a region on an image that is not in the series" in found["unused"]
    assert {row["arm"] for row in found["discrimination"]} >= {HITL, FIRST}
    assert [row["against"] for row in found["differences"]] == [FIRST]
    assert f"{report.USEFUL}: **not computed**" in page
    assert "All planned rounds are answered" in page
    assert not (site.out / "next.csv").exists()


def test_a_round_without_the_one_before_ends_with_its_cure(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no round 0: run without --round first"):
        ct_ntm.main(["--data", str(data), "--out", str(tmp_path), "--round", "1"], TINY)


HEAD = "patient_id,series,truth,age,sex,smear,species,site,part,read_a,read_b,read_c,export_id"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("p,,,,,,,,,,,", "line 2: series is missing"),
        ("p,s,perhaps,,,,,,,,,", 'truth "perhaps" is not known. Known: disease, none'),
        ("p,s,,old,,,,,,,,", 'age is "old", which is no number'),
        ("p,s,,,X,,,,,,,", 'sex "X" is not known'),
        ("p,s,,,,many,,,,,,", 'smear "many" is not understood'),
        ("p,s,,,,,tuberculosis,,,,,", 'species "tuberculosis" is not understood'),
        ("p,s,,,,,,,train,,,", 'part "train" is not known. Known: read, thresholds, test'),
        ("p,s,,,,,,other,read,,,", "a patient of another site (other) only tests"),
        ("p,s,,,,,,,,2,,", "read_a is 2: a score lies between 0 and 1"),
        ("p,s,,,,,,,,,,\np,t,,,,,,,,,,", "line 3: the patient has a row already"),
        ("p,s,,,,,,,,,,,x\nx,t,,,,,,,,,,,", "line 3: x is another patient's in exports already"),
    ],
)
def test_a_wrong_line_is_named_with_what_would_be_right(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(f"{HEAD}\n{line}\n")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is what is asked
        read_index(tmp_path)
    assert told in str(caught.value)


def test_the_index_wins_over_the_header_and_the_part_follows_reads_truth_and_site(data: Path, tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(f"{HEAD}\np,s,none,70,M,++,M. kansasii,,,1,0.5,0\n")
    (row,) = read_index(tmp_path)
    assert row.clinical == Clinical(70, "M", 2, "kansasii")
    assert row.first == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert part_of(row, row.first) == "read"
    unread = Row("p", tmp_path, 1, Clinical(), "internal", "")
    assert part_of(unread, {}) in ("thresholds", "test")
    assert part_of(Row("p", tmp_path, None, Clinical(), "internal", ""), {"a": 1.0}) == ""
    assert part_of(Row("p", tmp_path, 1, Clinical(), "elsewhere", ""), row.first) == "test"
    known = Row("x", data / TRAINED[0], 1, Clinical(age_years=80), "internal", "")
    other = Row("y", data / TRAINED[1], 1, Clinical(), "internal", "")
    gone = Row("z", data / "nowhere", 1, Clinical(), "internal", "")
    cohort = read_scans([known, other, gone], {**ct_ntm.PREPROCESSING, "size": [16, 16, 16]}, tmp_path, lambda _: None)
    assert cohort.volumes.clinical[0, 0] == 1.0
    assert cohort.volumes.clinical[1, 0] == pytest.approx(56 / 80, abs=0.01)  # born in 1970
    assert cohort.volumes.clinical[:, 1].tolist() == [1, 1]
    assert cohort.left_out == ("z: its folder is not there",)
    assert 0.1 < cohort.lungs.mean() < 0.9


def test_first_reads_out_of_exports_count_and_of_a_reader_the_first(tmp_path: Path) -> None:
    early, late = (answered("p", [], bundle * 64) for bundle in "ab")
    early["reads"] = [{"reader": r, "value": 0.25, "context": "blinded_first_read", "ai_shown": False} for r in READERS]
    late["reads"] = [{"reader": "ra", "value": 1.0, "context": "blinded_first_read", "ai_shown": False}]
    folders = [export(tmp_path / "first", [early], []), export(tmp_path / "second", [early, late, answered("q", [], "c")], [])]
    found = read_exports(folders, {"p": "mine"}, {"rd_third": "Third"})
    assert list(found) == ["mine"]
    cases = found["mine"]
    assert [case.bundles[0][0] for case in cases] == ["a", "b"]
    assert first_reads(cases) == dict.fromkeys(("ra", "rb", "Third"), 0.25)


def test_readers_have_other_names_in_exports_where_the_site_says_so(tmp_path: Path) -> None:
    assert read_readers(tmp_path) == {}
    (tmp_path / "readers.csv").write_text("reader,export_id\nra,rd_77\n")
    assert read_readers(tmp_path) == {"rd_77": "ra"}
    (tmp_path / "readers.csv").write_text("reader\nra\n")
    with pytest.raises(ValueError, match="every line needs reader and export_id"):
        read_readers(tmp_path)


def test_points_of_a_turned_and_shifted_image_lie_where_its_slice_is() -> None:
    prepared = PreparedVolume(np.zeros((1, 1, 4, 4, 4), np.float32), (1, 1, 1), (0, 0, 0), (2, 12, 12))
    scan = Scan(np.array(["", "1.2#1"]), prepared, np.array([[0.0, 0.0], [2.0, 1.0]]), (True, False), (10, 11))
    assert scan.slice_of(DrawnRegion("images/p/1.2.dcm", 1, (), 1, "")) == 1
    assert scan.slice_of(DrawnRegion("images/p/1.2.dcm", 2, (), 1, "")) is None
    (there,) = scan.on_slice([(3.0, 4.0)], 1)
    assert there == (4.0, 7.0)  # row 4 of 10 from the other end is 5, and 2 further down
    assert scan.on_image(*there, 1) == (3.0, 4.0)
