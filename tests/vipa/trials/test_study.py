"""The study of a plan and of a log: names, comparisons, notes, JSON; and the pages made of it."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from fabricated_trials import label_of, new_store, result_of, run_all

from vipa.errors import ConfigurationError, VipaError
from vipa.trials.comparison import PairedCounts, mcnemar_exact_test
from vipa.trials.html_report import html_report
from vipa.trials.markdown_report import markdown_report
from vipa.trials.plan import PlannedTrial
from vipa.trials.result import TrialLog
from vipa.trials.study import read_study

HOSTILE = "<script>alert('x')</script>|`*[\"&\n# head"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Page(HTMLParser):
    """Checks that every tag is closed, and collects what a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twelve layouts in two variants; "good" does everything, "bad" the first sub-task, but for one layout."""
    made = new_store(tmp_path_factory.mktemp("plan"), layouts=12, variants=("seen", "unseen_marker"), threshold=0.9)
    good = label_of(made, "good")
    figures = {"exposure_to_command_p99_ms": 41.5}
    run_all(made, lambda trial: 3 if trial.label == good or trial.seed == 0 else 1, figures=figures)
    return made


def test_the_study_of_a_plan_names_the_policies(store):
    study = read_study(store.folder)
    assert {(t.policy, t.variant, t.whole_task.successes, t.trials) for t in study.report.tasks} == {
        ("good", "seen", 12, 12),
        ("good", "unseen_marker", 12, 12),
        ("bad", "seen", 1, 12),
        ("bad", "unseen_marker", 1, 12),
    }
    assert [number for number, _ in study.results] == list(range(1, 49))
    bad = next(t for t in study.report.tasks if t.policy == "bad")
    assert bad.ended_at == {"pick up cloth": 0, "wipe pen marks": 11, "clean entire whiteboard": 0}
    assert bad.sub_task.value == pytest.approx((11 / 3 + 1) / 12)


def test_policies_are_compared_by_layout(store):
    for comparison in read_study(store.folder).comparisons:
        sign = 1 if comparison.first == "good" else -1
        only = (11, 0) if sign == 1 else (0, 11)
        assert comparison.pairs == PairedCounts(1, *only, 0)
        assert comparison.difference == pytest.approx(sign * 11 / 12)
        assert comparison.low <= comparison.difference <= comparison.high
        assert comparison.p_values == {"McNemar exact": mcnemar_exact_test(comparison.pairs)}
        assert comparison.adjusted == pytest.approx(2 * comparison.p_values["McNemar exact"])


def test_verdicts_have_names(store):
    verdicts = read_study(store.folder).verdicts
    assert len(verdicts) == 6
    found = {(v.variant, v.first, v.second): v.test.decision for v in verdicts}
    assert found["seen", "bad", ""] == "less"
    pair = next(v for v in verdicts if v.second)
    assert {pair.first, pair.second} == {"good", "bad"}
    assert pair.test.decision == ("greater" if pair.first == "good" else "less")


def test_blinded(store, tmp_path):
    folder = shutil.copytree(store.folder, tmp_path / "without key")
    (folder / "key.json").unlink()
    study = read_study(folder, blinded=True)
    assert {task.policy for task in study.report.tasks} == {"A", "B"}
    assert "good" not in html_report(study) + markdown_report(study) + json.dumps(study.to_result().details)
    with pytest.raises(ConfigurationError, match=r"key\.json: no such file"):
        read_study(folder)


def test_the_notes_say_what_is_missing_and_what_was_declared(tmp_path):
    store = new_store(tmp_path, aborted="repeat", stop_early=True)
    first, second = store.plan.trials[:2]
    store.finish(first.number, store.begin(first.number), result_of(first, 1, "aborted", detail="reflex of the arm"))
    store.begin(second.number)
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"event": "fini')
    notes = " ".join(read_study(tmp_path).notes)
    for text in (
        "0 of 8 planned trials",
        "an aborted trial is run again; an abort of attempt 3 counts as a failure",
        "decide wrongly with a chance of at most 5 %",
        "ends early",
        "set aside and run again: trial 1: reflex of the arm",
        "1 attempts have no result, by a crash or because they run: trials 2.",
        'cut off by a crash and is not counted: {"event": "fini',
    ):
        assert text in notes


def test_a_trial_without_an_action_belongs_to_its_policy(tmp_path):
    store = new_store(tmp_path, policies=("one",), layouts=3)
    for trial, known in zip(store.plan.trials, ("", "abc", "abc"), strict=True):
        store.finish(trial.number, store.begin(trial.number), result_of(trial, 0, "aborted", policy_hash=known))
    (task,) = read_study(tmp_path).report.tasks
    assert (task.policy_hash, task.trials) == ("abc", 3)


def test_a_policy_that_changes_between_trials_is_reported(tmp_path):
    store = new_store(tmp_path, policies=("one",), layouts=2)
    for trial, known in zip(store.plan.trials, ("abc", "def"), strict=True):
        store.finish(trial.number, store.begin(trial.number), result_of(trial, policy_hash=known))
    assert "one: its hash changed between trials: not one policy, but 2." in read_study(tmp_path).notes


def numbered(policy, wins, trials, start=0):
    return [
        result_of(PlannedTrial(0, 0, 0, policy, "seen", start + k), 3 if k < wins else 0, policy_hash=policy * 8)
        for k in range(trials)
    ]


def test_a_log_without_a_plan_is_compared_as_separate_trials(tmp_path):
    for result in numbered("a", 7, 10) + numbered("b", 1, 9, start=100):
        TrialLog(tmp_path / "trials.jsonl").append(result)
    study = read_study(tmp_path)
    (comparison,) = study.comparisons
    assert (comparison.pairs, comparison.successes, comparison.trials) == (None, (7, 1), (10, 9))
    assert list(comparison.p_values) == ["Boschloo", "Fisher exact"]
    assert comparison.p_values["Boschloo"] < comparison.p_values["Fisher exact"]
    assert (study.verdicts, study.design) == ((), None)
    assert read_study(tmp_path / "trials.jsonl").report == study.report


def test_a_log_in_which_both_met_the_same_layouts_once_is_paired(tmp_path):
    for result in numbered("a", 7, 10) + numbered("b", 1, 9):
        TrialLog(tmp_path / "trials.jsonl").append(result)
    (comparison,) = read_study(tmp_path).comparisons
    assert comparison.pairs == PairedCounts(1, 6, 0, 2)
    TrialLog(tmp_path / "trials.jsonl").append(numbered("b", 1, 1)[0])
    (comparison,) = read_study(tmp_path).comparisons
    assert comparison.pairs is None


def test_no_trials(tmp_path):
    with pytest.raises(VipaError, match=r"no trials here. Name a folder"):
        read_study(tmp_path)


def test_json(store, tmp_path):
    read_study(store.folder).to_result().write(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert set(content) == {"command", "ok", "figures", "bounds", "details", "machine"}
    assert content["figures"]["wipe_board.seen.good.whole_task"] == 1.0
    details = content["details"]
    assert len(details["trials"]) == 48
    assert {(r["table"], r["model"]) for r in details["paper"]} >= {(5, "VIPA-VLA"), (6, "VIPA-VLA")}
    assert details["design"]["layouts"] == 12
    assert len(details["verdicts"]) == 6


def test_the_page_is_whole_and_needs_nothing_else(store):
    text = html_report(read_study(store.folder))
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.addresses == []
    assert not re.search(r"https?://|url\(|@import", text)
    assert page.tags.count("svg") >= 2 * 3 + 6 + 2
    for shown in ("good", "paper: VIPA-VLA", "Beside the paper: wipe_board (unseen_marker)", "wipe pen marks", "41.5"):
        assert shown in page.text
    assert "60.0 % (31-83)" in page.text  # the paper's whole-task rate with the interval of ten trials


def test_hostile_text_stays_text(tmp_path):
    store = new_store(tmp_path, policies=(HOSTILE, "other"), layouts=2, variants=(HOSTILE,))
    names = {"task": HOSTILE, "sub_tasks": (HOSTILE, "b", "c"), "figures": {HOSTILE: 1.0}}
    run_all(store, lambda trial: 1, detail=HOSTILE, recording="javascript:alert(1)", **names)
    study = read_study(tmp_path)
    text = html_report(study)
    page = Page(text)
    assert "script" not in page.tags
    assert set(page.addresses) == {"javascript%3Aalert%281%29"}
    markdown = markdown_report(study)
    assert "<script" not in markdown
    assert "\n# head" not in markdown
    for line in markdown.splitlines():
        if line.startswith("| wipe"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (7, 9)


def test_markdown_has_as_many_cells_in_every_row(store):
    markdown = markdown_report(read_study(store.folder))
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 6
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| paper, Table 5 | VIPA-VLA | 10 | 83.0 % (52-96) | 60.0 % (31-83) |" in markdown
    assert "good is better than the threshold of 90 %" not in markdown  # 12 of 12 do not show that


def test_recordings_are_linked_and_pictures_beside_them_are_shown(tmp_path):
    store = new_store(tmp_path, policies=("one",), layouts=4)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "recordings/a b.png").write_bytes(PIXEL)
    (tmp_path / "thumbnails/0002.jpg").write_bytes(b"no picture")
    (tmp_path / "thumbnails/0003.jpg").write_bytes(b"\xff\xd8\xff" + bytes(500_000))
    (tmp_path / "thumbnails/0004.jpg").write_bytes(b"\xff\xd8\xff1234")
    for trial in store.plan.trials:
        recording = "recordings/a b.mcap" if trial.number == 1 else None
        store.finish(trial.number, store.begin(trial.number), result_of(trial, recording=recording))
    page = Page(html_report(read_study(tmp_path)))
    pictures = [address for address in page.addresses if address.startswith("data:")]
    assert pictures[0] == f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    assert pictures[1].startswith("data:image/jpeg;base64,")
    assert len(pictures) == page.tags.count("img") == 2
    assert [address for address in page.addresses if not address.startswith("data:")] == ["recordings/a%20b.mcap"]


def test_a_plan_without_a_trial_has_a_page(tmp_path):
    study = read_study(new_store(tmp_path, threshold=0.5).folder)
    page = Page(html_report(study))
    assert "0 of 8 planned trials are finished." in page.text
    assert "not decided after 0 of 4 layouts" in page.text
    assert markdown_report(study).startswith("# Trials\n")
