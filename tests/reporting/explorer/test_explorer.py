"""The explorer in a real browser. Oracle: numpy on the runs' predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from browser import browse, wait
from cpnet.reporting.documents import to_explorer
from cpnet.reporting.explorer.pack import Attention, pack
from cpnet.reporting.tables import Report, Table
from reporting.made import compared, config, spans, write_run

PAIRS = 300
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script> door"
NAME = "<b onclick=alert(3)>"


def write_runs(folder: Path, true: NDArray[Any], guesses: list[NDArray[Any]], queries: list[str]) -> Report:
    """Write runs of pairs of which three each have a video."""
    for run, predicted in enumerate(guesses):
        place = write_run(folder / f"{run}", cfg=config(novelty=NAME + str(run)), true=true, predicted=predicted)
        rows = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
        for number, row in enumerate(rows):
            row |= {"query": queries[number], "video": f"v{number // 3}"}
        (place / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return compared(folder)


def draw_pairs(pairs: int, runs: int, words: list[str]) -> tuple[NDArray[Any], list[NDArray[Any]], list[str]]:
    """Return true spans, the predictions of runs, and queries."""
    true, rng = spans(pairs, 100), np.random.default_rng(0)
    guesses = [np.sort(np.clip(true + rng.normal(0, 2, true.shape), 0, 10)) for _ in range(runs)]
    return true, guesses, [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(pairs)]


def write_page(path: Path, report: Report, looks: list[Attention | str], *others: Table) -> str:
    packs = [pack(report.tables[0], looks), *map(pack, others)]
    path.write_text(to_explorer(report, [{}], packs, path.parent))
    return f"file://{path}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, NDArray[Any]]]:
    """Address of a page of three runs, with a second table of one, and the columns of the pairs in order of qid."""
    folder = tmp_path_factory.mktemp("explored")
    true, guesses, queries = draw_pairs(PAIRS, 3, ["door", "Window", "cup", "opens", "closes", "person"])
    queries[7] = HOSTILE
    report = write_runs(folder, true, guesses, queries)
    other = write_runs(folder / "other", *draw_pairs(12, 1, ["cup"])).tables[0]
    order = np.argsort([f"q{pair}" for pair in range(PAIRS)])
    hostile = int(np.flatnonzero(order == 7)[0])
    curve, weights = np.array([0, 255, 100], np.uint8), np.array([51, 204], np.uint8)
    looks = Attention(pairs=[hostile], clips=[curve], words=[["<i>", "door (?)"]], weights=[weights])
    address = write_page(folder / "report.html", report, [looks, "it is <lost>", looks], other)
    met = [np.clip(np.minimum(p, true)[:, 1] - np.maximum(p, true)[:, 0], 0, None) for p in guesses]
    lengths = [np.diff(each)[:, 0] for each in (true, *guesses)]
    ious = [m / (lengths[0] + length - m) for m, length in zip(met, lengths[1:], strict=True)]
    columns = {f"iou{run}": iou for run, iou in enumerate(ious)}
    columns |= {"query": np.array(queries), "qid": np.array([f"q{pair}" for pair in range(PAIRS)])}
    columns |= {"length": lengths[0], "start": 10 * true[:, 0], "video": np.arange(PAIRS) // 3}
    return address, {name: column[order] for name, column in columns.items()}


def texts(page: Any, selector: str) -> list[str]:
    return [str(text) for text in page.locator(selector).evaluate_all("nodes => nodes.map((n) => n.textContent)")]


def listed(page: Any) -> list[str]:
    """Queries of the list's first rows."""
    return texts(page, "#rows .query")


def count(page: Any) -> int:
    return int(page.inner_text("#count").split(" of ")[0])


def table(page: Any) -> list[list[str]]:
    cells = texts(page, "#runs tbody td")
    return [cells[start : start + 3] for start in range(0, len(cells), 3)]


def summary(columns: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]) -> list[list[str]]:
    """Mean IoU, pairs of IoU 0.5 or more, and pairs that a run alone answers best, as the page prints them."""
    ious = np.stack([columns[f"iou{run}"][chosen] for run in range(3)])
    alone = (ious > np.sort(ious, axis=0)[-2] + 1e-6).sum(axis=1)
    return [
        [f"{100 * iou.mean():.2f}", f"{100 * (iou >= 0.5).mean():.2f}", str(wins)]
        for iou, wins in zip(ious, alone, strict=True)
    ]


@pytest.mark.slow
def test_pairs_are_found_sorted_brushed_and_shown(made: tuple[str, dict[str, NDArray[Any]]]) -> None:
    address, of = made
    everything = np.ones(PAIRS, bool)
    with browse(1280, 900) as (page, complaints, requests):
        page.goto(address)
        wait(page, "!document.getElementById('to-pairs').disabled")
        assert page.is_visible("#tables td >> nth=0")
        page.click("#to-pairs")
        assert (count(page), table(page)) == (PAIRS, summary(of, everything))
        ascending = np.argsort(of["iou0"], kind="stable")
        assert listed(page)[:8] == [*of["query"][ascending][:8]]

        has_door = np.array(["door" in text and "window" in text for text in map(str.lower, of["query"])])
        page.keyboard.press("/")
        page.keyboard.type("DOOR window")
        assert (count(page), table(page)) == (has_door.sum(), summary(of, has_door))
        page.keyboard.press("Escape")
        page.keyboard.press("j")  # not into the field
        page.fill("#video", "v1")
        in_video = np.array([str(video).startswith("1") for video in of["video"]])
        assert count(page) == (has_door & in_video).sum()
        page.click("#clear")
        assert count(page) == PAIRS

        page.select_option("#b", "2")
        page.click("#heads .gain button")
        gain = of["iou0"] - of["iou2"]
        assert listed(page)[:8] == [*of["query"][np.argsort(-gain, kind="stable")][:8]]
        page.click("#heads .gain button")
        assert listed(page)[:8] == [*of["query"][np.argsort(gain, kind="stable")][:8]]
        page.click("#heads .run-1 button")
        assert listed(page)[:8] == [*of["query"][np.argsort(of["iou1"], kind="stable")][:8]]
        page.select_option("#a", "0")

        box = page.locator("#of-iou svg").bounding_box()
        across = [box["x"] + box["width"] * (bar + 0.5) / 20 for bar in (4, 11)]  # bars from 0.2 to 0.6
        page.mouse.move(across[0], box["y"] + 20)
        page.mouse.down()
        page.mouse.move(across[1], box["y"] + 30, steps=5)
        page.mouse.up()
        brushed = (of["iou0"] >= 0.2) & (of["iou0"] <= 0.6)
        assert (count(page), table(page)) == (brushed.sum(), summary(of, brushed))
        page.fill("#of-length input >> nth=0", "3")
        page.press("#of-length input >> nth=0", "Enter")
        page.fill("#of-start input >> nth=1", "40")
        page.press("#of-start input >> nth=1", "Tab")
        brushed &= (of["length"] >= 3) & (of["start"] <= 40)
        assert count(page) == brushed.sum() > 0
        page.click("#heads .length button")
        longest = np.flatnonzero(brushed)[np.argsort(of["length"][brushed], kind="stable")]
        page.click("#rows .row >> nth=0")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        assert page.inner_text("#query") == of["query"][longest[1]]
        qid = of["qid"][longest[1]]
        wait(page, f"location.hash.includes('pair={qid}')")
        page.reload()
        wait(page, "!document.getElementById('to-pairs').disabled")
        assert (count(page), page.inner_text("#query")) == (brushed.sum(), of["query"][longest[1]])
        shown = [f"IoU {of[f'iou{run}'][longest[1]]:.2f}" for run in range(3)]
        assert [text.partition(", ")[2] for text in texts(page, ".lane .line span:last-child")[1:]] == shown
        assert page.locator(".queries li").count() == 3
        page.keyboard.press("Escape")
        assert page.is_hidden("#pair")
        page.select_option("#table", "1")
        wait(page, "document.getElementById('count').textContent === '12 of 12 pairs'")
        wait(page, "location.hash === '#pairs&table=1'")
        page.reload()
        wait(page, "document.getElementById('count').textContent === '12 of 12 pairs'")
        assert (page.is_hidden("#versus"), page.locator("#of-gain, .gain").count()) == (True, 0)
    assert (complaints, {each for each in requests if not each.startswith("data:")}) == ([], {address})


@pytest.mark.slow
def test_texts_of_runs_are_text_and_a_pair_shows_where_models_look(made: tuple[str, dict[str, NDArray[Any]]]) -> None:
    with browse(390, 844, color_scheme="dark") as (page, complaints, requests):
        page.goto(f"{made[0]}#pairs&pair=q7&b=9&sort=constructor&iou=x~y&video=")
        wait(page, "!!document.querySelector('.curve')")
        assert (page.inner_text("#query"), count(page)) == (HOSTILE, PAIRS)
        assert page.inner_text("#runs tbody th >> nth=0").split() == ["A", *f"novelty={NAME}0".split()]
        assert page.locator("#pairs img, #pairs [onclick]").count() == 0
        curves = page.evaluate("[...document.querySelectorAll('.curve')].map((n) => n.getAttribute('d'))")
        assert curves == ["M0,255V255H33.333333333333336V0H66.66666666666667V155H100V255Z"] * 2
        assert page.inner_text("#about > .hint >> nth=1") == "No attention of B: it is <lost>."
        assert page.inner_text(".words >> nth=0").split() == ["A", "<i>", "20", "%", "door", "(?)", "80", "%"]
        page.check("#attended")
        assert (count(page), listed(page)) == (1, [HOSTILE])
        page.click("#clear")
        page.click("#rows .row >> nth=0")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert 0 <= page.locator("#pair").bounding_box()["y"] < 400  # scrolled into view
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 25)"
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert (page.locator("#rows .row").count(), page.is_hidden("nav")) == (100, True)
    assert (complaints, [each for each in requests if not each.startswith(("data:", "file:"))]) == ([], [])


@pytest.mark.slow
def test_size_and_speed_with_the_pairs_of_activitynet(tmp_path: Path) -> None:
    """Limits are of processor time, so that other work on the machine does not count."""
    pairs, rng = 17_031, np.random.default_rng(0)
    words = ["".join(rng.choice([*"aeioklmnrst"], rng.integers(2, 9))) for _ in range(3000)]
    true, guesses, queries = draw_pairs(pairs, 2, words)
    places = np.arange(128)
    centres, widths = rng.uniform(0, 128, (2, pairs, 1)), rng.uniform(3, 30, (2, pairs, 1))
    curves = np.exp(-(((places - centres) / widths) ** 2)) * rng.uniform(0.9, 1, (2, pairs, 128))
    clips = (255 * curves / curves.max(axis=2, keepdims=True)).astype(np.uint8)
    looks: list[Attention | str] = [Attention(pairs=range(pairs), clips=[*each]) for each in clips]
    address = write_page(tmp_path / "report.html", write_runs(tmp_path / "runs", true, guesses, queries), looks)
    size = (tmp_path / "report.html").stat().st_size / 1e6
    with browse(1280, 800) as (page, complaints, _):
        client = page.context.new_cdp_session(page)
        client.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            found = {each["name"]: each["value"] for each in client.send("Performance.getMetrics")["metrics"]}
            return float(found["TaskDuration"])

        page.goto(f"{address}#pairs")
        wait(page, "!document.getElementById('to-pairs').disabled")
        opened, paint = spent(), page.evaluate("performance.getEntriesByType('paint').at(-1).startTime") / 1000
        search = "const field = document.getElementById('search'); field.value = text;"
        search += "field.dispatchEvent(new Event('input')); document.body.offsetHeight"
        needles = [text for word in words[:5] for text in (word, word[:2], "")]
        before = spent()
        page.evaluate(f"(all) => {{ for (const text of all) {{ {search} }} }}", needles)
        filtered = (spent() - before) / len(needles)
        page.keyboard.press("j")
        wait(page, "!!document.querySelector('.curve')")
        print(f"{size:.1f} MB; first paint {paint:.2f} s; cpu: open {opened:.2f} s, filter {1000 * filtered:.0f} ms")
    assert complaints == []
    assert size < 15
    assert opened < 1.5
    assert filtered < 0.05
