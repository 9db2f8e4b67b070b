"""`clscli plot`: what it draws, where, and what it refuses."""

import pytest
from PIL import Image

SCHEDULE = '[data]\nroot = "nowhere"\n[scheduler]\n'


def write_spec(tmp_path, scheduler, more=""):
    (tmp_path / "spec.toml").write_text(f"{SCHEDULE}{scheduler}\n{more}", encoding="utf-8")


def table_of(done):
    """The rows of the table of rates, as numbers."""
    rows = done.out.rstrip().split("\n\n")[-1].splitlines()
    assert rows[0].split("  ")[-1].strip() == "last"
    return [[float(cell.replace(",", "")) for cell in row.split()] for row in rows[1:]]


def test_a_schedule_is_drawn_in_the_terminal_and_as_a_picture(clscli, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    write_spec(tmp_path, 'type = "one_cycle"\n[train]\nepochs = 4\n')
    done = clscli("plot", "schedule", "spec.toml", "--steps-per-epoch", 10, "--out", "rate.png")
    assert (done.code, done.err) == (0, "wrote rate.png\n")
    rates, momentum, _ = done.out.split("\n\n")
    assert rates.splitlines()[0] == "learning rate, scheduler 'one_cycle'"
    assert rates.splitlines()[1].startswith("0.001 ┤")
    assert rates.splitlines()[12].startswith("    0 ┤")
    assert rates.splitlines()[14].endswith(" 4 epochs of 10 steps")
    assert momentum.splitlines()[0] == "momentum"
    assert [momentum.splitlines()[row].split()[0] for row in (1, 6)] == ["0.95", "0.85"]
    assert max(map(len, done.out.splitlines())) == 60
    assert "\x1b" not in done.out
    assert table_of(done) == [[11_177_538, 4e-05, 0.001, 4e-09]]
    with Image.open("rate.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (960, 720))


def test_without_momentum_there_is_one_chart(clscli, tmp_path):
    write_spec(tmp_path, "warmup_steps = 0")
    done = clscli("plot", "schedule", "spec.toml", "--steps-per-epoch", 2, "--set", "optimizer.lr=0.5")
    assert (done.code, done.err) == (0, "wrote spec-schedule.png\n")
    assert "momentum" not in done.out
    assert table_of(done) == [[11_177_538, 0.5, 0.5, 0.000123]]
    with Image.open("spec-schedule.png") as picture:
        assert picture.size == (960, 480)


def test_steps_are_counted_from_the_pictures(clscli, tiny_file):
    done = clscli("plot", "schedule", tiny_file, "--set", "train.epochs=2")
    assert " 2 epochs of 3 steps" in done.out
    done = clscli("plot", "schedule", tiny_file, "--set", "train.epochs=2", "--set", "train.accumulation_steps=2")
    assert " 2 epochs of 2 steps" in done.out


def test_data_are_not_needed_when_steps_are_given(clscli, tmp_path):
    (tmp_path / "bare.toml").write_text("[train]\nepochs = 2\n")
    done = clscli("plot", "schedule", "bare.toml", "--steps-per-epoch", 5)
    assert (done.code, done.err) == (0, "wrote bare-schedule.png\n")
    done = clscli("plot", "schedule", "bare.toml")
    assert done.code == 2
    assert "data.root: is required" in done.err


def test_each_rate_has_a_line(clscli, tmp_path):
    """The head at ten times the rate; a step of 64 pictures for rates that are meant for 256."""
    write_spec(tmp_path, 'type = "constant"\nwarmup_steps = 0')
    with_head = ("--set", "optimizer.groups.head_lr=10.0", "--set", "train.scale_lr='linear'")
    done = clscli("plot", "schedule", "spec.toml", "--steps-per-epoch", 2, *with_head)
    assert done.code == 0, done.err
    assert table_of(done) == [[1026, *[0.0025] * 3], [11_176_512, *[0.00025] * 3]]
    rows = done.out.splitlines()[1:13]
    assert [row.count("⠉") > 50 for row in rows].index(True) == 0
    assert [row.count("⠤") > 50 for row in rows].index(True) == 10
    done = clscli(
        "plot", "schedule", "spec.toml", "--steps-per-epoch", 2, *with_head, "--set", "data.batch_size=auto"
    )
    assert done.err.endswith("is found when training starts, and scale_lr needs it -- set a number\n")


def test_a_plateau_says_what_it_cannot_show(clscli, tmp_path):
    write_spec(tmp_path, 'type = "reduce_on_plateau"')
    done = clscli("plot", "schedule", "spec.toml", "--steps-per-epoch", 5)
    assert done.err.splitlines() == [
        "note: drawn as if no validation lowered the rate, which scheduler 'reduce_on_plateau' waits for",
        "wrote spec-schedule.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.toml"], "nothing.toml: no such spec file\n"),
        (["spec.toml", "--out", "rate.jpg"], "--out rate.jpg: must end in .png\n"),
        (["spec.toml", "--out", "no/rate.png"], "--out no/rate.png: there is no folder no\n"),
        (["spec.toml"], "spec.toml:2: data.root: "),
        (
            ["spec.toml", "--set", 'data.batch_size="auto"'],
            '--set data.batch_size="auto": data.batch_size: is found when training starts -- give --steps-per-',
        ),
        (
            ["spec.toml", "--steps-per-epoch", "5", "--set", "scheduler.warmup_steps=250"],
            "scheduler: scheduler 'cosine': warmup_steps is 250, but the whole run has 250 steps\n",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(clscli, tmp_path, arguments, message):
    write_spec(tmp_path, 'type = "cosine"')
    done = clscli("plot", "schedule", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not list(tmp_path.glob("*.png"))


def test_the_metrics_of_a_run_are_drawn_again(clscli, trained, tmp_path):
    done = clscli("plot", "metrics", trained)
    assert (done.code, done.out, done.err) == (0, "", "wrote curves.png\n")
    with Image.open("curves.png") as again, Image.open(trained / "curves.png") as first:
        assert again.tobytes() == first.tobytes()


def test_metrics_need_a_run(clscli, tmp_path):
    done = clscli("plot", "metrics", "nowhere")
    assert (done.code, done.err) == (2, "nowhere: is no run directory: there is no nowhere/metrics.jsonl\n")
    (tmp_path / "young").mkdir()
    (tmp_path / "young/metrics.jsonl").touch()
    assert clscli("plot", "metrics", "young").err == "young: has not finished an epoch yet\n"
