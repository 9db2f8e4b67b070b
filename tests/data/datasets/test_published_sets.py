"""Published sets from files in their own formats: what is read, which part, and what is said without them."""

import bz2
import hashlib
import json
import tarfile
import urllib.error
from pathlib import Path

import pytest
import torch
from PIL import Image

import clscli as package
from clscli.data.datasets import cifar, photo_sets, small_sets
from clscli.data.datasets.cifar import cifar10, cifar100
from clscli.data.datasets.imagenet import imagenet
from clscli.data.datasets.published import fetch
from clscli.errors import DataError

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def picture(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def write_cifar10(folder: Path, per_file: int = 4) -> Path:
    """Write CIFAR-10's binary files with a few pictures each: of file f, picture i has seed 10 f + i."""
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for number, name in enumerate(names):
        records = (bytes([i % 10]) + picture(10 * number + i).numpy().tobytes() for i in range(per_file))
        (folder / name).write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return folder


def write_idx(path: Path, values: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + values.to(torch.uint8).numpy().tobytes())


def write_mnist(raw: Path) -> torch.Tensor:
    images = torch.randint(0, 256, (6, 28, 28), generator=torch.Generator().manual_seed(0))
    for part, count in (("train", 6), ("t10k", 3)):
        write_idx(raw / f"{part}-images-idx3-ubyte", images[:count])
        write_idx(raw / f"{part}-labels-idx1-ubyte", torch.arange(count))
    return images


@pytest.fixture
def _no_network(monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", fail)


def error_of(open_set, *arguments, **parameters) -> str:
    with pytest.raises((DataError, ValueError)) as error:
        open_set(*arguments, **parameters)
    return str(error.value)


def test_cifar10_is_read_as_pixels(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    train, test = cifar10("train", root=tmp_path), cifar10("test", root=tmp_path)
    assert train.classes == TEN
    assert (len(train), len(test)) == (20, 4)
    assert list(train.targets) == [0, 1, 2, 3] * 5
    assert torch.equal(train[6].source, picture(12))
    assert torch.equal(test[3].source, picture(53))
    assert torch.equal(cifar10("val", part="test", root=tmp_path / "cifar-10-batches-bin").images, test.images)


def test_cifar10_is_unpacked_from_an_archive_whose_md5_is_right(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "made" / "cifar-10-batches-bin")
    archive = tmp_path / "set" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    assert error_of(cifar10, "train", root=archive.parent, download=False) == (
        f"{archive}: is damaged: its MD5 is {md5}, not c32a1d4ab5d03f1284b67883e8d87530 -- remove it"
    )
    object.__setattr__(cifar._CIFAR10, "md5", md5)
    try:
        assert len(cifar10("train", root=archive.parent)) == 20
    finally:
        object.__setattr__(cifar._CIFAR10, "md5", "c32a1d4ab5d03f1284b67883e8d87530")
    assert len(cifar10("train", root=archive.parent)) == 20  # what was unpacked is enough
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()
    assert (archive.parent / "cifar-10-batches-bin").stat().st_mode == ordinary.stat().st_mode  # for others, too
    assert sorted(path.name for path in archive.parent.iterdir() if path.name[0] != ".") == [
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
    ]


def test_cifar100_has_the_fine_classes(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name, label in (("train.bin", 1), ("test.bin", 0)):
        (folder / name).write_bytes(bytes([7, label]) + picture(label).numpy().tobytes())
    (folder / "fine_label_names.txt").write_text("apple\naquarium_fish\n")
    train = cifar100("train", root=tmp_path)
    assert (train.classes, list(train.targets)) == (["apple", "aquarium_fish"], [1])
    assert torch.equal(train[0].source, picture(1))


def test_what_is_wrong_with_cifar10(tmp_path):
    folder = write_cifar10(tmp_path / "cifar-10-batches-bin")
    (folder / "test_batch.bin").write_bytes(b"\0" * 100)
    assert error_of(cifar10, "test", root=tmp_path) == (
        f"{folder / 'test_batch.bin'}: is cut short: 100 bytes are no multiple of 3073"
    )
    (folder / "test_batch.bin").write_bytes(b"\x0b" + b"\0" * 3072)
    assert error_of(cifar10, "test", root=tmp_path) == (f"{folder}: has a label 11, but batches.meta.txt 10 names")


@pytest.mark.usefixtures("_no_network")
def test_without_a_network_it_says_what_to_put_where(tmp_path):
    needs = f"{tmp_path} must hold cifar-10-binary.tar.gz, or the folder cifar-10-batches-bin that it unpacks to"
    assert error_of(cifar10, "train", root=tmp_path) == (
        f"cifar10 is not in {tmp_path} and cannot be downloaded: URLError: <urlopen error no network here> "
        f"-- without a network, {needs}"
    )
    assert error_of(cifar10, "train", root=tmp_path, download=False) == (
        f"cifar10 is not in {tmp_path}, and download = false: no cifar-10-binary.tar.gz -- {needs}"
    )


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    ("open_set", "digits", "name"),
    [
        (cifar10, "10", "cifar-10-batches-py"),
        (cifar10, "10", "cifar-10-python.tar.gz"),
        (cifar100, "100", "cifar-100-python"),
        (cifar100, "100", "cifar-100-python.tar.gz"),
    ],
)
def test_the_pickled_version_of_cifar_is_told_from_the_one_that_is_read(tmp_path, open_set, digits, name):
    unpacked = {"10": "cifar-10-batches-bin", "100": "cifar-100-binary"}[digits]
    for root in (tmp_path, tmp_path / name):
        (tmp_path / name).mkdir(exist_ok=True)
        needs = (
            f"{root} must hold cifar-{digits}-binary.tar.gz, or the folder {unpacked} that it unpacks to, "
            f"and not the pickled version {name}"
        )
        assert error_of(open_set, "train", root=root) == (
            f"cifar{digits} is not in {root} and cannot be downloaded: URLError: <urlopen error no network here> "
            f"-- without a network, {needs}"
        )
        assert error_of(open_set, "train", root=root, download=False) == (
            f"cifar{digits} is not in {root}, and download = false: no cifar-{digits}-binary.tar.gz -- {needs}"
        )
    other = {"10": cifar100, "100": cifar10}[digits]
    assert "not the pickled version" not in error_of(other, "train", root=tmp_path, download=False)


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'h5py'", name="h5py"),
        RuntimeError("h5py is not found: please pip install scipy"),
    ],
)
def test_the_package_of_a_format_is_named_when_missing(tmp_path, error):
    def open_set(download):
        raise error

    package = getattr(error, "name", "scipy")
    assert error_of(fetch, "x", tmp_path, "files", True, open_set) == (
        f"x needs a package that is not installed -- pip install {package}"
    )


def test_a_split_that_a_set_does_not_have(tmp_path):
    assert error_of(cifar10, "val", root=tmp_path) == (
        "cifar10 has no split 'val', only 'train' and 'test' -- leave data.val out and a fraction of the training "
        'pictures is taken, or say which to take: part = "test"'
    )
    assert error_of(photo_sets.eurosat, "test", root=tmp_path) == (
        "eurosat has no split 'test', only 'train' -- leave data.test out"
    )


@pytest.mark.parametrize(
    ("open_set", "folder", "classes"),
    [
        (small_sets.mnist, "MNIST", list("0123456789")),
        (small_sets.kmnist, "KMNIST", ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]),
    ],
)
def test_mnist_and_those_like_it(tmp_path, open_set, folder, classes):
    images = write_mnist(tmp_path / folder / "raw")
    train, test = open_set("train", root=tmp_path), open_set("test", root=tmp_path)
    assert (train.classes, list(train.targets), len(test)) == (classes, [0, 1, 2, 3, 4, 5], 3)
    assert torch.equal(train[4].source, images[4:5].to(torch.uint8))


def test_emnist_is_turned_upright_and_its_letters_count_from_a(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    images = torch.arange(2 * 28 * 28).view(2, 28, 28) % 251
    for variant in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist"):
        for part in ("train", "test"):
            write_idx(raw / f"emnist-{variant}-{part}-images-idx3-ubyte", images)
            write_idx(raw / f"emnist-{variant}-{part}-labels-idx1-ubyte", torch.tensor([1, 26]))
    letters = small_sets.emnist("train", variant="letters", root=tmp_path)
    assert (letters.classes[0], letters.classes[25], list(letters.targets)) == ("a", "z", [0, 25])
    assert torch.equal(letters[1].source, images[1:].transpose(1, 2).to(torch.uint8))
    assert list(small_sets.emnist("train", root=tmp_path).targets) == [1, 26]


@pytest.mark.usefixtures("_no_network")
def test_mnist_without_a_network(tmp_path):
    message = error_of(small_sets.mnist, "train", root=tmp_path)
    assert message.startswith(
        f"mnist is not in {tmp_path} and cannot be downloaded: RuntimeError: Error downloading"
    )
    assert message.endswith(
        f"-- without a network, {tmp_path} must hold MNIST/raw/train-images-idx3-ubyte and the other three"
    )
    assert "\n" not in message


def draw(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


def listing(dataset) -> list[tuple[str, str]]:
    return [(dataset.name(i), dataset.classes[dataset.targets[i]]) for i in range(len(dataset))]


def test_dtd(tmp_path):
    for name in ("dotted/dotted_1.jpg", "banded/banded_1.jpg", "banded/banded_2.jpg"):
        draw(tmp_path / "dtd" / "dtd" / "images" / name)
    labels = tmp_path / "dtd" / "dtd" / "labels"
    labels.mkdir()
    (labels / "train1.txt").write_text("dotted/dotted_1.jpg\nbanded/banded_2.jpg\n")
    (labels / "val1.txt").write_text("dotted/dotted_1.jpg\nbanded/banded_1.jpg\n")
    dataset = photo_sets.dtd("train", root=tmp_path)
    assert listing(dataset) == [
        ("dtd/dtd/images/banded/banded_2.jpg", "banded"),
        ("dtd/dtd/images/dotted/dotted_1.jpg", "dotted"),
    ]
    assert dataset[0].source == str(tmp_path / "dtd/dtd/images/banded/banded_2.jpg")
    assert len(photo_sets.dtd("val", root=tmp_path)) == 2


def test_food101(tmp_path):
    meta = tmp_path / "food-101" / "meta"
    meta.mkdir(parents=True)
    for part, number in (("train", 1), ("test", 2)):
        (meta / f"{part}.json").write_text(
            json.dumps({"waffles": [f"waffles/{number}"], "ramen": [f"ramen/{number}"]})
        )
    draw(tmp_path / "food-101" / "images" / "ramen" / "1.jpg")
    assert listing(photo_sets.food101("train", root=tmp_path)) == [
        ("food-101/images/ramen/1.jpg", "ramen"),
        ("food-101/images/waffles/1.jpg", "waffles"),
    ]


def test_oxford_iiit_pet(tmp_path):
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    (folder / "annotations" / "trainval.txt").write_text("beagle_1 2 2 1\nAbyssinian_7 1 1 1\n")
    assert listing(photo_sets.oxford_iiit_pet("train", root=tmp_path)) == [
        ("oxford-iiit-pet/images/Abyssinian_7.jpg", "Abyssinian"),
        ("oxford-iiit-pet/images/beagle_1.jpg", "Beagle"),
    ]


def test_fgvc_aircraft(tmp_path):
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    (data / "manufacturers.txt").write_text("Airbus\nBoeing\n")
    (data / "images_manufacturer_val.txt").write_text("0001 Boeing\n0002 Airbus\n")
    dataset = photo_sets.fgvc_aircraft("val", level="manufacturer", root=tmp_path)
    assert listing(dataset) == [
        ("fgvc-aircraft-2013b/data/images/0001.jpg", "Boeing"),
        ("fgvc-aircraft-2013b/data/images/0002.jpg", "Airbus"),
    ]


def test_rendered_sst2_gtsrb_and_imagenette(tmp_path):
    draw(tmp_path / "rendered-sst2" / "valid" / "negative" / "1.png")
    draw(tmp_path / "rendered-sst2" / "valid" / "positive" / "1.png")
    assert listing(photo_sets.rendered_sst2("val", root=tmp_path)) == [
        ("rendered-sst2/valid/negative/1.png", "negative"),
        ("rendered-sst2/valid/positive/1.png", "positive"),
    ]
    draw(tmp_path / "gtsrb" / "GTSRB" / "Training" / "00000" / "1.ppm")
    draw(tmp_path / "gtsrb" / "GTSRB" / "Training" / "00001" / "1.ppm")
    assert listing(photo_sets.gtsrb("train", root=tmp_path))[1] == ("gtsrb/GTSRB/Training/00001/1.ppm", "1")
    for wnid in ("n01440764", "n02102040"):
        for part in ("train", "val"):
            draw(tmp_path / "imagenette2-160" / part / wnid / "1.JPEG")
    assert listing(photo_sets.imagenette("val", size="160px", root=tmp_path)) == [
        ("imagenette2-160/val/n01440764/1.JPEG", "tench"),
        ("imagenette2-160/val/n02102040/1.JPEG", "English springer"),
    ]


def test_sets_that_are_class_folders(tmp_path):
    for folder in ("eurosat/2750", "country211/valid", "caltech256/256_ObjectCategories"):
        for name in ("a", "b"):
            draw(tmp_path / folder / name / "1.jpg")
    assert listing(photo_sets.caltech256("train", root=tmp_path)) == [("a/1.jpg", "a"), ("b/1.jpg", "b")]
    assert listing(photo_sets.eurosat("train", root=tmp_path)) == [("a/1.jpg", "a"), ("b/1.jpg", "b")]
    assert listing(photo_sets.country211("val", root=tmp_path)) == [("a/1.jpg", "a"), ("b/1.jpg", "b")]


def test_caltech101_has_no_class_of_backgrounds(tmp_path):
    for name in ("BACKGROUND_Google", "ant", "bass"):
        draw(tmp_path / "caltech101" / "101_ObjectCategories" / name / "image_0001.jpg")
    (tmp_path / "caltech101" / "Annotations").mkdir()
    dataset = photo_sets.caltech101("train", root=tmp_path)
    assert listing(dataset) == [("ant/image_0001.jpg", "ant"), ("bass/image_0001.jpg", "bass")]
    assert Path(dataset[1].source).is_file()


def test_sun397(tmp_path):
    draw(tmp_path / "SUN397" / "a" / "abbey" / "sun_b.jpg")
    draw(tmp_path / "SUN397" / "z" / "zoo" / "inside" / "sun_a.jpg")
    (tmp_path / "SUN397" / "ClassName.txt").write_text("/a/abbey\n/z/zoo/inside\n")
    assert listing(photo_sets.sun397("train", root=tmp_path)) == [
        ("SUN397/a/abbey/sun_b.jpg", "abbey"),
        ("SUN397/z/zoo/inside/sun_a.jpg", "zoo/inside"),
    ]


@pytest.fixture
def _any_content(monkeypatch):
    """Let sets pass whose content torchvision would refuse, by its MD5."""
    from torchvision import datasets

    for name in ("SVHN", "STL10", "SEMEION", "Flowers102"):
        monkeypatch.setattr(getattr(datasets, name), "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)


@pytest.mark.usefixtures("_any_content")
def test_svhn_and_flowers102_in_matlabs_format(tmp_path):
    io = pytest.importorskip("scipy.io")
    images = torch.stack([picture(0), picture(1)])
    io.savemat(tmp_path / "test_32x32.mat", {"X": images.permute(2, 3, 1, 0).numpy(), "y": [[10], [3]]})
    svhn = small_sets.svhn("test", root=tmp_path)
    assert (svhn.classes, list(svhn.targets)) == (list("0123456789"), [0, 3])
    assert torch.equal(svhn.images, images)
    folder = tmp_path / "flowers-102"
    folder.mkdir()
    io.savemat(folder / "imagelabels.mat", {"labels": [[2, 1, 2]]})
    io.savemat(folder / "setid.mat", {"trnid": [[1, 2]], "valid": [[3]], "tstid": [[3]]})
    flowers = photo_sets.flowers102("train", root=tmp_path)
    assert list(flowers.targets) == [1, 0]
    assert [flowers.name(i) for i in range(2)] == [f"flowers-102/jpg/image_0000{n}.jpg" for n in (1, 2)]


@pytest.mark.usefixtures("_any_content")
def test_stl10_semeion_and_usps(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    (folder / "train_X.bin").write_bytes(pixels.numpy().tobytes())
    (folder / "train_y.bin").write_bytes(bytes([1, 10]))
    (folder / "class_names.txt").write_text("\n".join(TEN))
    stl10 = small_sets.stl10("train", root=tmp_path)
    assert (stl10.classes, list(stl10.targets)) == (TEN, [0, 9])
    assert torch.equal(stl10.images, pixels.transpose(2, 3))  # it is written column by column
    row = "1.0 " * 256 + " ".join("1" if digit == 4 else "0" for digit in range(10))
    (tmp_path / "semeion.data").write_text(f"{row}\n{row}\n")
    semeion = small_sets.semeion("train", root=tmp_path)
    assert (list(semeion.targets), semeion[1].source.shape, int(semeion.images.min())) == (
        [4, 4],
        (1, 16, 16),
        255,
    )
    digits = "".join(f"{digit + 1} " + " ".join(f"{i}:-1.0" for i in range(1, 257)) + "\n" for digit in (7, 2))
    (tmp_path / "usps.t.bz2").write_bytes(bz2.compress(digits.encode()))
    usps = small_sets.usps("test", root=tmp_path)
    assert (list(usps.targets), usps[0].source.shape, int(usps.images.max())) == ([7, 2], (1, 16, 16), 0)


def test_imagenet_with_a_list_of_validation_labels(tmp_path):
    for wnid in ("n02", "n01"):
        draw(tmp_path / "train" / wnid / "x.JPEG")
    draw(tmp_path / "val" / "ILSVRC_1.JPEG")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "val.txt").write_text("ILSVRC_1.JPEG 1\n")
    assert listing(imagenet("train", root=tmp_path)) == [("n01/x.JPEG", "n01"), ("n02/x.JPEG", "n02")]
    val = imagenet("val", root=tmp_path)
    assert (val.classes, listing(val)) == (["n01", "n02"], [("ILSVRC_1.JPEG", "n02")])
    assert val[0].source == str(tmp_path / "val" / "ILSVRC_1.JPEG")


def test_imagenet_with_folders_of_validation_pictures(tmp_path):
    for name in ("train/n01", "train/n02", "val/n01", "val/n02"):
        draw(tmp_path / name / "x.JPEG")
    assert listing(imagenet("val", root=tmp_path)) == [("n01/x.JPEG", "n01"), ("n02/x.JPEG", "n02")]


def test_imagenet_without_labels_for_validation(tmp_path):
    draw(tmp_path / "val" / "ILSVRC_1.JPEG")
    assert error_of(imagenet, "val", root=tmp_path) == (
        f"{tmp_path / 'val'}: no class folders in it, and no list of labels: there is no "
        f"{tmp_path / 'val.txt'} and "
        f'{tmp_path / "meta" / "val.txt"} -- say where it is: val_list = "..."'
    )
    (tmp_path / "val.txt").write_text("ILSVRC_1.JPEG 1\n")
    assert error_of(imagenet, "val", root=tmp_path) == (
        f"{tmp_path / 'train'}: no such folder, but its class folders name the classes of the validation list"
    )


def test_imagenet_without_a_folder_of_validation_pictures(tmp_path):
    draw(tmp_path / "train" / "n01" / "x.JPEG")
    assert error_of(imagenet, "val", root=tmp_path) == (
        f"{tmp_path / 'val'}: no such folder -- to set training pictures aside instead, leave data.val out and "
        'write data.train.part = "train"'
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_training_on_cifar10_and_evaluating_on_its_test_part(tmp_path, tiny, clscli, workers):
    write_cifar10(tmp_path / "cifar-10-batches-bin", per_file=20)
    table = {"type": "cifar10", "root": str(tmp_path), "download": False}
    tiny["data"] = {"train": table, "test": table, "batch_size": 32, "num_workers": workers}
    tiny["transforms"] = {"train": [], "eval": []}
    tiny["train"]["epochs"] = 1
    result = package.train(tiny, out=tmp_path / "run", device="cpu")
    shown = clscli("eval", "--ckpt", result.checkpoint, "--split", "test", "--json", "--device", "cpu")
    assert (shown.code, '"samples": 20' in shown.out) == (0, True), shown.err
