"""summary.html as a browser shows it: on a phone, in the light and the dark, with its filters at work."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.reporting.html import summary_html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PHONE = 400

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

# A window cannot be as narrow as a phone, a frame can; a page and its frame on file: only exchange messages.
FRAME = f"""<script>addEventListener("message", event => {{ document.title = event.data; }})</script>
<iframe src="page.html#cell-2" style="width: {PHONE}px; height: 900px; border: 0"></iframe>"""

PROBE = """<script>addEventListener("load", () => {
  const form = document.querySelector("form.filters"), rows = () => [...document.querySelectorAll("tr[data-cell]")];
  const visible = () => rows().filter(row => row.getClientRects().length).length;
  const choose = (name, value) => {
    form.reset(); form.elements[name].value = value; form.dispatchEvent(new Event("input"));
    return [visible(), form.querySelector("output").value];
  };
  const opened = [...document.querySelectorAll("details[open]")].map(detail => detail.id);
  const all = choose("text", "");
  const found = { opened, all, fails: choose("verdict", "fail"), flips: choose("defense", "flip"),
    words: choose("text", "IFGSM  63.0"), none: choose("text", "nothing like it") };
  choose("text", "");
  for (const detail of document.querySelectorAll("details")) detail.open = true;
  const light = text => { const parts = text.match(/[\\d.]+/g).slice(0, 3).map(level => {
    const share = level / 255; return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const contrast = element => { const ink = light(getComputedStyle(element).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05); };
  found.contrasts = {};
  for (const place of ["body", ".pass", ".fail", ".weakness", ".inconclusive", ".soft", "nav a", "dt"])
    found.contrasts[place] = contrast(document.querySelector(place));
  found.paper = paper;
  found.width = [innerWidth, document.documentElement.scrollWidth];
  found.outside = [...document.querySelectorAll("body *")].filter(element => !element.closest(".wide")
    && element.getBoundingClientRect().right > innerWidth + 1).map(element => element.outerHTML.slice(0, 80));
  parent.postMessage(JSON.stringify(found), "*");
});</script></body>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def seen(folder: Path, page: str, scheme: str) -> Any:
    (folder / "page.html").write_text(page.replace("</body>", PROBE), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options += [f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}", "--window-size=800,900"]
    options += ["--virtual-time-budget=3000", "--dump-dom", (folder / "frame.html").as_uri()]
    done = subprocess.run([str(BROWSER), *options], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stdout[:2000]
    return json.loads(html.unescape(title[1]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all_and_its_filters_work(scheme: str, pages: Path, outcome: Any, red: Any, weak: Any) -> None:
    long = "a.package.with.a.rather.long.name:AndAMetricToMatch"
    odd = outcome(metric=long, status="inconclusive", reasons=[f"inconclusive: {long * 3}"], mos_kind="pseudo")
    curves = [
        outcome(strength=strength, budget={"restriction": "linf", "limit": limit}, measures={"gain": [9, 8, 10]})
        for strength, limit in (("weak", 0.01), ("medium", 0.02))
    ]
    store = {"store": "s3://" + 40 * "bucket/"}
    found = seen(pages, summary_html([red, weak, odd, *curves], store), scheme)
    assert found["opened"] == ["cell-2"]  # what the link leads to
    assert found["all"] == [5, "5 of 5 cells"]
    assert found["fails"] == [1, "1 of 5 cells"]
    assert found["flips"] == [1, "1 of 5 cells"]
    assert found["words"] == [1, "1 of 5 cells"]
    assert found["none"] == [0, "0 of 5 cells"]
    assert found["width"][0] == PHONE
    assert found["width"][1] <= PHONE
    assert found["outside"] == []
    assert (found["paper"] < 0.1) is (scheme == "dark")
    assert {place: ratio for place, ratio in found["contrasts"].items() if ratio < 4.5} == {}
