"""The dependency audit's verdict, on reports as pip-audit writes them; no source of advisories is asked."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / ".ci" / "audit"


@pytest.fixture(scope="module")
def audit():
    loader = SourceFileLoader("ci_audit", str(PATH))
    module = module_from_spec(spec_from_loader("ci_audit", loader))
    loader.exec_module(module)
    return module


REPORT = {
    "dependencies": [
        {"name": "safe", "version": "1.0", "vulns": []},
        {"name": "old", "version": "2.0", "vulns": [{"id": "PYSEC-1"}, {"id": "GHSA-2"}]},
        {"name": "own", "skip_reason": "not found"},
    ]
}


def test_a_known_vulnerability_fails_unless_it_is_accepted_with_a_reason(audit):
    found = list(audit.vulnerabilities(REPORT))
    assert found == [("old", "2.0", "PYSEC-1"), ("old", "2.0", "GHSA-2")]
    reasons = audit.accepted("# a comment\n\nPYSEC-1 only its server, which is not started\n")
    assert audit.unaccepted(found, reasons) == [("old", "2.0", "GHSA-2")]
    assert list(audit.vulnerabilities({})) == []


def test_an_acceptance_needs_a_reason(audit):
    with pytest.raises(SystemExit, match="PYSEC-1 without a reason"):
        audit.accepted("PYSEC-1\n")


@pytest.mark.parametrize("answer", [{}, {"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]}])
def test_where_no_source_answers_that_is_said_and_nothing_fails(audit, monkeypatch, capsys, answer):
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(audit, "audited", lambda requirements: answer)
    assert audit.main() == 0
    assert "NOT audited" in capsys.readouterr().out


def test_a_source_that_answers_is_believed(audit, monkeypatch, capsys):
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(audit, "audited", lambda requirements: REPORT)
    assert audit.main() == 1
    assert "old 2.0 has GHSA-2" in capsys.readouterr().out


def test_what_is_accepted_in_the_repository_has_reasons(audit):
    audit.accepted((PATH.parent / "audit-accepted.txt").read_text(encoding="utf-8"))
