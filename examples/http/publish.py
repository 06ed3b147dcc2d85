#!/usr/bin/env python3
"""Publishes events over HTTP, with the standard library alone.

    event-replay serve &
    python3 examples/http/publish.py < events.ndjson

Reads one event a line. Each request is sent again until it is answered: an event that was stored before is not stored twice.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

SERVER = os.environ.get("EVENT_REPLAY_URL", "http://127.0.0.1:7070")
LINES = 500


def publish(lines):
    request = urllib.request.Request(
        SERVER + "/v1/events?partial=ok",
        data=b"".join(lines),
        headers={"content-type": "application/x-ndjson"},
    )
    pause = 0.05
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if problem["retry"] == "never":
                raise SystemExit(f"{problem['detail']} {problem.get('hint', '')}")
        except OSError:  # no answer: the server may have stored the events or not
            pass
        time.sleep(pause)
        pause = min(2 * pause, 5)


def main():
    sums = {"stored": 0, "alreadyStored": 0, "rejected": 0, "conflicts": 0}
    lines = []
    for line in sys.stdin.buffer:
        lines.append(line)
        if len(lines) == LINES:
            add(sums, publish(lines))
            lines = []
    if lines:
        add(sums, publish(lines))
    print(json.dumps(sums))


def add(sums, report):
    for error in report["errors"]:
        print(json.dumps(error), file=sys.stderr)
    for name in sums:
        sums[name] += report[name]


if __name__ == "__main__":
    main()
