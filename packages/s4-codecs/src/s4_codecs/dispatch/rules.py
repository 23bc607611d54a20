"""Options by bucket and key prefix: a table of rules, of which the longest prefix that matches a key wins.

[rules."logs/"]             # the bucket "logs"
policy = "trial"
exclude = ["cpu-columnar"]

[rules."logs/archive/"]     # its keys below archive/
zstd_level = 19

[rules."media/"]
force = "passthrough"
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from s4_format import FormatError, codec_from_label

from s4_codecs.errors import CodecError
from s4_codecs.options import DispatcherName, EncodeOptions

_POLICIES = get_args(DispatcherName)


class RulesError(ValueError):
    """The rules cannot be used; the message names the rule and what is accepted."""


@dataclass(frozen=True, slots=True)
class DispatchRule:
    """What is different for the objects under one prefix. None: as everywhere."""

    policy: DispatcherName | None = None
    force: str | None = None
    """Label of the codec that every object gets, whatever its bytes; "passthrough" leaves them alone."""
    exclude: frozenset[str] = frozenset()
    """Labels of codecs that are not chosen here, beside those excluded everywhere."""
    zstd_level: int | None = None

    def apply(self, options: EncodeOptions) -> EncodeOptions:
        """`options` with what this rule says.

        Raises:
            ValueError: they contradict each other.
        """
        if self.force is not None:
            dictionary = options.dictionary if self.force == options.codec else None
            options = replace(options, codec=self.force, dispatcher="always", dictionary=dictionary, exclude=frozenset())
        else:
            options = replace(options, dispatcher=self.policy or options.dispatcher, exclude=options.exclude | self.exclude)
        return options if self.zstd_level is None else replace(options, zstd_level=self.zstd_level)


@dataclass(frozen=True, slots=True)
class DispatchRules:
    """Options for every object.

    Args:
        default: where no rule matches.
        rules: "bucket/" or "bucket/prefix" -> rule. A prefix is compared byte by byte: "logs/app" matches the key "apple" too.

    Raises:
        RulesError: a prefix without a bucket or slash, or a rule that contradicts the defaults.
    """

    default: EncodeOptions
    rules: Mapping[str, DispatchRule] = field(default_factory=dict)
    _table: tuple[tuple[str, str, EncodeOptions], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = [(*_bucket_and_prefix(place), self._options(place, rule)) for place, rule in self.rules.items()]
        table.sort(key=lambda row: -len(row[1]))
        object.__setattr__(self, "_table", tuple(table))

    @classmethod
    def parse(cls, default: EncodeOptions, document: Mapping[str, object]) -> "DispatchRules":
        """The rules of a parsed TOML or JSON document, as the module shows it.

        Raises:
            RulesError: unknown keys or values, or as the class.
        """
        unknown = sorted(document.keys() - {"rules"})
        if unknown:
            raise RulesError(f'{unknown[0]!r} is not known; the file holds tables [rules."bucket/prefix"]')
        rules = document.get("rules", {})
        if not isinstance(rules, Mapping):
            raise RulesError("rules: not a table of rules")
        return cls(default, {str(place): _parse_rule(str(place), rule) for place, rule in rules.items()})

    def options_for(self, bucket: str, key: str) -> EncodeOptions:
        """The options for one object."""
        for of_bucket, prefix, options in self._table:
            if bucket == of_bucket and key.startswith(prefix):
                return options
        return self.default

    def all_options(self) -> Iterator[tuple[str, EncodeOptions]]:
        """What every rule makes of the defaults, with its prefix."""
        for bucket, prefix, options in self._table:
            yield f"{bucket}/{prefix}", options

    def _options(self, place: str, rule: DispatchRule) -> EncodeOptions:
        try:
            return rule.apply(self.default)
        except (ValueError, CodecError, FormatError) as error:
            raise RulesError(f"rule {place!r}: {error}") from error


def _bucket_and_prefix(place: str) -> tuple[str, str]:
    bucket, slash, prefix = place.partition("/")
    if not bucket or not slash:
        raise RulesError(f'rule {place!r}: a bucket, a slash and a key prefix are expected, such as "logs/" for a whole bucket')
    return bucket, prefix


def _policy(value: object) -> DispatcherName:
    for name in _POLICIES:
        if value == name:
            return name  # type: ignore[no-any-return]
    raise ValueError(f"one of {', '.join(_POLICIES)}")


def _label(value: object) -> str:
    try:
        return codec_from_label(str(value)).label
    except FormatError:
        raise ValueError("the name of a codec, such as cpu-zstd or passthrough") from None


def _labels(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise ValueError('a list of codecs, such as ["cpu-columnar"]')
    return frozenset(map(_label, value))


def _level(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 22:
        raise ValueError("a whole number from 1 to 22")
    return value


_FIELDS: Mapping[str, Callable[[object], object]] = {"policy": _policy, "force": _label, "exclude": _labels, "zstd_level": _level}


def _parse_rule(place: str, rule: object) -> DispatchRule:
    if not isinstance(rule, Mapping) or not rule:
        raise RulesError(f"rule {place!r}: a table with one of {', '.join(_FIELDS)} is expected")
    values = {}
    for name, value in rule.items():
        if name not in _FIELDS:
            raise RulesError(f"rule {place!r}: {name!r} is not known; a rule has {', '.join(_FIELDS)}")
        try:
            values[name] = _FIELDS[name](value)
        except ValueError as error:
            raise RulesError(f"rule {place!r}: {name} {value!r} is not {error}") from None
    if "force" in values and values.keys() & {"policy", "exclude"}:
        raise RulesError(f"rule {place!r}: force leaves nothing to choose; give it without policy and exclude")
    return DispatchRule(**values)  # type: ignore[arg-type]
