"""The page in headless Chromium: ranked by keyboard, by mouse, and with texts that mean harm."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.browser import chromium

from annotation.labels.page import page
from annotation.labels.tasks import Asked, Task, plan_tasks
from annotation.labels.tools import read_ratings
from pools.types import Example, Message, Prompt, Response

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
LONG = "word " * 4000  # 20,000 characters


def examples(count: int) -> list[Example]:
    prompts: list[Prompt] = [Prompt(f"prompt {n}") for n in range(count)]
    prompts[0] = Prompt(f"</script>{HOSTILE}")
    prompts[1] = Prompt(LONG)
    prompts[2] = Prompt((Message("user", HOSTILE), Message("assistant", "well"), Message("user", "go on")))
    return [
        Example(
            prompt, tuple(Response(f"{HOSTILE if n < 3 else ''}{place} of {n}", 0.0) for place in range(4))
        )
        for n, prompt in enumerate(prompts)
    ]


def asked(count: int) -> list[Asked]:
    return [Asked(example, 1) for example in examples(count)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium("the page of labels") as started:
        yield started


class Opened:
    """A page of tasks that is open in a browser of its own state."""

    def __init__(self, browser: Any, folder: Path, tasks: Sequence[Task]) -> None:
        self.tasks = list(tasks)
        self.path = folder / "ann.html"
        self.path.write_text(page("ann", self.tasks))
        self.page = browser.new_context(accept_downloads=True).new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "console", lambda said: self.problems.append(said.text) if said.type == "error" else None
        )
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.path.as_uri())

    def _heard(self, said: Any) -> None:
        if said.type == "error":
            self.problems.append(said.text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def status(self) -> str:
        return str(self.page.inner_text("#status"))

    def count(self) -> str:
        return str(self.page.inner_text("#count"))

    def ranks(self) -> list[str]:
        return [
            str(each) for each in self.page.eval_on_selector_all("select", "all => all.map(e => e.value)")
        ]

    def export(self) -> Path:
        with self.page.expect_download() as download:
            self.press("e")
        path = self.path.with_name(download.value.suggested_filename)
        download.value.save_as(path)
        return path


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    tasks = plan_tasks(asked(6), kind="ranking", raters=["ann"], seed=0)
    made = Opened(browser, tmp_path, tasks)
    yield made
    assert made.problems == []
    made.page.context.close()


def ranks_of(task: Task) -> list[int]:
    """The ranks by which this test answers a task: by the digit that follows a response's harmful part."""
    return [1 + int(response.text.replace(HOSTILE, "")[0]) for response in task.shown]


@pytest.mark.slow
def test_fifty_tasks_by_keyboard_with_a_reload_between(browser: Any, tmp_path: Path) -> None:
    tasks = plan_tasks(asked(50), kind="ranking", raters=["ann"], seed=0)
    opened = Opened(browser, tmp_path, tasks)
    for number, task in enumerate(tasks):
        if number == 25:
            opened.page.reload()
            assert opened.count() == "25 of 50 done; this is task 26"
        opened.press(*map(str, ranks_of(task)), "Enter")
    assert opened.count() == "50 of 50 done; this is task 50"
    assert "All tasks are done" in opened.status()
    found = read_ratings(opened.export())
    assert [rating.task for rating in found] == [task.id for task in tasks]
    for rating, task in zip(found, tasks, strict=True):
        assert rating.values == {place: float(rank) for place, rank in enumerate(ranks_of(task))}
        assert rating.seconds is not None and 0 < rating.seconds < 60
    assert opened.problems == []
    assert opened.page.title() == "Labels by ann"
    assert all(url.startswith(("file:", "blob:")) for url in opened.requests), opened.requests


def test_harmful_text_is_shown_as_text(opened: Opened) -> None:
    page = opened.page
    assert page.inner_text("#prompt") == f"</script>{HOSTILE}"
    assert HOSTILE in page.inner_text("#responses li")
    assert page.eval_on_selector_all("main script, main img", "all => all.length") == 0
    assert page.title() == "Labels by ann"
    # Were an element made of it after all, the policy would still not let it run.
    element = """<b onclick="document.title='owned'" id=b>b</b>"""
    page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", element)
    page.evaluate("document.getElementById('b').click()")
    assert page.title() == "Labels by ann"
    assert any("Content Security Policy" in said for said in opened.problems)
    opened.problems.clear()


def test_a_long_prompt_scrolls_in_its_own_box(opened: Opened) -> None:
    opened.press("1", "2", "3", "4", "Enter")
    box = opened.page.eval_on_selector("#prompt", "each => [each.scrollHeight, each.clientHeight]")
    assert box[0] > box[1] and opened.page.evaluate("document.body.scrollWidth <= innerWidth")
    assert len(opened.page.inner_text("#prompt").strip()) == len(LONG.strip())


def test_ties_unable_notes_and_undo(opened: Opened) -> None:
    opened.press("1", "2", "2", "Enter")
    assert "no rank yet" in opened.status()
    opened.press("1", "u", "4", "Enter", "x", "n")
    opened.page.keyboard.type("12 e x")  # letters and digits are text in a note
    opened.press("Escape", "Enter", "1", "1", "Backspace", *["ArrowUp"] * 3)
    assert opened.page.inner_text(".marked .name") == "Response 4"
    opened.press("5")
    assert opened.status() == "There are 4 responses."
    opened.press("o")
    found = json.loads(opened.export().read_text())["ratings"]
    assert found[0]["ranks"] == [1, 2, 2, 4]
    assert found[1]["cannot_judge"] and found[1]["note"] == "12 e x"
    assert found[2]["ranks"] == [1, 1, None, None]
    answers = read_ratings(opened.path.with_name("ann-labels.json"))
    assert answers[0].values == {0: 1.0, 1: 2.0, 2: 2.0, 3: 3.0}
    assert answers[1].values == {}


def test_dragging_ranks(opened: Opened) -> None:
    cards = opened.page.locator(".response")

    def drag(moved: int, onto: int, share: float) -> None:
        box = cards.nth(onto).bounding_box()
        spot = {"x": box["width"] / 2, "y": box["height"] * share}
        cards.nth(moved).locator(".grip").drag_to(cards.nth(onto), target_position=spot)

    drag(3, 0, 0.1)  # the last above the first
    assert opened.ranks() == ["2", "3", "4", "1"]
    drag(1, 2, 0.9)  # below the third
    assert opened.ranks() == ["2", "4", "3", "1"]
    drag(0, 3, 0.5)  # a tie with the last
    assert opened.ranks() == ["1", "3", "2", "1"]
    opened.press("u")
    assert opened.ranks() == ["2", "4", "3", "1"]


def test_every_control_has_a_name_and_the_page_fits_a_phone(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 400, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
    for role, name in [
        ("region", "Prompt"), ("group", "Response 1"), ("combobox", "Rank of Response 1"),
        ("region", "Text of Response 4"), ("checkbox", "I cannot judge these"), ("textbox", "Note"),
        ("progressbar", "Progress"), ("button", "Export E"), ("navigation", "Tasks"),
    ]:  # fmt: skip
        assert opened.page.get_by_role(role, name=name, exact=True).count() == 1, (role, name)
    assert opened.page.get_attribute("#status", "aria-live") == "polite"
    opened.page.get_by_role("combobox", name="Rank of Response 2").select_option("1")
    assert opened.ranks() == ["", "1", "", ""]


def test_another_export_begins_anew(browser: Any, tmp_path: Path) -> None:
    first = plan_tasks(asked(4), kind="ranking", raters=["ann"], seed=0)
    second = plan_tasks(asked(4), kind="ranking", raters=["ann"], seed=1)
    opened = Opened(browser, tmp_path, first)
    opened.press("1", "2", "3", "4", "Enter")
    opened.path.write_text(page("ann", second))
    opened.page.reload()
    assert opened.count() == "0 of 4 done; this is task 1"
