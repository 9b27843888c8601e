r"""Networks compared on the same images, under the same attacks, by the frequencies attacked.

    freqbias compare --images=photos --size=224 --network=CNN/resnet50=timm:resnet50 \
      --network=ViT/vit_b16=timm:vit_base_patch16_224 --network=MLP-Mixer/b16=timm:mixer_b16_224

--network is [[FAMILY/]NAME=]SPEC, once for each network. SPEC is timm:NAME, with the weights of
timm's hub, timm:NAME@FILE (.pth, .safetensors, .onnx or .npz), a network of this library with such
a file, "zoo:vit(num_classes=1000, patch_size=16)@vit.pth", or a function without arguments,
module:function or file.py:function, that returns (apply_fn, params), what an adapter of
freqbias.interop returns, an Ensemble, or a torch module in evaluation mode (then --mean, --std and
--pixel_max say what it expects). Families are compared if they are named, else networks. Epsilons
are in units of intensity of the images, whatever a network makes of these; frequencies in cycles
per pixel of the images, and in units of the images' own mean frequency.

--images names a packaged data set, of which the test images are taken, an .npz file with images
and labels, or a folder of pictures: a folder for each class, or files that end in their label
(name_7.png). Folders named by WordNet's numbers may be some of ImageNet's classes.
"""

import sys
from functools import partial

from freqbias.analysis import words
from freqbias.cli import flags, inputs


def execute(plan: inputs.Plan) -> None:
    """Analyses, prints a table and a sentence, and writes the page."""
    found = inputs.found(plan)
    for subject in found.subjects:
        for warning in words.warnings(found, subject):
            print(f"{subject.name}: {warning}", file=sys.stderr)
    print(found.overview().to_string(index=False))
    print(f"\n{found.verdict()}\n")
    if plan.table is not None:
        found.table().to_csv(plan.table, index=False)
        print(f"table: {plan.table}")
    print(f"page: {found.save(plan.page)}")


def main() -> None:
    """The binary."""
    flags.run(
        partial(inputs.prepare, several=True),
        execute,
        says=__doc__,
        shared=("random_key", "compilation_cache"),
    )
