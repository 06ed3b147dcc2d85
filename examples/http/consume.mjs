#!/usr/bin/env node
// Consumes a group over HTTP, with what Node 18 and later has built in.
//
//     event-replay serve &
//     node examples/http/consume.mjs mail
//
// Prints the id of each event that it handles. Ctrl-C ends it.

import { setTimeout as sleep } from "node:timers/promises";

const server = process.env.EVENT_REPLAY_URL ?? "http://127.0.0.1:7070";
const [group, ...flags] = process.argv.slice(2);
const untilEmpty = flags.includes("--until-empty");
if (!group) {
  console.error("usage: consume.mjs GROUP [--until-empty]");
  process.exit(2);
}

// Sends a request, and again every second while the server does not answer.
async function send(path, request) {
  for (;;) {
    try {
      return await fetch(server + path, request);
    } catch (error) {
      console.error(`${error.message}; trying again`);
      await sleep(1000);
    }
  }
}

async function post(path, body) {
  const answer = await send(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const document = await answer.json();
  if (!answer.ok) throw new Error(`${document.detail}; ${document.hint ?? ""}`);
  return document;
}

// What the service does with an event. It may get one more than once. `replay` is there if a replay sent the event: a mailer
// may return then.
async function handle(event, replay) {
  console.log(event.id);
}

async function settlementOf({ event, receipt, replay }) {
  try {
    await handle(event, replay);
    return { receipt, outcome: "ok" };
  } catch (error) {
    console.error(`${event.id}: ${error}`);
    // What fails is tried again, and is then a dead letter.
    return { receipt, outcome: "retry", error: String(error) };
  }
}

for (;;) {
  const { deliveries } = await post(`/v1/groups/${group}/fetch`, { max: 16, wait: untilEmpty ? 5 : 30 });
  if (deliveries.length === 0 && untilEmpty) break;
  // Deliveries of one answer are of different keys: they may be handled at once.
  const settlements = await Promise.all(deliveries.map(settlementOf));
  if (settlements.length > 0) await post(`/v1/groups/${group}/settle`, settlements);
}
