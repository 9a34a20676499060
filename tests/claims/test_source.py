from dynamoe_search.claims.source import (
    CLAIMS,
    DENSE_ACTIVE,
    DENSE_TOTAL,
    DYNAMIC,
    FIRST_DENSE,
    OUTCOMES,
)
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM


def test_the_claims_are_those_of_the_source_and_two_of_others() -> None:
    by_about = {claim.about: claim.better for claim in CLAIMS if claim.family != "others"}
    assert by_about == {
        "images": "descending",
        "tiny": "descending",
        "small": "ascending",
        "medium": "uniform",
        "routing": DYNAMIC,
    }
    for claim in CLAIMS:
        assert claim.outcome in OUTCOMES
        assert claim.better not in claim.rivals
    bests = [claim for claim in CLAIMS if len(claim.rivals) > 1]
    assert [{*claim.rivals, claim.better} for claim in bests] == [set(PATTERNS_AND_UNIFORM)] * 3
    others = [(claim.better, claim.threshold) for claim in CLAIMS if claim.family == "others"]
    assert others == [("late", 0), (FIRST_DENSE, -0.01)]
    dense = [claim.rivals for claim in CLAIMS if claim.rivals[0] in (DENSE_ACTIVE, DENSE_TOTAL)]
    assert dense == [(DENSE_ACTIVE,), (DENSE_TOTAL,)]
