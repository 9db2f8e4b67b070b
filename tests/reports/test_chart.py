"""Lines in plain text."""

from clscli.reports.chart import line_chart

ENDS = ("0", "end")


def test_a_line_of_braille():
    chart = line_chart("rate", [[0.0, 1.0]], ENDS, width=24, height=3)
    assert chart.split("\n") == [
        "rate",
        "1 ┤              ⣀⣀⠤⠤⠒⠒⠉",
        "  │       ⣀⡠⠤⠔⠒⠊⠉",
        "0 ┤⣀⠤⠤⠒⠒⠉⠉",
        "  └─────────────────────",
        "   0                 end",
    ]


def test_a_line_of_stars_where_there_is_no_braille():
    chart = line_chart("rate", [[0.0, 10.0, 10.0]], ENDS, width=24, height=3, encoding="latin-1")
    assert chart.isascii()
    assert chart.split("\n") == [
        "rate",
        "10 +        ************",
        "   |   *****",
        " 0 +***",
        "   +--------------------",
        "    0                end",
    ]


def test_a_jump_is_drawn_through():
    values = [1.0] * 10 + [0.0] * 10
    chart = line_chart("rate", [values], ENDS, width=23, height=5, encoding="ascii")
    assert chart.split("\n")[1:6] == [
        "1 +**********",
        "  |         *",
        "  |         *",
        "  |          *",
        "0 +          **********",
    ]


def test_level_lines_keep_their_places():
    chart = line_chart("rates", [[2.0, 2.0], [1.0, 1.0]], ENDS, low=0.0, width=23, height=5, encoding="ascii")
    rows = chart.split("\n")[1:6]
    assert [row.count("*") for row in rows] == [20, 0, 20, 0, 0]
    assert (rows[0][0], rows[4][0]) == ("2", "0")
    level = line_chart("rate", [[3.0, 3.0]], ENDS, width=23, height=5, encoding="ascii")
    assert [row.count("*") for row in level.split("\n")[1:6]] == [0, 0, 0, 0, 20]


def test_one_value_is_a_dot():
    assert line_chart("rate", [[3.0]], ENDS, height=4, encoding="ascii").count("*") == 1


def test_a_chart_is_no_wider_than_asked():
    for width in (40, 80, 131):
        chart = line_chart("rate", [[1e-5, 0.123, 0.1]], ENDS, width=width)
        assert max(map(len, chart.split("\n"))) == width
