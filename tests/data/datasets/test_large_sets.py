"""Published sets that are read in our own way, as torchvision's lists of them would take gigabytes."""

import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clscli as package
from clscli.data.datasets import face_sets, large_sets, photo_sets
from clscli.data.datasets.large_sets import inaturalist, places365
from clscli.data.datasets.lsun import lsun
from clscli.data.datasets.pcam import pcam
from clscli.data.datasets.photo_sets import omniglot
from clscli.data.decode import UnreadableImageError, decode
from clscli.errors import DataError
from clscli.testing import check_component


def encoded(colour: str = "red", form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, form)
    return file.getvalue()


def draw(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(colour))


def listing(dataset) -> list[tuple[str, str]]:
    return [(dataset.name(i), dataset.classes[dataset.targets[i]]) for i in range(len(dataset))]


def error_of(open_set, *arguments, **parameters) -> str:
    with pytest.raises((DataError, ValueError)) as error:
        open_set(*arguments, **parameters)
    return str(error.value)


@pytest.fixture
def places(tmp_path) -> Path:
    (tmp_path / "categories_places365.txt").write_text("/a/airfield 0\n/a/arch/outdoor 1\n/z/zen_garden 2\n")
    train = ["/a/airfield/1.jpg 0", "/z/zen_garden/1.jpg 2", "/a/arch/outdoor/7.jpg 1"]
    (tmp_path / "places365_train_standard.txt").write_text("\n".join(train) + "\n")
    (tmp_path / "places365_val.txt").write_text("Places365_val_1.jpg 2\nPlaces365_val_2.jpg 0\n")
    (tmp_path / "places365_test.txt").write_text("Places365_test_1.jpg\n")
    for line in train:
        draw(tmp_path / "data_large_standard" / line.split()[0][1:])
    for name in ("val_256/Places365_val_1.jpg", "val_256/Places365_val_2.jpg", "test_large/Places365_test_1.jpg"):
        draw(tmp_path / name, "blue")
    return tmp_path


def test_places365(places):
    train = places365("train", root=places)
    assert train.classes == ["airfield", "arch/outdoor", "zen_garden"]
    assert listing(train) == [
        ("a/airfield/1.jpg", "airfield"),
        ("z/zen_garden/1.jpg", "zen_garden"),
        ("a/arch/outdoor/7.jpg", "arch/outdoor"),
    ]
    assert train[1].source == str(places / "data_large_standard" / "z" / "zen_garden" / "1.jpg")
    val = places365("val", size="256px", root=places)
    assert (val.classes, listing(val)) == (
        train.classes,
        [("Places365_val_1.jpg", "zen_garden"), ("Places365_val_2.jpg", "airfield")],
    )
    assert decode(val[0].source)[:, 0, 0].tolist() == [0, 0, 255]
    check_component("datasets", "places365", root=str(places))


def test_places365_for_test_has_no_labels(places):
    test = places365("test", root=places)
    assert (test.classes, test.targets, test[0].target, test.name(0)) == ([], None, None, "Places365_test_1.jpg")
    assert Path(test[0].source).is_file()


def test_what_is_missing_of_places365(places):
    assert error_of(places365, "train", part="train-challenge", root=places, download=False) == (
        f"places365 is not in {places}, and download = false: no places365_train_challenge.txt -- {places} must "
        "hold categories_places365.txt, places365_train_challenge.txt and data_large_challenge"
    )
    assert error_of(places365, "val", root=places, download=False) == (
        f"places365 is not in {places}, and download = false: no val_large -- {places} must hold "
        "categories_places365.txt, places365_val.txt and val_large"
    )


def test_what_is_wrong_with_the_lists_of_places365(places):
    listed, categories = places / "places365_train_standard.txt", places / "categories_places365.txt"
    listed.write_text("/a/airfield/1.jpg 0\n/a/airfield/2.jpg\n")
    assert error_of(places365, "train", root=places) == (
        f"{listed}: line 2: must be a name and a number, not '/a/airfield/2.jpg'"
    )
    listed.write_text("/a/airfield/1.jpg 3\n")
    assert error_of(places365, "train", root=places) == (
        f"{listed}: has a label 3, but categories_places365.txt 3 names"
    )
    categories.write_text("/a/airfield 0\n/z/zen_garden 2\n")
    assert error_of(places365, "train", root=places) == (
        f"{categories}: must number the classes from 0 on, without gaps"
    )


def test_places365_is_downloaded_by_torchvision(places, monkeypatch):
    asked = []

    def download(folder, **arguments):
        asked.append((folder, arguments))
        if arguments["split"] == "val":
            draw(places / "val_large" / "Places365_val_1.jpg")

    monkeypatch.setattr("torchvision.datasets.Places365", download)
    assert len(places365("val", root=places)) == 2
    assert asked == [(places, {"download": True, "split": "val", "small": False})]
    assert len(places365("val", root=places)) == 2
    assert len(asked) == 1  # nothing was missing any more
    assert error_of(places365, "train", size="256px", root=places) == (
        f"places365 is not in {places} and cannot be downloaded: FileNotFoundError: no data_256_standard "
        f"-- without a network, {places} must hold categories_places365.txt, places365_train_standard.txt and "
        "data_256_standard"
    )


SPECIES = (
    "00000_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_corax",
    "00001_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis",
    "00002_Plantae_Tracheophyta_Pinopsida_Pinales_Pinaceae_Abies_alba",
)


@pytest.fixture
def nature(tmp_path) -> Path:
    for part in ("2021_train", "2021_valid"):
        for name in SPECIES:
            draw(tmp_path / part / name / "1.jpg")
    for name in ("Amphibians/10", "Amphibians/9", "Birds/2"):
        draw(tmp_path / "2018" / name / "1.jpg")
    return tmp_path


def test_inaturalist(nature):
    assert listing(inaturalist("train", root=nature)) == [(f"{name}/1.jpg", name) for name in SPECIES]
    val = inaturalist("val", level="order", root=nature)
    assert val.classes == ["Passeriformes", "Piciformes", "Pinales"]
    kingdoms = inaturalist("val", level="kingdom", root=nature)
    assert (kingdoms.classes, list(kingdoms.targets)) == (["Animalia", "Plantae"], [0, 0, 1])
    assert (kingdoms[2].source, kingdoms[2].target) == (str(nature / "2021_valid" / SPECIES[2] / "1.jpg"), 1)
    check_component("datasets", "inaturalist", root=str(nature), level="kingdom")


def test_inaturalist_of_older_years(nature):
    full = inaturalist("train", part="2018", root=nature)
    assert full.classes == ["Amphibians/10", "Amphibians/9", "Birds/2"]
    assert listing(inaturalist("train", part="2018", level="super", root=nature)) == [
        ("Amphibians/10/1.jpg", "Amphibians"),
        ("Amphibians/9/1.jpg", "Amphibians"),
        ("Birds/2/1.jpg", "Birds"),
    ]


def test_what_is_wrong_with_inaturalist(nature):
    assert error_of(inaturalist, "train", part="2021_train_mini", root=nature, download=False) == (
        f"inaturalist is not in {nature}, and download = false: no 2021_train_mini -- {nature} must hold "
        "2021_train_mini"
    )
    assert error_of(inaturalist, "train", part="2018", level="genus", root=nature) == (
        "inaturalist has no level 'genus' in 2018 -- there are: full, super"
    )
    assert error_of(inaturalist, "test", root=nature) == (
        "inaturalist has no split 'test', only 'train' and 'val' -- leave data.test out, or say which to take: "
        'part = "2021_valid"'
    )
    draw(nature / "2021_train" / "birds" / "1.jpg")
    assert error_of(inaturalist, "train", level="genus", root=nature) == (
        f"{nature / '2021_train'}: the folder 'birds' must be named "
        "00000_kingdom_phylum_class_order_family_genus_species"
    )


def test_omniglot(tmp_path):
    for name in ("images_background/Greek/character01", "images_background/Greek/character02"):
        draw(tmp_path / "omniglot-py" / name / "0001_01.png")
    draw(tmp_path / "omniglot-py" / "images_evaluation" / "Keble" / "character01" / "0002_01.png")
    assert listing(omniglot("train", root=tmp_path)) == [
        ("Greek/character01/0001_01.png", "Greek/character01"),
        ("Greek/character02/0001_01.png", "Greek/character02"),
    ]
    assert omniglot("train", part="evaluation", root=tmp_path).classes == ["Keble/character01"]
    assert error_of(omniglot, "test", root=tmp_path) == (
        "omniglot has no split 'test', only 'train' -- leave data.test out"
    )
    assert error_of(omniglot, "train", root=tmp_path / "gone", download=False) == (
        f"omniglot is not in {tmp_path / 'gone'}, and download = false: no omniglot-py/images_background "
        f"-- {tmp_path / 'gone'} must hold omniglot-py/images_background"
    )


def write_lsun(root: Path, databases: dict[str, dict[str, bytes]]) -> None:
    lmdb = pytest.importorskip("lmdb")
    for name, content in databases.items():
        with lmdb.open(str(root / name), map_size=1 << 20) as database, database.begin(write=True) as transaction:
            for key, value in content.items():
                transaction.put(key.encode(), value)


def test_lsun(tmp_path):
    blue = encoded("blue", "WEBP")
    write_lsun(
        tmp_path,
        {
            "tower_val_lmdb": {"0a": blue, "0b": encoded("red")},
            "kitchen_val_lmdb": {"0a": encoded("red")},
            "test_lmdb": {"0c": blue},
        },
    )
    dataset = lsun("val", root=tmp_path, classes=["tower", "kitchen"])
    assert dataset.classes == ["kitchen", "tower"]
    assert listing(dataset) == [
        ("kitchen_val_lmdb/0a", "kitchen"),
        ("tower_val_lmdb/0a", "tower"),
        ("tower_val_lmdb/0b", "tower"),
    ]
    assert (dataset[1].source, dataset[1].target) == (blue, 1)
    assert decode(dataset[1].source)[2].min() > 200
    test = lsun("test", root=tmp_path)
    assert (test.classes, test.targets, test[0], test.name(0)) == ([], None, (blue, None), "test_lmdb/0c")
    check_component("datasets", "lsun", root=str(tmp_path), classes=["tower", "kitchen"], part="val")


def test_what_is_wrong_with_lsun(tmp_path):
    write_lsun(tmp_path, {"bedroom_train_lmdb": {"0a": encoded()}, "tower_train_lmdb": {}})
    assert error_of(lsun, "train", root=tmp_path, classes=["bedroom", "bridge"]) == (
        f"lsun is not in {tmp_path}: no bridge_train_lmdb -- get it by hand from https://github.com/fyu/lsun; "
        f"{tmp_path} must hold bedroom_train_lmdb and bridge_train_lmdb"
    )
    assert error_of(lsun, "train", root=tmp_path, classes=["bedroom", "tower"]) == (
        f"{tmp_path / 'tower_train_lmdb'}: no pictures in it"
    )


def write_pcam(root: Path, part: str, labels: list[int]) -> torch.Tensor:
    h5py = pytest.importorskip("h5py")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (len(labels), 96, 96, 3), dtype=torch.uint8, generator=generator)
    (root / "pcam").mkdir(exist_ok=True)
    stem = root / "pcam" / f"camelyonpatch_level_2_split_{part}"
    with h5py.File(f"{stem}_x.h5", "w") as file:
        file.create_dataset("x", data=images.numpy(), chunks=(1, 96, 96, 3), compression="gzip")
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file["y"] = np.array(labels, np.uint8).reshape(-1, 1, 1, 1)
    return images


def test_pcam(tmp_path):
    images = write_pcam(tmp_path, "train", [0, 1, 1])
    write_pcam(tmp_path, "valid", [1])
    train = pcam("train", root=tmp_path)
    assert (train.classes, list(train.targets), len(pcam("val", root=tmp_path))) == (
        ["normal", "tumor"],
        [0, 1, 1],
        1,
    )
    assert torch.equal(train[2].source, images[2].permute(2, 0, 1))
    assert torch.equal(pickle.loads(pickle.dumps(train))[1].source, images[1].permute(2, 0, 1))
    check_component("datasets", "pcam", root=str(tmp_path))


def test_what_is_wrong_with_pcam(tmp_path):
    write_pcam(tmp_path, "train", [0, 1])
    pictures, labels = (tmp_path / "pcam" / f"camelyonpatch_level_2_split_train_{key}.h5" for key in "xy")
    dataset = pcam("train", root=tmp_path)
    write_pcam(tmp_path, "test", [0, 2])
    assert error_of(pcam, "test", root=tmp_path) == (
        f"{tmp_path / 'pcam' / 'camelyonpatch_level_2_split_test_y.h5'}: must have labels, each 0 or 1"
    )
    write_pcam(tmp_path, "test", [0, 1, 1])
    (tmp_path / "pcam" / "camelyonpatch_level_2_split_test_y.h5").replace(labels)
    assert error_of(pcam, "train", root=tmp_path) == (
        f"{pictures}: must have uint8 (3, 96, 96, 3), as there are so many labels, not uint8 (2, 96, 96, 3)"
    )
    pictures.write_bytes(b"broken")
    assert error_of(pcam, "train", root=tmp_path).startswith(f"{pictures}: has no 'x', or is damaged: OSError: ")
    with pytest.raises(UnreadableImageError, match=r"_x\.h5 cannot be read: OSError: "):
        dataset[0]


def test_pcam_needs_its_files_and_a_package(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    needs = "pcam/camelyonpatch_level_2_split_valid"
    assert error_of(pcam, "val", root=tmp_path, download=False) == (
        f"pcam is not in {tmp_path}, and download = false: Dataset not found. You can use download=True to "
        f"download it -- {tmp_path} must hold {needs}_x.h5 and {needs}_y.h5"
    )
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert error_of(pcam, "val", root=tmp_path) == (
        "pcam needs a package that is not installed -- pip install gdown"
    )
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert error_of(pcam, "val", root=tmp_path) == "pcam needs a package that is not installed -- pip install h5py"


@pytest.mark.parametrize("workers", [0, 2])
def test_training_on_pcam_without_data_val_uses_its_own_part(tmp_path, tiny, clscli, workers):
    write_pcam(tmp_path, "train", [0, 1] * 8)
    write_pcam(tmp_path, "valid", [0, 1] * 3)
    tiny["data"] = {"train": {"type": "pcam", "root": str(tmp_path)}, "batch_size": 8, "num_workers": workers}
    tiny["transforms"] = {"train": [], "eval": []}
    tiny["train"]["epochs"] = 1
    result = package.train(tiny, out=tmp_path / "run", device="cpu")
    shown = clscli("eval", "--ckpt", result.checkpoint, "--split", "val", "--json", "--device", "cpu")
    assert (shown.code, '"samples": 6' in shown.out) == (0, True), shown.err


def test_which_sets_have_pictures_for_validation():
    found = {**vars(photo_sets), **vars(large_sets), **vars(face_sets)}
    assert sorted(
        name for name, one in found.items() if callable(one) and getattr(one, "divides_itself", False)
    ) == [
        "celeba",
        "country211",
        "dtd",
        "fgvc_aircraft",
        "flowers102",
        "imagenette",
        "inaturalist",
        "places365",
        "rendered_sst2",
    ]
