"""Whatever a profile, waiver or deviation file holds: it is read, or refused with our own error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtproof.probes.profile import DEVIATIONS, FOLDER, PROFILE, WAIVERS, load_deviations, load_profile, load_waivers
from virtproof.spec.fault import Fault

LOADERS = {"profile": load_profile, "waivers": load_waivers, "deviations": load_deviations}
WHOLE = (FOLDER / "kvm-host.toml").read_bytes()
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

scalars = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=40), st.dates(), st.times()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner))


def toml(value: object) -> str:
    import json

    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value)
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
        case _:
            return str(value)


def read(kind: str, path, data: bytes) -> None:
    path.write_bytes(data)
    with suppress(Fault):
        LOADERS[kind](str(path))


@pytest.mark.parametrize(("kind", "form"), [("profile", PROFILE), ("waivers", WAIVERS), ("deviations", DEVIATIONS)])
@settings(max_examples=50, **QUIET)
@given(data=st.data())
def test_documents_of_the_right_keys_and_any_values(tmp_path, kind, form, data):
    keys = st.sampled_from([*form.rows.known, "other"])
    rows = data.draw(st.lists(st.dictionaries(keys, values, max_size=6), max_size=3))
    own = data.draw(st.dictionaries(st.sampled_from([*form.required, *form.optional, "x"]), values))
    lines = [f"schema = {toml(form.schema)}", *(f"{key} = {toml(value)}" for key, value in own.items())]
    for row in rows:
        lines += [f"[[{form.table}]]", *(f"{key} = {toml(value)}" for key, value in row.items())]
    read(kind, tmp_path / "it.toml", "\n".join(lines).encode("utf-8", "replace"))


@settings(max_examples=50, **QUIET)
@given(at=st.integers(0, len(WHOLE)), cut=st.integers(0, 40), put=st.binary(max_size=12))
def test_a_profile_with_a_piece_replaced(tmp_path, at, cut, put):
    read("profile", tmp_path / "it.toml", WHOLE[:at] + put + WHOLE[at + cut :])


@pytest.mark.parametrize("name", ["\\u0000.toml", "../../../../dev/null.toml", "/etc/shadow.toml", "a" * 500 + ".toml"])
def test_hostile_names_of_profiles_to_extend(tmp_path, name):
    path = tmp_path / "it.toml"
    path.write_text(f'schema = "virtproof.profile/1"\nname = "x"\ntitle = "X"\nextends = ["{name}"]\n')
    with pytest.raises(Fault):
        load_profile(str(path))
