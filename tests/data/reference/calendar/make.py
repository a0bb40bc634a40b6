#!/usr/bin/env python3
"""Phases of slots by local time, read off the wall clock: local_phases.json.

Runs on the standard library and the system's IANA zone database: python3 make.py > local_phases.json

A slot starts at a multiple of `step_s` since the epoch. `day`, `week`: its phase in seasons of one day and of
seven, which begin at local midnight (weeks on Thursdays, as 1970-01-01 was one). A phase is the wall clock's
time, rounded down to a step; nothing here adds an offset to anything.
"""
import json
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

HOUR = 3600
CASES = [
    ("Europe/Berlin", HOUR, "2025-03-29T20:00", 36),
    ("Europe/Berlin", HOUR, "2025-10-25T20:00", 36),
    ("Europe/Berlin", HOUR // 4, "2025-03-29T23:00", 20),
    ("Europe/Berlin", HOUR // 4, "2025-10-25T23:00", 20),
    # A step longer than the change, and one that no offset is a multiple of.
    ("Europe/Berlin", 3 * HOUR, "2025-10-25T12:00", 12),
    ("Europe/Berlin", HOUR * 3 // 2, "2025-10-25T21:00", 12),
    ("America/New_York", HOUR, "2025-03-09T00:00", 30),
    ("America/New_York", HOUR, "2025-11-02T00:00", 30),
    # Midnight left out, midnight twice.
    ("America/Sao_Paulo", HOUR, "2018-11-03T22:00", 12),
    ("America/Havana", HOUR, "2018-11-04T00:00", 12),
    # Half an hour, by steps of one, of half of one, and of a quarter.
    ("Australia/Lord_Howe", HOUR, "2025-04-05T10:00", 12),
    ("Australia/Lord_Howe", HOUR, "2025-10-04T10:00", 12),
    ("Australia/Lord_Howe", HOUR // 2, "2025-04-05T13:00", 12),
    ("Australia/Lord_Howe", HOUR // 4, "2025-10-04T14:00", 20),
    # One minute past midnight.
    ("America/St_Johns", HOUR // 2, "2010-11-07T01:00", 12),
    # A day left out.
    ("Pacific/Apia", HOUR, "2011-12-30T04:00", 12),
    # Another offset for good, a quarter of an hour away.
    ("Asia/Kathmandu", HOUR // 4, "1985-12-31T17:00", 16),
]


def phases(zone, step, start, slots):
    begin = int(datetime.fromisoformat(start).replace(tzinfo=timezone.utc).timestamp())
    begin -= begin % step
    day, week = [], []
    for k in range(slots):
        wall = datetime.fromtimestamp(begin + k * step, ZoneInfo(zone))
        seconds = wall.hour * HOUR + wall.minute * 60 + wall.second
        day.append(seconds // step)
        week.append((wall.weekday() - 3) % 7 * (24 * HOUR // step) + seconds // step)
    return {"zone": zone, "step_s": step, "start": begin, "day": day, "week": week}


print("[" + ",\n".join(json.dumps(phases(*case)) for case in CASES) + "]")
