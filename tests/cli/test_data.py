"""`clscli data`: what is wrong with pictures, and what transforms make of them."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import draw_folder, draw_picture
from PIL import Image

from clscli.data.preview import preview
from clscli.spec import load_spec

CELL, MARGIN, TOP = 160, 32, 96  # of a contact sheet


@pytest.fixture
def photos(pictures, tmp_path) -> Path:
    """A copy of the small pictures, to be changed, as the folder `photos`: train and val of disc and square."""
    shutil.copytree(pictures, tmp_path / "photos")
    return Path("photos")


@pytest.fixture
def check(clscli, tiny_file):
    """Check the folder `photos` by a spec whose training takes pictures of 20 x 20; returns code and document."""

    def run(*options):
        done = clscli("data", "check", tiny_file, "--data", "photos", "--json", *options)
        assert done.err == ""
        return done.code, json.loads(done.out)

    return run


def test_a_sound_folder(clscli, photos):
    done = clscli("data", "check", photos)
    assert (done.code, done.err) == (0, "")
    size = sum(file.stat().st_size for file in photos.glob("train/*/*"))
    bar = "█" * 40
    assert done.out.splitlines()[:13] == [
        "class   train  val  histogram of train",
        f"disc       12    6  {bar}",
        f"square     12    6  {bar}",
        "all 2      24   12",
        "",
        "                                         train           val",
        "pictures                                    24            12",
        "unreadable                                   0             0",
        f"megabytes                                  {size / 1e6:.1f}           0.0",
        "shorter side, min / median / max  20 / 20 / 20  20 / 20 / 20",
        "longer side, min / median / max   20 / 20 / 20  20 / 20 / 20",
        "smaller than 224 x 224                      24            12",
        "formats                                 PNG 24        PNG 12",
    ]
    assert done.out.splitlines()[13:] == [
        "modes                                   RGB 24        RGB 12",
        "",
        "note: 36 of 36 pictures are smaller than the 224 x 224 that training takes",
        "",
        "nothing here would stop a training",
    ]


def test_a_sound_folder_as_json(check, photos):
    code, found = check()
    assert code == 0
    size = sum(file.stat().st_size for file in photos.glob("val/*/*"))
    assert found.pop("splits")["val"] == {
        "pictures": 12,
        "bytes": size,
        "shorter_side": {"min": 20, "median": 20, "max": 20},
        "longer_side": {"min": 20, "median": 20, "max": 20},
        "smaller": 0,
        "formats": {"PNG": 12},
        "modes": {"RGB": 12},
        "unreadable": [],
    }
    assert found == {
        "ok": True,
        "problems": [],
        "notes": [],
        "classes": [{"class": "disc", "train": 12, "val": 6}, {"class": "square", "train": 12, "val": 6}],
        "training_size": [20, 20],
        "duplicates": [],
    }


def test_what_cannot_be_read_stops_a_training(clscli, check, photos):
    whole = (photos / "train/disc/003.png").read_bytes()
    (photos / "train/disc/003.png").write_bytes(whole[: len(whole) // 2])
    (photos / "train/square/000.jpg").write_bytes(b"")
    (photos / "val/disc/000.jpg").write_text("no picture")
    code, found = check()
    message = '3 of 38 pictures cannot be read -- mend or remove them, or set data.on_bad_image = "skip"'
    assert (code, found["ok"]) == (1, False)
    assert found["problems"] == [{"kind": "unreadable", "message": message}]
    reasons = {bad["path"]: bad["error"] for split in found["splits"].values() for bad in split["unreadable"]}
    not_one = "not a picture, or of a format that cannot be read"
    assert {Path(path).as_posix(): reason for path, reason in reasons.items()} == {
        f"{Path.cwd().as_posix()}/photos/train/disc/003.png": reasons[
            str(Path.cwd() / "photos/train/disc/003.png")
        ],
        f"{Path.cwd().as_posix()}/photos/train/square/000.jpg": not_one,
        f"{Path.cwd().as_posix()}/photos/val/disc/000.jpg": not_one,
    }
    assert "truncated" in reasons[str(Path.cwd() / "photos/train/disc/003.png")]
    assert found["splits"]["train"]["formats"] == {"PNG": 23}
    done = clscli("data", "check", "photos")
    assert done.code == 1
    assert f"problem: {message}\n  {Path.cwd() / 'photos/train/disc/003.png'}: " in done.out
    assert done.out.endswith("\n1 problem would stop a training\n")


def test_what_is_skipped_is_a_note_until_too_little_is_left(check, photos):
    skip = ("--set", "data.on_bad_image=skip")
    for file in (photos / "train/disc").iterdir():
        file.write_bytes(b"")
    code, found = check(*skip)
    assert code == 1
    assert found["problems"] == [
        {"kind": "no_readable", "message": "no readable training pictures are left of: disc"}
    ]
    assert found["notes"] == [
        {"kind": "unreadable", "message": "12 of 36 pictures cannot be read, and are skipped"}
    ]
    draw_picture(photos / "train/disc/new.png", "disc", seed=1)
    assert check(*skip)[0] == 0
    for file in photos.glob("val/*/*"):
        file.write_bytes(b"")
    code, found = check(*skip)
    assert code == 1
    assert found["problems"] == [{"kind": "no_readable", "message": "no readable validation pictures are left"}]


def test_pictures_that_are_there_twice(clscli, check, photos):
    shutil.copy(photos / "train/disc/000.png", photos / "val/disc/leak.png")
    shutil.copy(photos / "train/disc/001.png", photos / "train/square/label.png")
    for name in ("a", "b"):
        shutil.copy(photos / "val/square/002.png", photos / f"val/square/{name}.png")
    code, found = check()
    assert code == 0
    advice = "keep each in one: a score on pictures seen in training says nothing"
    assert found["notes"] == [
        {"kind": "leak", "message": f"1 picture is in several splits -- {advice}"},
        {"kind": "labels", "message": "1 picture is in several classes"},
        {"kind": "copies", "message": "1 picture is more than once in one class of one split"},
    ]
    groups = [
        (group["across_splits"], group["across_classes"], [Path(p["path"]).name for p in group["pictures"]])
        for group in found["duplicates"]
    ]
    assert groups == [
        (True, False, ["000.png", "leak.png"]),
        (False, True, ["001.png", "label.png"]),
        (False, False, ["002.png", "a.png", "b.png"]),
    ]
    assert [(p["split"], p["class"]) for p in found["duplicates"][0]["pictures"]] == [
        ("train", "disc"),
        ("val", "disc"),
    ]
    place = Path.cwd() / "photos"
    line = f"  {place / 'train/disc/000.png'} (train, disc) = {place / 'val/disc/leak.png'} (val, disc)"
    assert line in clscli("data", "check", "photos").out.splitlines()


def test_only_some_of_many_duplicates_are_named(clscli, photos):
    for file in sorted((photos / "train/disc").iterdir()):
        shutil.copy(file, photos / "val/disc" / f"again{file.name}")
    lines = clscli("data", "check", "photos").out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("note: 12 pictures are in several splits"))
    assert lines[start + 11 : start + 13] == ["  and 2 more: --json has them all", ""]


def test_a_file_that_a_data_set_repeats_is_no_copy(clscli, plugin, photos):
    plugin(
        "datasets",
        twice="repeating:Twice",
        repeating="""
        from pathlib import Path
        from clscli.data.datasets.folder import Folder

        class Twice:
            def __init__(self, split: str, *, root: Path) -> None:
                self.once = Folder(split, root=root)
                self.classes = self.once.classes

            def __len__(self):
                return 2 * len(self.once)

            def __getitem__(self, index):
                return self.once[index // 2]
        """,
    )
    tables = (f'{split} = {{ type = "twice", root = "photos/{split}" }}\n' for split in ("train", "val"))
    Path("twice.toml").write_text("[data]\n" + "".join(tables))
    done = clscli("data", "check", "twice.toml", "--json")
    found = json.loads(done.out)
    assert (done.code, found["splits"]["train"]["pictures"], found["duplicates"]) == (0, 48, [])


def test_pictures_that_are_no_files(clscli, plugin):
    plugin(
        "datasets",
        shades="shading:Shades",
        shading="""
        from PIL import Image
        from clscli.data.samples import Sample

        class Shades:
            classes = ["dark", "light"]

            def __init__(self, split: str) -> None:
                self.first = 0 if split == "train" else 110

            def __len__(self):
                return 12

            def __getitem__(self, index):
                shade = self.first + 10 * index
                return Sample(Image.new("L", (30, 20 + index % 3), shade), index % 2)
        """,
    )
    Path("shades.toml").write_text('[data]\ntrain = { type = "shades" }\nval = { type = "shades" }\n')
    done = clscli("data", "check", "shades.toml", "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert found["splits"]["train"]["modes"] == {"L": 12}
    assert found["splits"]["train"]["formats"] == {"decoded": 12}
    assert found["splits"]["val"]["shorter_side"] == {"min": 20, "median": 21, "max": 22}
    # Shade 110 is the last of training and the first of validation, but of another height.
    assert found["duplicates"] == []


def test_modes_sizes_and_formats_are_of_the_files(check, photos):
    for mode in ("L", "P", "RGBA", "CMYK", "I;16"):
        end = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (30, 40), 3).save(photos / f"train/disc/{mode.replace(';', '')}.{end}")
    exif = Image.Exif()
    exif[274] = 6  # lies on its side: 40 wide and 10 high once it is upright
    Image.new("RGB", (10, 40)).save(photos / "train/disc/turned.jpg", exif=exif)
    _, found = check("--set", "transforms.train.0.size=[15, 20]")
    train = found["splits"]["train"]
    assert train["modes"] == {"RGB": 25, "CMYK": 1, "I;16": 1, "L": 1, "P": 1, "RGBA": 1}
    assert train["formats"] == {"PNG": 28, "JPEG": 2}
    assert (train["shorter_side"]["min"], train["longer_side"]["max"]) == (10, 40)
    assert (found["training_size"], train["smaller"]) == ([15, 20], 1)
    assert {note["kind"] for note in found["notes"]} == {"small"}


def test_a_test_split_is_checked_too(check, photos):
    shutil.copytree(photos / "val", photos / "test")
    (photos / "test/disc/001.png").write_bytes(b"")
    code, found = check()
    assert code == 1
    assert found["classes"][1] == {"class": "square", "train": 12, "val": 6, "test": 6}
    assert [note["kind"] for note in found["notes"]] == ["leak"]
    assert len(found["duplicates"]) == 11


def test_what_is_not_read_or_missing_is_a_note(check, photos):
    shutil.rmtree(photos / "val/square")
    (photos / "train/disc/list.txt").write_text("")
    _, found = check()
    texts = [note["message"].replace(str(Path.cwd()), "") for note in found["notes"] if note["kind"] == "data"]
    assert "no validation pictures of: square" in texts
    assert any("1 .txt" in text for text in texts)


def test_imbalance(check, photos):
    for file in sorted((photos / "train/square").iterdir())[1:]:
        file.unlink()
    _, found = check()
    assert found["notes"] == [
        {
            "kind": "imbalance",
            "message": "'disc' has 12 training pictures, 'square' 1: top-1 tells little of small classes "
            "-- look at macro_f1 or balanced_accuracy",
        }
    ]


def test_of_many_classes_the_largest_and_the_smallest_are_shown(clscli):
    for number in range(45):
        for copy in range(2 + (number == 7)):
            draw_picture(Path(f"many/class{number:02}/{copy}.png"), "disc", seed=10 * number + copy, size=4)
    lines = clscli("data", "check", "many").out.splitlines()
    assert lines[1].split()[:3] == ["class07", "2", "1"]
    assert lines[21] == "... 5 classes between"
    assert lines[42].split()[:4] == ["all", "45", "46", "45"]


@pytest.mark.parametrize(
    ("remove", "add", "message"),
    [
        (["train/square", "val"], [], "found one class, 'disc' -- a classifier needs at least two"),
        (["train/disc", "train/square"], [], "no pictures in it -- expected one folder a class, with pictures"),
        ([], ["val/oval"], "has classes that the model does not know: 'oval' (it knows 'disc', 'square')"),
    ],
)
def test_data_that_cannot_be_opened_is_a_problem(clscli, photos, remove, add, message):
    for folder in remove:
        shutil.rmtree(photos / folder)
    for folder in add:
        draw_picture(photos / folder / "0.png", "disc", seed=0)
    done = clscli("data", "check", "photos")
    assert done.code == 1
    assert done.out.startswith("problem: --data photos: data.root: ")
    assert message in done.out
    found = json.loads(clscli("data", "check", "photos", "--json").out)
    assert [problem["kind"] for problem in found["problems"]] == ["data"]
    assert (found["ok"], found["classes"], found["splits"], found["training_size"]) == (False, [], {}, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nothing"], "nothing: neither a spec file nor a preset -- presets are: "),
        (["check", "photos", "--data", "b"], "photos: is a folder, and --data b another -- give one of them\n"),
        (["check", "photos", "--set", "seeed=1"], "--set seeed=1: seeed: unknown key 'seeed'"),
        (["show", "finetune-small"], "preset finetune-small:10: data.root: is required"),
        (["show", "photos", "--out", "a.jpg"], "--out a.jpg: must end in .png\n"),
        (["show", "photos", "--out", "no/a.png"], "--out no/a.png: there is no folder no\n"),
        (["show", "nowhere.toml"], "nowhere.toml: no such spec file\n"),
    ],
)
def test_wrong_usage_is_said_in_words(clscli, photos, arguments, message):
    done = clscli("data", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message)


def test_alone_it_shows_what_there_is(clscli):
    done = clscli("data")
    assert done.code == 2
    assert "check  Read every picture" in done.err
    assert "show   Draw pictures" in done.err


def cell(sheet: Path, column: int, row: int, left: int = MARGIN, top: int = TOP) -> Image.Image:
    """Cut a cell out of a sheet, and undo the enlargement of a picture of 20 x 20."""
    x, y = left + column * (CELL + 6), top + row * (CELL + 6)
    with Image.open(sheet) as page:
        return page.crop((x, y, x + CELL, y + CELL)).resize((20, 20), Image.Resampling.NEAREST)


def as_picture(stage) -> Image.Image:
    image = stage.image
    return Image.frombytes("RGB", (20, 20), image.permute(1, 2, 0).contiguous().numpy().tobytes())


def test_the_sheet_shows_pictures_before_and_after(clscli, tiny_file, tiny):
    done = clscli("data", "show", tiny_file)
    assert (done.code, done.out, done.err) == (0, "", "wrote tiny-samples.png\n")
    with Image.open("tiny-samples.png") as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (1440, 1006))  # four rows of four pairs
    strip = preview(load_spec(tiny), "train", 1, steps=False).strips[0]
    for column, image in enumerate(strip.stages):
        assert cell(Path("tiny-samples.png"), column, 0).tobytes() == as_picture(image).tobytes()
    with Image.open(Path(tiny["data"]["root"]) / "train" / strip.name) as original:
        assert cell(Path("tiny-samples.png"), 0, 0).tobytes() == original.tobytes()


def test_steps_are_rows(clscli, tiny_file, tiny):
    done = clscli("data", "show", tiny_file, "--steps", "--num", 8, "--out", "steps.png")
    assert (done.code, done.err) == (0, "wrote steps.png\n")
    found = preview(load_spec(tiny), "train", 8, steps=True)
    with Image.open("steps.png") as sheet:
        left = sheet.width - MARGIN - 8 * (CELL + 6) + 6
    for column, strip in enumerate(found.strips):
        for row, image in enumerate(strip.stages):
            shown = cell(Path("steps.png"), column, row, left=left, top=TOP + 46)
            assert shown.tobytes() == as_picture(image).tobytes(), (column, row)


def test_the_seed_decides_what_is_drawn(clscli, tiny_file):
    for name, options in (("a", ()), ("b", ("--seed", 1)), ("c", ("--set", "seed=1")), ("d", ("--seed", 0))):
        assert clscli("data", "show", tiny_file, "--num", 2, "--out", f"{name}.png", *options).code == 0
    first, other, same_other, again = (Path(f"{name}.png").read_bytes() for name in "abcd")
    assert first == again != other == same_other


def test_what_cannot_be_read_is_told_and_left_empty(clscli, photos):
    for file in photos.glob("val/disc/*"):
        file.write_bytes(b"")
    done = clscli("data", "show", photos, "--split", "val", "--num", 3, "--steps", "--out", "val.png")
    assert done.code == 0
    assert done.err.splitlines() == [
        "disc/000.png: not a picture, or of a format that cannot be read",
        "disc/004.png: not a picture, or of a format that cannot be read",
        "wrote val.png",
    ]


def test_more_steps_than_fit_a_row_go_on_below(clscli, tiny_file):
    sizes = []
    for num in (8, 9):
        assert clscli("data", "show", tiny_file, "--steps", "--num", num, "--out", "s.png").code == 0
        with Image.open("s.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] - sizes[0][1] == 3 * (CELL + 6) + 46 + 24  # three stages, the captions, and a gap


def test_there_may_be_fewer_than_asked_for(clscli):
    draw_folder(Path("few"), {"train": 1, "val": 1})
    assert clscli("data", "show", "few", "--num", 100).code == 0
    with Image.open("few-samples.png") as sheet:
        assert sheet.size == (MARGIN + 4 * CELL + 2 * 6 + 24 + MARGIN, TOP + CELL + 46 + MARGIN)
