"""Plain technical English: docstrings that say what a thing is, and names without the words that the glossary bans."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for top in ("shared", "services", "deploy") for path in (ROOT / top).rglob("*.py"))
MAX_OBLIQUE_SHARE = 0.01
"""Share of docstrings that may open with a pronoun or conjunction instead of a noun phrase or a verb."""

OTHER_MEANINGS = {
    "answer": "OcspAnswer and AnswerPrompt are names on the wire",
    "authority": "BindAuthority and CertificationAuthority are names on the wire; X.509 has authority key identifiers",
    "building": "certification path building (RFC 4158)",
    "history": "the statuses that a certificate has had",
    "lock": "a lock file",
    "ordered": "ordered consumers of NATS",
    "over": "LeftOver is a name on the wire",
    "parent": "SagaParent is a name on the wire",
    "plan": "SlotPlan and PlanSlots are names on the wire; a batch of OCSP responses is planned",
    "provenance": "Provenance, the origin of a key, is a name on the wire",
    "report": "ReportPresence and ReportYubiKeyLost are names on the wire",
    "rules": "rules of a policy",
    "secret": "PIN, PUK and management key of a device",
    "settled": "PromptSettled is a name on the wire",
    "stage": "ExpiryStage is a name on the wire",
    "unreadable": "a document that cannot be parsed, or opened",
    "word": "status word (ISO/IEC 7816-4)",
}
"""Words that the glossary bans for one meaning, and that names use for another."""

NOUNS = {"building", "encoding", "fencing", "formatting", "keyring", "matching", "offboarding", "onboarding"}
NOUNS |= {"provisioning", "routing", "sealing", "tuning"}
"""Nouns that end like a participle."""

ADJECTIVES = {"imported", "ordered", "parsed"}
"""Participles that qualify the noun after them."""

_OBLIQUE = re.compile(r"\s*(What|Whether|Who|Whom|Whose|Where|As|By|Which|Whoever|Whatever)\b")
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_ROWS = re.findall(
    r"^\| (?!term|---)([^|]+) \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
)


def _banned_phrases():
    phrases = {phrase.strip() for _, _, column in _ROWS for phrase in column.split(",")}
    return phrases - OTHER_MEANINGS.keys()


def _terms():
    """Yields the terms of the glossary: within one, a banned word is right (a dead letter)."""
    return {term.strip() for terms, _, _ in _ROWS for term in terms.split(",")}


def _words(name):
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)).lower()


def _banned_in(name):
    words = f" {_words(name)} "
    for term in _terms():
        words = words.replace(f" {term} ", " ").replace(f" {term}s ", " ")
    return [phrase for phrase in _banned_phrases() if f" {phrase} " in words]


def _is_participle(word):
    return word not in NOUNS and re.fullmatch(r"\w{3,}(ing|ed)|said|told|heard|known|stands|past", word) is not None


def _docstrings():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def test_docstrings_open_with_a_noun_phrase_or_a_verb():
    texts = list(_docstrings())
    oblique = [place for place, text in texts if _OBLIQUE.match(text)]

    assert len(oblique) <= MAX_OBLIQUE_SHARE * len(texts), oblique


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_modules_and_public_classes_use_no_banned_word(path):
    classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    names = [path.stem, *(name for name in classes if not name.startswith("_"))]

    assert {name: banned for name in names if (banned := _banned_in(name))} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_named_by_nouns(path):
    *first, last = path.stem.strip("_").split("_")

    assert not _is_participle(last)
    assert not {word for word in first if _is_participle(word)} - ADJECTIVES


@pytest.mark.parametrize(
    ("name", "banned"),
    [
        ("what_is_told", ["told"]),
        ("Asked", ["asked"]),
        ("StandingOrder", ["standing", "order"]),
        ("point_of_no_return", ["point of no return"]),
        ("DeadLetters", []),
        ("Letter", ["letter"]),
        ("OcspAnswer", []),
    ],
)
def test_a_name_is_held_against_the_banned_column(name, banned):
    assert sorted(_banned_in(name)) == sorted(banned)


def test_other_meanings_are_of_words_that_the_glossary_bans():
    assert OTHER_MEANINGS.keys() <= {phrase.strip() for _, _, column in _ROWS for phrase in column.split(",")}


def test_the_glossary_is_a_table_of_terms_with_the_words_to_avoid():
    assert len(_ROWS) >= 30
    assert all(term.strip() and meaning.strip() for term, meaning, _ in _ROWS)
