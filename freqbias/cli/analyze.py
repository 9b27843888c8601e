"""Which frequencies the adversarial perturbations of a network of your own live in: one page.

    freqbias analyze --network=my_networks:resnet --images=photos --size=224 --page=report.html

--network names a function without arguments in a module that can be imported from here, or in a
file (my_networks.py:resnet). It returns (apply_fn, params), what an adapter of freqbias.interop
returns, an Ensemble, or a torch module in evaluation mode (then --mean, --std and --pixel_max say
what it expects). Or it is timm:NAME, with the weights of timm's hub, timm:NAME@FILE, or
a network of this library with such a file, "zoo:vit(num_classes=1000, patch_size=16)@vit.pth".
Several are compared on the same images; `freqbias compare` says more of that.

--images names a packaged data set, of which the test images are taken, an .npz file with images
and labels, or a folder of pictures: a folder for each class, or files that end in their label
(name_7.png).
"""

from freqbias.cli import flags, inputs


def execute(plan: inputs.Plan) -> None:
    """Analyses, prints, and writes the page."""
    found = inputs.found(plan)
    print(found)
    if plan.table is not None:
        found.table().to_csv(plan.table, index=False)
    print(f"page: {found.save(plan.page)}")


def main() -> None:
    """The binary."""
    flags.run(inputs.prepare, execute, says=__doc__, shared=("random_key", "compilation_cache"))
