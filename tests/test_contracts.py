"""The contracts in words: one source for the kit, the README and the pages of each kind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clscli.contracts import CONTRACTS, format_kinds, format_page, main
from clscli.plugins import KINDS
from clscli.testing import CASES

ROOT = Path(__file__).parents[1]


def test_every_kind_has_a_contract_a_page_and_checks():
    assert list(CONTRACTS) == list(KINDS)
    assert list(CASES) == list(KINDS)
    assert sorted(page.stem for page in (ROOT / "plugins_example/contracts").glob("*.md")) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_it_explains_all_that_clscli_gives(kind):
    assert tuple(CONTRACTS[kind].injected) == KINDS[kind].injected


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_checked_and_every_check_is_of_a_rule(kind):
    checks = {name.removeprefix("check_") for name in dir(CASES[kind]) if name.startswith("check_")}
    assert checks == {"builds", *CONTRACTS[kind].rules}


@pytest.mark.parametrize("kind", KINDS)
def test_the_pages_are_up_to_date(kind):
    page = ROOT / f"plugins_example/contracts/{kind}.md"
    advice = "run python -m clscli.contracts plugins_example/contracts"
    assert page.read_text(encoding="utf-8") == format_page(kind), advice


def test_the_readme_has_the_table_of_kinds():
    (table,) = re.findall(r"(?m)^\| kind \|.*\n(?:\|.*\n)+", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert table == format_kinds(), "put in what python -m clscli.contracts prints"


def test_the_command_writes_the_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["contracts", str(tmp_path / "pages")])
    main()
    assert {page.name for page in (tmp_path / "pages").iterdir()} == {f"{kind}.md" for kind in KINDS}
    assert (tmp_path / "pages/losses.md").read_text(encoding="utf-8") == format_page("losses")
    monkeypatch.setattr(sys, "argv", ["contracts"])
    main()
    assert capsys.readouterr().out == format_kinds()


def test_reading_contracts_imports_no_torch():
    code = "import sys, clscli.contracts; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
