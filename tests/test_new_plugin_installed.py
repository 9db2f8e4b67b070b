"""What `clscli new plugin` writes, and the example package, installed by pip as they are: their own tests pass."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from environments import Environment

from clscli.new_plugin import EXAMPLES
from clscli.plugins import KINDS

EXAMPLE = Path(__file__).parents[1] / "plugins_example/fastnets"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("venv"))


def own_tests(there, package):
    """Run the tests that a package has; return what pytest says."""
    command = [str(there.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_a_new_package_of_all_kinds(there):
    kinds = [word for kind in KINDS.values() for word in ("--kind", kind.singular)]
    written = there.clscli("new", "plugin", "my-parts", *kinds, "--license", "BSD-3-Clause")
    assert written.returncode == 0, written.stderr
    there.pip("install", "--no-deps", "--no-build-isolation", "-e", "my-parts")
    shown = json.loads(there.clscli("list", "--json").stdout)
    ours = {row["kind"]: row["name"] for row in shown if row["dist"] == "my-parts"}
    assert ours == {kind: example.name for kind, example in EXAMPLES.items()}
    report = own_tests(there, "my-parts")
    assert f"{len(KINDS)} passed" in report, report
    taken = there.clscli("new", "plugin", "my-parts", "--kind", "hook", "--out", "other")
    assert (taken.returncode, taken.stderr) == (2, "'my-parts' is installed here already -- choose another name\n")


@pytest.mark.slow
def test_the_example_package(there, tmp_path):
    package = shutil.copytree(EXAMPLE, tmp_path / "fastnets")
    there.pip("install", "--no-deps", "--no-build-isolation", package)
    report = own_tests(there, package)
    assert "4 passed" in report, report
