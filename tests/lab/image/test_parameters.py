"""The kernel's command line, as boot loaders and people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtproof.lab.image.parameters import Parameters, Then, parse


def test_everything_that_can_be_said():
    line = (
        "BOOT_IMAGE=/vmlinuz console=tty0 quiet ip=dhcp BOOTIF=01-52-54-00-12-34-56 virtproof.out=http://h/{mac} "
        'virtproof.then=poweroff virtproof.profile=cloud virtproof.args="--area traps claim"\n'
    )
    assert parse(line) == Parameters(
        out="http://h/{mac}",
        then=Then.POWEROFF,
        profile="cloud",
        args=("--area", "traps", "claim"),
        ip="dhcp",
        bootif="01-52-54-00-12-34-56",
    )
    assert parse(line).check == ("--profile", "cloud", "--area", "traps", "claim")


def test_nothing_said_means_stay_and_wait():
    assert parse("console=ttyS0") == Parameters()
    assert Parameters().check == ()


def test_the_quotes_may_stand_before_the_name_as_the_kernel_allows():
    assert parse('"virtproof.args=a b"').args == ("a", "b")


def test_of_two_the_last_counts():
    assert parse("virtproof.out=serial virtproof.out=LABEL=X").out == "LABEL=X"


@pytest.mark.parametrize("out", ["serial", "LABEL=RESULTS", "LABEL=R/rack7", "http://h", "https://h:8/x/{uuid}"])
def test_places_where_results_may_go(out):
    assert parse(f"virtproof.out={out}") == Parameters(out=out)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("virtproof.out=ftp://h", "results go to"),
        ("virtproof.out=LABEL=", "results go to"),
        ("virtproof.out=http://", "results go to"),
        ("virtproof.out", "results go to"),
        ("virtproof.then=reboot", "wait, poweroff"),
        ("virtproof.output=serial", "no such parameter"),
        ("virtproof.args=it's", "No closing quotation"),
    ],
)
def test_what_makes_no_sense_is_named_and_the_rest_still_counts(word, says):
    parameters = parse(f"{word} virtproof.profile=p")
    assert len(parameters.wrong) == 1
    assert word.partition("=")[0] in parameters.wrong[0]
    assert says in parameters.wrong[0]
    assert (parameters.out, parameters.then, parameters.profile, parameters.args) == ("", Then.WAIT, "p", ())


@given(st.text())
def test_no_command_line_ends_the_image(line):
    assert parse(line).then is Then.WAIT


@given(
    st.lists(st.sampled_from(["virtproof.", "out", "then", "args", "=", '"', "'", " ", "LABEL=", "serial", "http://"]))
)
def test_no_words_of_ours_end_the_image(words):
    parse("".join(words))
