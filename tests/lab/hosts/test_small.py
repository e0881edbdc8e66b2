"""Four lab hosts, with what the distribution packages: sound, without the feature, off in firmware, forbidden."""

from __future__ import annotations

import pytest

from virtproof.lab.hosts.execute import execute
from virtproof.lab.hosts.table import HOSTS
from virtproof.lab.missing import Missing

SMALL = ("amd-npt", "amd-no-svm", "kvm-no-permission", "intel-locked-off")


@pytest.mark.lab
@pytest.mark.parametrize("name", SMALL)
def test_virtproof_names_what_is_wrong_with_the_host(name, tmp_path):
    host = next(host for host in HOSTS if host.name == name)
    try:
        outcome = execute(host, tmp_path)
    except Missing as fault:
        pytest.skip(str(fault))
    assert outcome.errors == []
    assert [str(one) for one in outcome.mismatches] == []
    assert outcome.unexplained == ()
    assert outcome.run is not None
