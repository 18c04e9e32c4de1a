"""Pages under docs/ and the README agree with the repository: paths, tables, commands, the policy."""

import re
import tomllib
from pathlib import Path

import pytest

from services.certificate.policy.file import policy_from
from services.certificate.profiles import PROFILES, ExtendedKeyUsage
from services.key.purposes import PURPOSE_RULES
from shared.contracts.certificate.value_types import SanKind
from shared.contracts.key.value_types import Algorithm
from shared.messages.catalog import catalog

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = (ROOT / "docs" / "pki.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
PLACES = [ROOT, ROOT / "docs", *(path for path in (ROOT / "services").iterdir() if path.is_dir())]
LONGEST_LINE = 160
ALGORITHMS = {
    "rsa": {Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096},
    "ec": {Algorithm.EC_P256, Algorithm.EC_P384},
    "ed25519": {Algorithm.ED25519},
    "x25519": {Algorithm.X25519},
    "ml-dsa": {Algorithm.ML_DSA_65},
}
USAGES = {
    ExtendedKeyUsage.SERVER_AUTH: "server",
    ExtendedKeyUsage.CLIENT_AUTH: "client",
    ExtendedKeyUsage.CODE_SIGNING: "code signing",
    ExtendedKeyUsage.EMAIL_PROTECTION: "e-mail",
    ExtendedKeyUsage.OCSP_SIGNING: "OCSP",
    ExtendedKeyUsage.DOCUMENT_SIGNING: "documents",
    ExtendedKeyUsage.SMARTCARD_LOGON: "logon",
    ExtendedKeyUsage.PIV_CARD_AUTH: "PIV card",
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _quoted(page):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose) + re.findall(r"\]\(([^)#\n]+)\)", prose)


@each_page
def test_every_module_and_path_of_ours_that_a_page_names_exists(page):
    """A name is meant for a path where it has a folder of ours or ends like a file that we write."""
    ours = re.compile(r"(docs|services|shared|deploy|tests)/[\w./-]+|[\w./-]+\.(py|md|lock)|(streams|subjects)\.yaml")
    named = [text for text in _quoted(page) if ours.fullmatch(text) and text != "seal.py"]
    modules = {path.name for top in ("services", "shared", "deploy", "tests") for path in (ROOT / top).rglob("*.py")}

    missing = [
        name
        for name in named
        if not any((place / name).exists() for place in (*PLACES, page.parent))
        and not _is_adr(name)
        and name not in modules
    ]

    assert missing == []


@each_page
def test_every_module_that_a_page_names_with_dots_exists(page):
    named = [text for text in _quoted(page) if re.fullmatch(r"(services|shared|deploy|tests)(\.\w+)+", text)]

    def exists(parts):
        return ROOT.joinpath(*parts).is_dir() or ROOT.joinpath(*parts).with_suffix(".py").exists()

    assert [name for name in named if not exists(name.split(".")) and not exists(name.split(".")[:-1])] == []


def _is_adr(name):
    """`docs/adr/0012` is what ADRs are called by."""
    return bool(re.fullmatch(r"docs/adr/\d{4}", name)) and any(ROOT.glob(f"{name}-*.md"))


@each_page
def test_every_adr_that_a_page_names_exists(page):
    numbers = set(re.findall(r"(?:ADRs? |docs/adr/|adr/)(\d{4})", page.read_text()))

    assert [number for number in numbers if not any((ROOT / "docs" / "adr").glob(f"{number}-*.md"))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_a_page_is_longer_than_160_characters(page):
    lines = enumerate(page.read_text().splitlines(), 1)

    assert [(number, line) for number, line in lines if len(line) > LONGEST_LINE] == []


def test_the_page_on_architecture_lists_the_layers_that_import_linter_enforces():
    page = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

    def row(container, layers):
        siblings = (" · ".join(f"`{name.strip()}`" for name in layer.split("|")) for layer in layers)
        return f"- `{container}`: {' → '.join(siblings)}"

    rows = [row(container, rule["layers"]) for rule in contracts for container in rule.get("containers", ())]
    assert [expected for expected in rows if expected not in page] == []


def test_the_guide_is_no_book():
    assert len(GUIDE.splitlines()) <= 250


def profile_row(profile, rules):
    def kinds(names, *, bold):
        return [f"**{kind}**" if bold else str(kind) for kind in SanKind if kind in names]

    names = ", ".join(
        kinds(rules.required_san_kinds, bold=True) + kinds(rules.names - rules.required_san_kinds, bold=False)
    )
    usages = (
        ", ".join([USAGES[usage] for usage in (*rules.extended_key_usage, *rules.upn_extended_key_usage)]) or "none"
    )
    keys = ", ".join(rules.key_usage)
    return f"| `{profile}` | {rules.max_validity_days:,} | {keys} | {names} | {usages} | {rules.version} |"


def purpose_row(purpose, rules):
    families = ", ".join(name for name, members in ALGORITHMS.items() if members <= set(rules.algorithms))

    def told(*, yes):
        return "yes" if yes else "no"

    cells = (told(yes=rules.signs), told(yes=rules.batches), told(yes=rules.exportable), told(yes=rules.approvable))
    return f"| `{purpose}` | {families} | {' | '.join(cells)} |"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_guide_s_table_of_profiles_is_that_of_the_code(profile):
    assert profile_row(profile, PROFILES[profile]) in GUIDE.splitlines()


@pytest.mark.parametrize("purpose", PURPOSE_RULES)
def test_the_guide_s_table_of_purposes_is_that_of_the_code(purpose):
    assert purpose_row(purpose, PURPOSE_RULES[purpose]) in GUIDE.splitlines()


def test_every_command_about_keys_and_certificates_has_a_line_that_names_its_event():
    told = dict(re.findall(r"^\| `([a-z-]+\.[a-z-]+)` \| .+ \| `([a-z-]+)` \|$", COMMANDS, re.MULTILINE))
    commands = {subject.removeprefix("keys.commands.") for subject in catalog().commands}
    events = {".".join(subject.split(".")[2:4]) for subject in catalog().routes if subject.startswith("keys.events.")}

    assert set(told) == {name for name in commands if name.split(".")[0] not in {"saga", "yubikey"}}
    assert {f"{command.split('.')[0]}.{event}" for command, event in told.items()} <= events


def test_every_saga_has_a_line():
    told = set(re.findall(r"^\| `([a-z-]+)` \| .+ \| .+ \|$", COMMANDS, re.MULTILINE))

    assert told >= {subject.split(".")[3] for subject in catalog().commands if subject.endswith(".start")}


@pytest.mark.parametrize("page", [ROOT / "docs" / "pki.md", ROOT / "docs" / "adr" / "0013-issuance-and-policy.md"])
def test_the_policy_that_is_shown_is_read(page, tmp_path):
    (shown,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "policy.yaml").write_text(shown)

    assert policy_from(tmp_path / "policy.yaml", None).x509.rules


@pytest.mark.parametrize("name", ["lent_key.py", "test_lent_key.py"])
def test_the_saga_that_the_guide_shows_is_the_one_that_is_tested_and_short(name):
    shown = (ROOT / "tests" / "kit" / "example" / name).read_text()

    assert f"```python\n{shown}```" in (ROOT / "docs" / "contributing.md").read_text()
    assert len(shown.splitlines()) < 40
