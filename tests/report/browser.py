"""Pages in a real browser: what it measures of them at several widths, in light, dark and print."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PAPER = 688  # pixels between the margins of A4, as the style sheet has them

# Every frame has a viewport of its own, so that one call measures all widths. Of the paper, the
# rules for print take the place of those for screens.
_FRAMES = r"""<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0"><script>
const text = %(text)s, widths = %(widths)s, onPaper = %(on_paper)s, found = {};
const printed = (sheet) => {
  for (const rule of sheet.cssRules) if (rule.media) {
    const media = rule.media.mediaText;
    if (media === "print") rule.media.mediaText = "all";
    else if (media.includes("screen")) rule.media.mediaText = "not all";
    if (media === "print") for (const inner of rule.cssRules) if (inner.media) printed(rule);
  }
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const rgba = (css) => [...css.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
const measure = (frame) => {
  const view = frame.contentWindow, doc = view.document, width = view.innerWidth;
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(view.getComputedStyle(at).backgroundColor);
      if (color[3] > 0.99) return color;
    }
    return [255, 255, 255, 1];
  };
  const faint = [], outside = [], seen = new Set();
  const walker = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(element)) continue;
    seen.add(element);
    const box = element.getBoundingClientRect(), style = view.getComputedStyle(element);
    if (box.width < 2 || style.visibility === "hidden") continue;
    if (element.closest("svg, script, style")) continue;
    const pair = [rgba(style.color), behind(element)].map(light).sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const says = walker.currentNode.data.trim().slice(0, 40);
    if (ratio < 4.5) faint.push(`${says}: ${ratio.toFixed(2)}`);
    const scrolls = !onPaper && element.closest(".scroll, pre");
    if (!scrolls && (box.right > width + 1 || box.left < -1)) outside.push(says);
  }
  const images = [...doc.images], boxes = [...doc.querySelectorAll(".scroll")];
  return {
    width, texts: seen.size, faint, outside, overflow: doc.documentElement.scrollWidth - width,
    images: images.length, missing: images.filter((i) => !i.complete || !i.naturalWidth).length,
    background: view.getComputedStyle(doc.body).backgroundColor,
    wide: images.filter((i) => i.getBoundingClientRect().right > width + 1
      && (onPaper || !i.closest(".scroll"))).length,
    sideways: boxes.filter((box) => box.scrollWidth > box.clientWidth + 1).length,
    scrolls: boxes.length,
  };
};
let left = widths.length;
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: %(height)spx; border: 0; display: block`;
  frame.onload = () => {
    if (onPaper) for (const sheet of frame.contentDocument.styleSheets) printed(sheet);
    found[width] = measure(frame);
    if (!--left) {
      const out = document.createElement("script");
      out.type = "application/json"; out.id = "measured"; out.textContent = JSON.stringify(found);
      document.body.append(out);
    }
  };
  frame.srcdoc = text;
  document.body.append(frame);
}
</script>"""


class Measured(NamedTuple):
    """What a browser saw of a page at one width."""

    width: int
    texts: int  # elements with text
    faint: list[str]  # texts below 4.5 : 1, with their contrast
    outside: list[str]  # texts that end beyond the page
    overflow: int  # pixels by which the page is wider than the window
    images: int
    missing: int  # images that did not load
    background: str
    wide: int  # images wider than the page, and not in a box that scrolls
    sideways: int  # boxes that scroll
    scrolls: int  # boxes that may


def find() -> str | None:
    """The path of a browser, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def run(browser: str, page: Path, *flags: str) -> str:
    """Starts the browser on a page, without a window; what it writes to stdout."""
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--virtual-time-budget=20000", f"--user-data-dir={page.parent / 'profile'}", *flags),
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


def framed(html: str, widths: tuple[int, ...], *, on_paper: bool = False, height: int = 900) -> str:
    """A page that shows ``html`` at several widths, one below the other, and measures it."""
    text = json.dumps(html).replace("</", "<\\/")
    return _FRAMES % {
        "text": text,
        "widths": json.dumps(widths),
        "on_paper": json.dumps(on_paper),
        "height": height,
    }


def measure(
    browser: str, html: str, folder: Path, widths: tuple[int, ...], *, dark: bool, on_paper: bool
) -> dict[int, Measured]:
    """What the browser sees of a page at each width.

    Args:
      browser: its path.
      html: the page.
      folder: for the files that this takes.
      widths: of the window, in pixels.
      dark: whether the reader prefers dark pages.
      on_paper: by the rules for print.
    """
    page = folder / "framed.html"
    page.write_text(framed(html, widths, on_paper=on_paper), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    seen = run(browser, page, "--dump-dom", "--window-size=1500,1000", scheme)
    (found,) = re.findall(r'<script type="application/json" id="measured">(.*?)</script>', seen)
    return {int(width): Measured(**one) for width, one in json.loads(found).items()}
