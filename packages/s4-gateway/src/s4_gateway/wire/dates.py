"""The three spellings of a time that S3 uses; all times are whole seconds since the epoch, UTC."""

import calendar
import re
import time
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_HTTP_DATES = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_CLOCK} (?:GMT|UTC|\+0000)"),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}}) {_CLOCK} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})"),
)
_DAY = 86400


@lru_cache(maxsize=1024)
def _http_day(day: int) -> str:
    moment = time.gmtime(day * _DAY)
    return f"{_DAYS[moment.tm_wday]}, {moment.tm_mday:02} {_MONTHS[moment.tm_mon - 1]} {moment.tm_year:04}"


@lru_cache(maxsize=4096)
def _iso_minute(minute: int) -> str:
    moment = time.gmtime(minute * 60)
    return f"{moment.tm_year:04}-{moment.tm_mon:02}-{moment.tm_mday:02}T{moment.tm_hour:02}:{moment.tm_min:02}"


def http_date(seconds: int) -> str:
    """IMF-fixdate of RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`."""
    day, rest = divmod(seconds, _DAY)
    minutes, second = divmod(rest, 60)
    return f"{_http_day(day)} {minutes // 60:02}:{minutes % 60:02}:{second:02} GMT"


def iso_date(seconds: int) -> str:
    """As in S3's documents: `2009-10-12T17:50:30.000Z`."""
    minute, second = divmod(seconds, 60)
    return f"{_iso_minute(minute)}:{second:02}.000Z"


def parse_http_date(value: str) -> int | None:
    """Any of the three forms of RFC 9110, section 5.6.7; None for everything else.

    A two-digit year that looks more than 50 years ahead is the most recent year in the past with these digits.
    """
    for form in _HTTP_DATES:
        match = form.fullmatch(value.strip())
        if match is not None:
            return _seconds(match)
    return None


def _seconds(match: re.Match[str]) -> int | None:
    month = _MONTH_NUMBERS.get(match["month"])
    year, day = int(match["year"]), int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if len(match["year"]) == 2:
        now = time.gmtime().tm_year
        year += now - now % 100
        year -= 100 if year > now + 50 else 0
    if month is None or year < 1 or not 1 <= day <= calendar.monthrange(year, month)[1] or hour > 23 or minute > 59 or second > 60:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))
