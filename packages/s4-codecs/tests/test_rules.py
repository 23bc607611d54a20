"""Rules by bucket and prefix."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_codecs import DispatchRule, DispatchRules, EncodeOptions
from s4_codecs.dispatch import RulesError

DEFAULT = EncodeOptions(zstd_level=5)
TEXT = """
[rules."logs/"]
policy = "trial"
exclude = ["cpu-columnar", "cpu-gzip"]

[rules."logs/archive/"]
zstd_level = 19

[rules."media/"]
force = "passthrough"

[rules."media/subtitles/"]
force = "cpu-gzip"
"""


def parsed(text: str, default: EncodeOptions = DEFAULT) -> DispatchRules:
    """The rules in `text`."""
    return DispatchRules.parse(default, tomllib.loads(text))


@pytest.mark.parametrize(
    ("bucket", "key", "expected"),
    [
        ("logs", "app/1", EncodeOptions(zstd_level=5, dispatcher="trial", exclude=frozenset({"cpu-columnar", "cpu-gzip"}))),
        ("logs", "archive/1", EncodeOptions(zstd_level=19)),
        ("logs", "archive", EncodeOptions(zstd_level=5, dispatcher="trial", exclude=frozenset({"cpu-columnar", "cpu-gzip"}))),
        ("media", "a.mp4", EncodeOptions(zstd_level=5, codec="passthrough", dispatcher="always")),
        ("media", "subtitles/a", EncodeOptions(zstd_level=5, codec="cpu-gzip", dispatcher="always")),
        ("logs2", "app/1", DEFAULT),
        ("other", "logs/archive/1", DEFAULT),
    ],
)
def test_the_longest_prefix_wins(bucket: str, key: str, expected: EncodeOptions) -> None:
    """An object has the options of the one rule with the longest prefix of its own bucket, and else the defaults."""
    assert parsed(TEXT).options_for(bucket, key) == expected


@given(st.dictionaries(st.text("ab/", max_size=4), st.integers(1, 22), max_size=6), st.text("ab/", max_size=6))
def test_any_table(levels: dict[str, int], key: str) -> None:
    """For any set of prefixes the rule is the longest that the key begins with."""
    rules = DispatchRules(DEFAULT, {f"bucket/{prefix}": DispatchRule(zstd_level=level) for prefix, level in levels.items()})
    matching = [prefix for prefix in levels if key.startswith(prefix)]
    expected = levels[max(matching, key=len)] if matching else DEFAULT.zstd_level
    assert rules.options_for("bucket", key).zstd_level == expected


def test_everything_that_rules_make() -> None:
    """The options of all rules can be listed, so that their codecs can be checked before an object comes."""
    made = dict(parsed(TEXT).all_options())
    assert set(made) == {"logs/", "logs/archive/", "media/", "media/subtitles/"}
    assert made["media/"].codec == "passthrough"
    assert list(parsed("").all_options()) == []


def test_exclusions_add_up() -> None:
    """A rule excludes codecs beside those that are excluded everywhere; forcing one means that one."""
    default = EncodeOptions(dispatcher="trial", exclude=frozenset({"cpu-zstd"}))
    assert DispatchRule(exclude=frozenset({"cpu-columnar"})).apply(default).exclude == {"cpu-zstd", "cpu-columnar"}
    assert DispatchRule(force="cpu-zstd").apply(default) == EncodeOptions(dispatcher="always")


def test_a_dictionary_stays_with_its_codec() -> None:
    """Forcing another codec drops the dictionary, which only its own codec can use."""
    default = EncodeOptions(codec="cpu-zstd-dict", dictionary=b"words that come up all the time")
    assert DispatchRule(force="cpu-gzip").apply(default).dictionary is None
    assert DispatchRule(force="cpu-zstd-dict").apply(default).dictionary == default.dictionary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rule]", "'rule' is not known"),
        ("rules = 5", "not a table"),
        ("[rules]\nlogs = 5", "rule 'logs': a table with one of"),
        ('[rules."logs/"]', "rule 'logs/': a table with one of policy, force, exclude, zstd_level"),
        ('[rules."logs"]\nzstd_level = 3', "rule 'logs': a bucket, a slash and a key prefix"),
        ('[rules."/x"]\nzstd_level = 3', "rule '/x': a bucket"),
        ('[rules."logs/"]\nlevel = 3', "rule 'logs/': 'level' is not known; a rule has policy, force"),
        ('[rules."logs/"]\nzstd_level = 23', "zstd_level 23 is not a whole number from 1 to 22"),
        ('[rules."logs/"]\nzstd_level = true', "zstd_level True is not"),
        ('[rules."logs/"]\npolicy = "guess"', "policy 'guess' is not one of sampling, always, trial"),
        ('[rules."logs/"]\nforce = "lz5"', "force 'lz5' is not the name of a codec"),
        ('[rules."logs/"]\nexclude = "cpu-zstd"', "exclude 'cpu-zstd' is not a list of codecs"),
        ('[rules."logs/"]\nexclude = ["zstd"]', "is not the name of a codec"),
        ('[rules."logs/"]\nforce = "cpu-gzip"\npolicy = "trial"', "force leaves nothing to choose"),
        ('[rules."logs/"]\nexclude = ["cpu-zstd"]', "rule 'logs/': codec cpu-zstd is configured and excluded"),
        ('[rules."logs/"]\nforce = "cpu-zstd-dict"', "rule 'logs/': cpu-zstd-dict needs a dictionary"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    """Rules that cannot be used are refused with the rule and what is accepted."""
    with pytest.raises(RulesError) as caught:
        parsed(text)
    assert message in str(caught.value)
