import html
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from tests.synthetic_run import ACCOUNT, Metrics, healthy, ill, write_run
from tests.train.test_modules import both
from truenorth.evaluate.report import write_report
from truenorth.methods import dump, recipe
from truenorth.request import request

VOID = {"meta", "br", "hr", "img", "input", "link", "circle", "path", "use", "rect"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; raises where a tag is closed that is not the open one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def report(directory: Path, records: list[Metrics] | None = None) -> str:
    return write_report(write_run(directory, records)).read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    assert report(tmp_path / "a") == report(tmp_path / "b")


def test_every_tag_is_closed_in_order(tmp_path: Path) -> None:
    assert Page(report(tmp_path, ill())).open == []


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    page = Page(report(tmp_path))
    loads = [value for name, value in page.attributes if name in ("src", "srcset", "data", "action", "poster")]
    links = [value or "" for name, value in page.attributes if name in ("href", "xlink:href")]
    assert loads == []
    assert all(link.startswith(("#", "https://arxiv.org/abs/")) for link in links)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)


def test_every_id_is_there_once_and_every_reference_has_one(tmp_path: Path) -> None:
    page = report(tmp_path / "run", both(healthy(), ill()))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_styles_import_nothing(tmp_path: Path) -> None:
    assert not re.search(r"@import|url\((?!#)", report(tmp_path))


def test_the_page_forbids_scripts_and_the_network_itself(tmp_path: Path) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in report(tmp_path)


@pytest.mark.parametrize("file", ["samples.json", "account.json", "summary.json", "run.yaml"])
def test_markup_in_a_file_is_shown_as_text(tmp_path: Path, file: str) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    write_run(tmp_path)
    contents = {
        "samples.json": json.dumps([{"prompt": evil, "before": evil, "after": evil}]),
        "account.json": json.dumps({"read": 1, "mapping": [evil], "lengths": {evil: {evil: 1}}}),
        "summary.json": json.dumps({"title": evil, "paper": evil, "citations": [evil], "notes": [evil]}),
        "run.yaml": json.dumps({"recipe": {"method": evil, "objective": {evil: evil}}, "run": {"model": evil}}),
    }
    (tmp_path / file).write_text(contents[file])
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert not {"script", "img"} & set(page.tags)


def test_markup_in_a_metrics_name_is_shown_as_text(tmp_path: Path) -> None:
    page = Page(report(tmp_path, [record | {"<script>x</script>": 1.0} for record in healthy()]))
    assert "script" not in page.tags


@pytest.mark.parametrize(("name", "section"), [("account", "data"), ("samples", "samples"), ("summary", "citations")])
def test_a_file_that_is_absent_has_no_section(tmp_path: Path, name: str, section: str) -> None:
    assert f'id="{section}"' in report(tmp_path)
    (tmp_path / f"{name}.json").unlink()
    assert f'id="{section}"' not in write_report(tmp_path).read_text(encoding="utf-8")


def test_an_account_that_says_little_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "account.json").write_text(json.dumps({"read": 10, "kept": 10, "dropped": 0}))
    assert "none dropped" in write_report(tmp_path).read_text(encoding="utf-8")


def test_every_reason_is_in_the_report_with_its_example(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert all(f"row {reason['example']['row']}" in page for reason in ACCOUNT["reasons"])


def test_every_finding_that_is_not_good_shows_its_setting(tmp_path: Path) -> None:
    page = report(tmp_path, ill())
    assert page.count('<p class="turn">') == page.count('<li class="problem">') + page.count('<li class="watch">') > 0


def test_a_failed_write_leaves_the_last_report_whole(tmp_path: Path) -> None:
    before = report(tmp_path)
    (tmp_path / "summary.json").write_text('{"steps": "many"}')
    with pytest.raises(ValueError, match=r"summary\.json: steps"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_no_temporary_file_stays_behind(tmp_path: Path) -> None:
    report(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_to_run_it_again_is_read_where_the_run_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the run.yaml, and another directory than the run's own, which is taken."""
    monkeypatch.chdir(tmp_path)
    settings = {"recipe": dump(recipe("ipo")), "run": {"model": "m", "data": ["d.jsonl"], "out": "runs/a run"}}
    folder = write_run(Path("runs/a run"))
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    page = write_report(folder).read_text()
    (line,) = re.findall(r"Run it again with <code[^>]*>truenorth train (.*?)</code>", page)
    target, flag, out = shlex.split(html.unescape(line))
    again = request(target, {flag[2:]: out})
    assert again.recipe() == recipe("ipo")
    assert (again.run.model, again.run.out) == ("m", Path("OTHER"))
