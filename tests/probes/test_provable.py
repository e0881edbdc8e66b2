"""Every claim has a case that could prove it, or a reason why none can."""

from virtproof.conformance.catalogue import all_cases
from virtproof.probes.claims.catalogue import ALL_CLAIMS
from virtproof.probes.proofs import EMULATED, INVISIBLE

PROVEN_BY_SOME = {claim for case in all_cases() for claim in case.proves}


def test_no_claim_stays_silently_unproven() -> None:
    assert {claim.name for claim in ALL_CLAIMS} - PROVEN_BY_SOME == INVISIBLE.keys()


def test_cases_prove_claims_that_there_are() -> None:
    assert {claim.name for claim in ALL_CLAIMS} >= PROVEN_BY_SOME


def test_a_claim_can_be_proven_or_it_is_said_why_not() -> None:
    discriminated = {claim for case in all_cases() if case.discriminates for claim in case.proves}
    assert PROVEN_BY_SOME - discriminated == EMULATED.keys()
