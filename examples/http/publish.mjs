#!/usr/bin/env node
// Publishes events over HTTP, with what Node 18 and later has built in.
//
//     event-replay serve &
//     node examples/http/publish.mjs < events.ndjson
//
// Reads one event a line. Each request is sent again until it is answered: an event that was stored before is not stored twice.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const server = process.env.EVENT_REPLAY_URL ?? "http://127.0.0.1:7070";
const LINES = 500;
const sums = { stored: 0, alreadyStored: 0, rejected: 0, conflicts: 0 };

async function publish(lines) {
  for (let pause = 50; ; pause = Math.min(2 * pause, 5000)) {
    let document;
    try {
      const answer = await fetch(`${server}/v1/events?partial=ok`, {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: lines.join("\n"),
      });
      document = await answer.json();
      if (answer.ok) return document;
    } catch {
      // No answer: the server may have stored the events or not.
    }
    if (document?.retry === "never") throw new Error(`${document.detail} ${document.hint ?? ""}`);
    await sleep(pause);
  }
}

async function send(lines) {
  const report = await publish(lines);
  for (const error of report.errors) console.error(JSON.stringify(error));
  for (const name of Object.keys(sums)) sums[name] += report[name];
}

let lines = [];
for await (const line of createInterface({ input: process.stdin })) {
  lines.push(line);
  if (lines.length === LINES) {
    await send(lines);
    lines = [];
  }
}
if (lines.length > 0) await send(lines);
console.log(JSON.stringify(sums));
