"""The pictures of docs/reading-a-report.md, taken of a page: `python docs/pictures/take.py reports/summary.html`.

Needs Chromium. Each part is shown alone in a copy of the page, photographed, and cut where the page is empty.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

HERE = Path(__file__).parent
# Keeps the part from the heading to the next one; of its table so many rows; of several cells the first with pictures.
KEEP = """
<style>body{margin:0;padding:12px 16px}nav{display:none}h2{margin-top:0}</style><script>
const heading = document.getElementById("%s"), kept = [heading];
for (let next = heading.nextElementSibling; next && next.tagName !== "H2"; next = next.nextElementSibling)
  kept.push(next);
let home = heading.parentElement;
for (; home !== document.documentElement; home = home.parentElement)
  for (const child of [...home.children])
    if (!kept.some(node => child.contains(node)) && !["STYLE", "SCRIPT"].includes(child.tagName)) child.remove();
document.querySelectorAll("tbody tr").forEach((row, number) => { if (number >= %d) row.remove(); });
const cells = [...document.querySelectorAll("details")], chosen = cells.find(cell => cell.textContent.includes("%s"));
if (chosen) cells.forEach(cell => { if (cell === chosen) cell.open = true; else cell.remove(); });
</script>
"""
PARTS = {
    "pairs": ("pairs", 99, "", 1280),
    "heat-map": ("heat", 99, "", 1100),
    "cell": ("cells", 99, "nonadaptive:compact/none/ifgsm/strong", 1000),
    "verdict-table": ("verdicts", 14, "", 1280),
}


def taken(page: Path, to: Path, part: tuple[str, int, str, int]) -> None:
    """One part of a page, as a PNG with a palette."""
    heading, rows, cell, width = part
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    browser = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text.replace("</body>", KEEP % (heading, rows, cell) + "</body>"), encoding="utf-8")
        size = ["--hide-scrollbars", f"--window-size={width},2400", "--force-device-scale-factor=1"]
        mode = ["--headless=new", "--no-sandbox", "--disable-gpu", "--blink-settings=preferredColorScheme=1"]
        shot = Path(folder) / "shot.png"
        subprocess.run([browser, *mode, *size, f"--screenshot={shot}", copy.as_uri()], check=True, capture_output=True)
        picture = Image.open(shot).convert("RGB")
    ground = Image.new("RGB", picture.size, picture.getpixel((1, picture.height - 1)))
    bottom = ImageChops.difference(picture, ground).getbbox()
    picture = picture.crop((0, 0, picture.width, min(bottom[3] + 14, picture.height) if bottom else 10))
    picture.quantize(128, dither=Image.Dither.NONE).save(to, optimize=True)
    print(f"{to.name:14} {picture.width} x {picture.height}, {to.stat().st_size // 1024} kB")


if __name__ == "__main__":
    for name, part in PARTS.items():
        taken(Path(sys.argv[1]), HERE / f"{name}.png", part)
