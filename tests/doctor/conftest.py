"""Provide the assertion that several of the doctor's tests share."""

from collections.abc import Callable

import pytest

from etude.doctor.checks import Finding


@pytest.fixture
def assert_fault() -> Callable[[Finding, str, str], None]:
    """Assert that a finding is a fault whose text and remedy contain the given phrases."""

    def check(finding: Finding, found: str, remedy: str) -> None:
        assert finding.status == "fault"
        assert found in finding.found
        assert remedy in finding.remedy

    return check
