"""Values that JSON Schema cannot describe: conditions, cursors, and lines of events."""

import functools
import json
import os
import urllib.request

import schemathesis
from hypothesis import strategies as st

SERVER = os.environ.get("EVENT_REPLAY_URL", "http://127.0.0.1:7070")


@functools.cache
def mark() -> str:
    """Returns the cursor of the head of the log."""
    plan = urllib.request.Request(
        f"{SERVER}/v1/plans",
        data=json.dumps({"all": True, "checkSchemas": False}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(plan) as answer:
        return json.load(answer)["mark"]


CONDITIONS = [
    "true",
    "type == 'order.placed'",
    "data.total > 10",
    "has(metadata.tenant) && metadata.tenant in ['a', 'b']",
    "source.startsWith('web') || id.size() > 3",
]
schemathesis.openapi.format("cel", st.sampled_from(CONDITIONS))
schemathesis.openapi.format("cursor", st.builds(mark))


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    """Sends a text as it is."""
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    return text.encode() if isinstance(text, str) else text


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Keeps a fetch from waiting for up to a minute."""
    wait = case.body.get("wait") if isinstance(case.body, dict) else None
    if case.operation.label.endswith("/fetch") and type(wait) in (int, float) and 1 < wait <= 60:
        case.body = {**case.body, "wait": 1}
