"""The laws of the subject algebra (docs/contract.md, section 1)."""

from functools import reduce
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.messages.subjects import Permission, Subject

# few and short, so that generated patterns meet
WORDS = ("a", "b", "Z_9-")
TOKENS = st.sampled_from(WORDS)
LITERALS = st.lists(TOKENS, min_size=1, max_size=4).map(lambda tokens: Subject(tuple(tokens)))


@st.composite
def _patterns(draw):
    tokens = draw(st.lists(st.sampled_from([*WORDS, "*"]), max_size=3))
    return Subject((*tokens, *draw(st.sampled_from([(), (">",)]))))


PATTERNS = _patterns()
WITHOUT_TAIL = PATTERNS.filter(lambda pattern: ">" not in pattern.tokens)
PERMISSIONS = st.builds(Permission, st.frozensets(PATTERNS, max_size=3), st.frozensets(PATTERNS, max_size=3))
UNIVERSE = [Subject(tokens) for length in range(1, 6) for tokens in product(WORDS, repeat=length)]


def _matches(pattern, subject):
    """NATS' own words, apart from the code under test: `*` is one token, `>` is one or more."""
    match pattern, subject:
        case [], []:
            return True
        case [">"], [_, *_]:
            return True
        case [token, *pattern_rest], [word, *rest] if token in ("*", word):
            return _matches(pattern_rest, rest)
    return False


def _an_instance(pattern, *fillers):
    """A literal subject that matches the pattern."""
    filling = iter(fillers)
    return Subject(tuple(next(filling) if token in "*>" else token for token in pattern.tokens))


@given(WITHOUT_TAIL, WITHOUT_TAIL, PATTERNS)
def test_concatenation_is_associative(one, two, three):
    assert (one + two) + three == one + (two + three)


@given(PATTERNS)
def test_the_empty_subject_is_the_identity_of_concatenation(pattern):
    assert Subject() + pattern == pattern
    assert reduce(Subject.__add__, [pattern, Subject()]) == pattern


@given(PATTERNS)
def test_parsing_undoes_rendering(pattern):
    assert Subject.parse(str(pattern)) == pattern


@given(PATTERNS)
def test_rendering_undoes_parsing(pattern):
    text = ".".join(pattern.tokens)

    assert str(Subject.parse(text)) == text


@given(PATTERNS)
def test_every_pattern_covers_itself(pattern):
    assert pattern.covers(pattern)


@given(PATTERNS, PATTERNS)
def test_patterns_that_cover_one_another_are_the_same(one, other):
    if one.covers(other) and other.covers(one):
        assert one == other


@given(PATTERNS, PATTERNS, PATTERNS)
def test_covering_is_transitive(one, two, three):
    if one.covers(two) and two.covers(three):
        assert one.covers(three)


@given(PATTERNS, LITERALS)
def test_a_pattern_covers_exactly_the_subjects_that_match_it(pattern, subject):
    assert pattern.covers(subject) == _matches(list(pattern.tokens), list(subject.tokens))


@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another_exactly_when_it_matches_all_that_the_other_matches(one, other):
    assume(one.tokens)
    assume(other.tokens)
    matched = [s for s in UNIVERSE if _matches(list(other.tokens), list(s.tokens))]
    foreign = _an_instance(other, *["x"] * 4)  # a token that no pattern names stands for all the others

    everything = all(_matches(list(one.tokens), list(s.tokens)) for s in [*matched, foreign])

    assert one.covers(other) == everything


@given(PATTERNS, PATTERNS)
def test_overlapping_is_symmetric(one, other):
    assert one.overlaps(other) == other.overlaps(one)


@given(PATTERNS, PATTERNS)
def test_patterns_overlap_exactly_when_a_common_subject_can_be_found(one, other):
    assume(one.tokens)
    assume(other.tokens)
    alphabet = sorted({*one.tokens, *other.tokens, "x"} - {"*", ">"})
    longest = max(len(one.tokens), len(other.tokens))
    subjects = (s for length in range(1, longest + 1) for s in product(alphabet, repeat=length))

    common = any(_matches(list(one.tokens), list(s)) and _matches(list(other.tokens), list(s)) for s in subjects)

    assert one.overlaps(other) == common


@given(PATTERNS, PATTERNS)
def test_what_covers_also_overlaps(one, other):
    if one.covers(other):
        assert one.overlaps(other)


@given(PATTERNS, LITERALS)
def test_overlapping_a_literal_subject_is_covering_it(pattern, subject):
    assert pattern.overlaps(subject) == pattern.covers(subject)


@given(WITHOUT_TAIL, st.lists(TOKENS, min_size=4, max_size=4))
def test_captures_undoes_fill(pattern, words):
    values = tuple(words[: pattern.tokens.count("*")])

    filled = pattern.fill(*values)

    assert pattern.captures(filled) == values
    assert pattern.covers(filled)


@given(st.lists(st.tuples(TOKENS, st.booleans()), max_size=4))
def test_fill_undoes_captures(tokens):
    subject = Subject(tuple(token for token, _ in tokens))
    pattern = Subject(tuple("*" if hidden else token for token, hidden in tokens))

    assert pattern.fill(*pattern.captures(subject)) == subject


@given(WITHOUT_TAIL, st.lists(TOKENS, max_size=6))
def test_filling_takes_one_value_a_wildcard(pattern, values):
    assume(len(values) != pattern.tokens.count("*"))

    with pytest.raises(ValueError, match=f"got {len(values)}"):
        pattern.fill(*values)


@pytest.mark.parametrize("value", ["", "a.b", "a b", "a\n", "ä", "$x"])
def test_filling_with_what_is_no_token_is_refused(value):
    with pytest.raises(ValueError, match="not a subject token"):
        Subject.parse("keys.*").fill(value)


@given(PATTERNS)
def test_a_subject_is_literal_exactly_when_it_has_tokens_and_no_wildcard(pattern):
    assert pattern.literal == (bool(pattern.tokens) and not any(token in "*>" for token in pattern.tokens))


@given(PERMISSIONS, PERMISSIONS)
def test_joining_permissions_is_commutative(one, other):
    assert one | other == other | one


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_joining_permissions_is_associative(one, two, three):
    assert (one | two) | three == one | (two | three)


@given(PERMISSIONS)
def test_joining_a_permission_with_itself_or_with_none_changes_nothing(permission):
    assert permission | permission == permission
    assert permission | Permission() == permission


@given(PERMISSIONS, PERMISSIONS, LITERALS)
def test_deny_wins_however_permissions_are_joined(one, other, subject):
    if any(pattern.covers(subject) for pattern in one.deny):
        assert not one.permits(subject)
        assert not (one | other).permits(subject)


@given(PERMISSIONS, LITERALS)
def test_what_nothing_allows_is_not_permitted(permission, subject):
    if not any(pattern.covers(subject) for pattern in permission.allow):
        assert not permission.permits(subject)


@given(st.text(max_size=5))
def test_a_token_is_letters_digits_underscore_or_hyphen_or_a_wildcard_and_nothing_else(token):
    acceptable = token in ("*", ">") or (token != "" and all(c.isascii() and (c.isalnum() or c in "_-") for c in token))

    if acceptable:
        assert Subject((token,)).tokens == (token,)
    else:
        with pytest.raises(ValueError, match="not a subject token"):
            Subject((token,))


@pytest.mark.parametrize("text", [".", "a.", ".a", "a..b", "a b", "a.b\n", "a.*b", "a>", "$KV.x", "schlüssel"])
def test_text_with_a_bad_token_is_refused(text):
    with pytest.raises(ValueError, match="not a subject token"):
        Subject.parse(text)


@given(st.lists(TOKENS, max_size=2), st.lists(TOKENS, min_size=1, max_size=2))
def test_the_tail_wildcard_before_the_end_is_refused(before, after):
    with pytest.raises(ValueError, match="only be the last token"):
        Subject((*before, ">", *after))
