from virtproof.cli.nearest import did_you_mean
from virtproof.cli.screen import printable, table


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[2Jb\rc\x9bd") == r"a\x1b[2Jb\rc\x9bd"


def test_direction_overrides_and_lone_surrogates_are_escaped() -> None:
    assert printable("\u202eevil\ud800") == r"\u202eevil\ud800"


def test_line_ends_and_letters_stay() -> None:
    assert printable("µs\nÄ 日") == "µs\nÄ 日"


def test_a_table_is_as_wide_as_its_content() -> None:
    assert list(table(("a", "b"), [("long one", "x"), ("s", "")])) == ["a         b", "long one  x", "s"]


def test_a_cell_cannot_break_out_of_its_line() -> None:
    assert list(table(("a", "b"), [("x\ny\x1b[0m", "z")]))[1] == r"x y\x1b[0m  z"


def test_suggestions_name_what_is_near_and_nothing_else() -> None:
    assert did_you_mean("trap.ud2", ["trap.ud", "io.serial"]) == "; did you mean trap.ud?"
    assert did_you_mean("xyzzy", ["trap.ud", "io.serial"]) == ""
