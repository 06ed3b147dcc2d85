#!/usr/bin/env python3
"""Consumes a group over HTTP, with the standard library alone.

    event-replay serve &
    python3 examples/http/consume.py mail

Prints the id of each event that it handles. Ctrl-C ends it.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

SERVER = os.environ.get("EVENT_REPLAY_URL", "http://127.0.0.1:7070")


def post(path, body, timeout=60):
    request = urllib.request.Request(
        SERVER + path,
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    while True:  # again every second while the server does not answer
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(json.load(error)["detail"])
        except OSError as error:
            print(f"{error}; trying again", file=sys.stderr)
            time.sleep(1)


def handle(event, replay):
    """What the service does with an event. It may get one more than once.

    `replay` is there if a replay sent the event: a mailer may return then.
    """
    print(event["id"], flush=True)


def consume(group, until_empty):
    while True:
        fetched = post(f"/v1/groups/{group}/fetch", {"max": 16, "wait": 5 if until_empty else 30})
        if not fetched["deliveries"] and until_empty:
            return
        settlements = []
        for delivery in fetched["deliveries"]:
            try:
                handle(delivery["event"], delivery.get("replay"))
                outcome = {"outcome": "ok"}
            except Exception as error:  # what fails is tried again, and is then a dead letter
                print(f"{delivery['event']['id']}: {error}", file=sys.stderr)
                outcome = {"outcome": "retry", "error": str(error)}
            settlements.append({"receipt": delivery["receipt"], **outcome})
        if settlements:
            post(f"/v1/groups/{group}/settle", settlements)


if __name__ == "__main__":
    try:
        consume(sys.argv[1], "--until-empty" in sys.argv)
    except KeyboardInterrupt:
        pass
