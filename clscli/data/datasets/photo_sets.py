"""Published sets of photos, as torchvision knows them; the pictures themselves are read in our own way.

`root` of each is the folder that torchvision calls so; without it, the cache. `part` reads another part of
the set than that of the split it stands for.
"""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from typing import Any, Literal

from clscli.data.datasets.files import Files
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.published import (
    TRAIN_TEST,
    TRAIN_VAL_TEST,
    TrainTest,
    TrainValTest,
    folder_of,
    has_val,
    part_of,
    torchvision_files,
    torchvision_set,
)

_TRAIN = {"train": "train"}


def food101(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Files:
    """Open Food-101: 75,750 and 25,250 photos of 101 dishes.

    Bossard et al., "Food-101 - Mining Discriminative Components with Random Forests", 2014.
    """
    chosen = part_of("food101", split, part, TRAIN_TEST)
    return _photos("food101", "Food101", root, "the folder food-101", download, split=chosen)


@has_val
def flowers102(
    split: str, *, part: TrainValTest | None = None, root: Path | None = None, download: bool = True
) -> Files:
    """Open Oxford Flowers-102: 1,020, 1,020 and 6,149 photos of 102 flowers.

    Needs scipy. Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes", 2008.
    """
    chosen = part_of("flowers102", split, part, TRAIN_VAL_TEST)
    return _photos("flowers102", "Flowers102", root, "the folder flowers-102", download, split=chosen)


def oxford_iiit_pet(
    split: str, *, part: Literal["trainval", "test"] | None = None, root: Path | None = None, download: bool = True
) -> Files:
    """Open Oxford-IIIT Pet: 3,680 and 3,669 photos of 37 breeds of cats and dogs.

    Parkhi et al., "Cats and Dogs", 2012.
    """
    chosen = part_of("oxford_iiit_pet", split, part, {"train": "trainval", "test": "test"})
    return _photos("oxford_iiit_pet", "OxfordIIITPet", root, "the folder oxford-iiit-pet", download, split=chosen)


@has_val
def dtd(split: str, *, part: TrainValTest | None = None, root: Path | None = None, download: bool = True) -> Files:
    """Open the Describable Textures Dataset, first partition: three times 1,880 photos of 47 textures.

    Cimpoi et al., "Describing Textures in the Wild", 2014.
    """
    chosen = part_of("dtd", split, part, TRAIN_VAL_TEST)
    return _photos("dtd", "DTD", root, "the folder dtd", download, split=chosen)


def gtsrb(split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True) -> Files:
    """Open GTSRB: 26,640 and 12,630 photos of 43 German traffic signs, named by their numbers.

    Stallkamp et al., "Man vs. computer: Benchmarking machine learning algorithms for traffic sign
    recognition", 2012.
    """
    chosen = part_of("gtsrb", split, part, TRAIN_TEST)
    return _photos("gtsrb", "GTSRB", root, "the folder gtsrb", download, split=chosen)


@has_val
def fgvc_aircraft(
    split: str,
    *,
    level: Literal["variant", "family", "manufacturer"] = "variant",
    part: Literal["train", "val", "trainval", "test"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Files:
    """Open FGVC-Aircraft: three times 3,333 or so photos of 100 aircraft variants.

    Maji et al., "Fine-Grained Visual Classification of Aircraft", 2013.
    """
    chosen = part_of("fgvc_aircraft", split, part, TRAIN_VAL_TEST)
    files = "the folder fgvc-aircraft-2013b"
    return _photos("fgvc_aircraft", "FGVCAircraft", root, files, download, split=chosen, annotation_level=level)


def stanford_cars(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Files:
    """Open Stanford Cars: 8,144 and 8,041 photos of 196 models; no server offers it any more.

    Needs scipy. Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013.
    """
    chosen = part_of("stanford_cars", split, part, TRAIN_TEST)
    return _photos("stanford_cars", "StanfordCars", root, "the folder stanford_cars", download, split=chosen)


def sun397(split: str, *, root: Path | None = None, download: bool = True) -> Files:
    """Open SUN397: 108,754 photos of 397 scenes; one part, for training.

    Xiao et al., "SUN Database: Large-scale Scene Recognition from Abbey to Zoo", 2010.
    """
    part_of("sun397", split, None, _TRAIN)
    return _photos("sun397", "SUN397", root, "the folder SUN397", download)


@has_val
def rendered_sst2(
    split: str, *, part: TrainValTest | None = None, root: Path | None = None, download: bool = True
) -> Files:
    """Open Rendered SST2: 6,920, 872 and 1,821 pictures of film reviews in words, positive or negative.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """
    chosen = part_of("rendered_sst2", split, part, TRAIN_VAL_TEST)
    return _photos("rendered_sst2", "RenderedSST2", root, "the folder rendered-sst2", download, split=chosen)


@has_val
def imagenette(
    split: str,
    *,
    size: Literal["full", "320px", "160px"] = "full",
    part: Literal["train", "val"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Files:
    """Open Imagenette: 9,469 and 3,925 photos of ten easy classes of ImageNet.

    https://github.com/fastai/imagenette
    """
    chosen = part_of("imagenette", split, part, {"train": "train", "val": "val"})
    folder = "imagenette2" + ("" if size == "full" else f"-{size.removesuffix('px')}")
    return _photos("imagenette", "Imagenette", root, f"the folder {folder}", download, split=chosen, size=size)


def caltech101(split: str, *, root: Path | None = None, download: bool = True) -> Files:
    """Open Caltech-101: 8,677 photos of 101 kinds of things; one part, for training.

    Li et al., "Learning Generative Visual Models from Few Training Examples", 2004.
    """
    part_of("caltech101", split, None, _TRAIN)
    folder, pictures = folder_of("caltech101", root), "caltech101/101_ObjectCategories"
    found = torchvision_set("caltech101", "Caltech101", folder, f"the folder {pictures}", download)
    # Not as class folders: there is one more, of backgrounds, which is no class.
    numbered = zip(found.y, found.index, strict=True)
    names = [f"{found.categories[label]}/image_{number:04d}.jpg" for label, number in numbered]
    return Files(str(folder / pictures), names, array("q", found.y), found.categories)


def caltech256(split: str, *, root: Path | None = None, download: bool = True) -> Folder:
    """Open Caltech-256: 30,607 photos of 257 kinds of things; one part, for training.

    Griffin et al., "Caltech-256 Object Category Dataset", 2007.
    """
    found = _one_part("caltech256", "Caltech256", split, root, "caltech256/256_ObjectCategories", download)
    return Folder(split, root=found)


def eurosat(split: str, *, root: Path | None = None, download: bool = True) -> Folder:
    """Open EuroSAT: 27,000 satellite pictures of ten kinds of land, of 64x64; one part, for training.

    Helber et al., "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
    Classification", 2019.
    """
    return Folder(split, root=_one_part("eurosat", "EuroSAT", split, root, "eurosat/2750", download))


@has_val
def country211(
    split: str,
    *,
    part: Literal["train", "valid", "test"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Folder:
    """Open Country211: 31,650, 10,550 and 21,100 photos from 211 countries.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """
    chosen = part_of("country211", split, part, {"train": "train", "val": "valid", "test": "test"})
    folder = folder_of("country211", root)
    torchvision_set("country211", "Country211", folder, "the folder country211", download, split=chosen)
    return Folder(split, root=folder / "country211" / chosen)


def omniglot(
    split: str,
    *,
    part: Literal["background", "evaluation"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Folder:
    """Open Omniglot: 20 drawings of each of 964 letters of 30 alphabets; one part, for training.

    The part "evaluation" has 659 letters of 20 other alphabets. Lake et al., "Human-level concept learning
    through probabilistic program induction", 2015.
    """
    chosen = part_of("omniglot", split, part, {"train": "background"})
    folder, pictures = folder_of("omniglot", root), f"omniglot-py/images_{chosen}"
    is_background = chosen == "background"
    torchvision_files("omniglot", "Omniglot", folder, [pictures], download, background=is_background)
    return Folder(split, root=folder / pictures)


def _one_part(name: str, class_name: str, split: str, root: Path | None, pictures: str, download: bool) -> Path:
    """Let torchvision find or download a set of class folders; return the folder that these are in."""
    part_of(name, split, None, _TRAIN)
    folder = folder_of(name, root)
    torchvision_set(name, class_name, folder, f"the folder {pictures}", download)
    return folder / pictures


def _photos(name: str, class_name: str, root: Path | None, files: str, download: bool, **arguments: Any) -> Files:
    """Take the paths, the labels and the class names from torchvision's data set."""
    folder = folder_of(name, root)
    found = torchvision_set(name, class_name, folder, files, download, **arguments)
    # torchvision's own names for the two, in order of the sets that have them.
    samples = getattr(found, "_samples", None)
    if samples is None:
        paths = found._images if hasattr(found, "_images") else found._image_files
        samples = zip(paths, found._labels, strict=True)
    listed = sorted((Path(os.path.relpath(path, folder)).as_posix(), label) for path, label in samples)
    targets = array("q", (label for _, label in listed))
    return Files(str(folder), (path for path, _ in listed), targets, _class_names(found, max(targets) + 1))


def _class_names(found: Any, count: int) -> list[str]:
    """Return the set's own names: of several for a class the first; numbers where it has none."""
    names = getattr(found, "classes", None) or [str(index) for index in range(count)]
    return [name if isinstance(name, str) else name[0] for name in names]
