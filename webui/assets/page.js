// Asks how it stands, hears what happens, and shows both. A page that has no answer says so: the last one may not be true any
// more.

import { keep } from "./chart.js";
import { learnConflicts, rules } from "./rules.js";
import { learn, maySteer } from "./steer.js";
import * as timeline from "./timeline.js";
import * as view from "./view.js";

/** From an answer to the next question, while nothing happens. */
const PACE = 500;
/** Without an answer for so long nobody knows. */
const SILENCE = 3_000;
/** Before a stream of events that has ended is opened again. */
const REOPEN = 1_000;

/** The last answer, and when it was asked for: it is at least as fresh as that, however long it was on its way. */
let answer = null;
let askedAt = performance.now();
/** The last status that was told, whatever is known now; at which moment it was true, and by which clock on the wall. */
let shown = null;
let next = null;

/** One question at a time: answers do not pile up on a slow way. */
async function ask() {
  clearTimeout(next);
  next = null;
  const asked = performance.now();
  try {
    const response = await fetch("/api/v1/status", { signal: AbortSignal.timeout(SILENCE) });
    // He may look no more: he is asked again who he is.
    if (response.status === 401) await learn();
    if (!response.ok) throw new Error(`status ${response.status}`);
    hear(await response.json(), asked);
  } catch {
    // Nobody answers: `trouble` sees it.
  }
  redraw();
  next = setTimeout(ask, PACE);
}

function hear(told, asked) {
  [answer, askedAt] = [told, asked];
  const status = told.status ?? told.last_known;
  if (status === null) return;
  // The same snapshot stays of the same moment: what is read out must not waver by a second.
  const clock = shown?.status.now === status.now ? shown.clock : new Date(Date.now() - told.age_millis);
  shown = { status, at: asked - told.age_millis, clock };
  learnConflicts(status).then((isNew) => isNew && redraw());
  for (const peer of told.status?.peers ?? []) {
    for (const link of peer.links) keep(`${peer.node}/${link.link}`, link.rtt_micros === null ? null : link.rtt_micros / 1000);
  }
}

/** Events tell at once what the next question would tell later. */
function listen() {
  const stream = new EventSource("/api/v1/events");
  stream.addEventListener("history", (event) => timeline.begin(JSON.parse(event.data)));
  stream.addEventListener("entry", (event) => {
    timeline.add(JSON.parse(event.data));
    // While a question is on its way there is no next one yet.
    if (next !== null) ask();
  });
  stream.addEventListener("error", () => {
    // A browser goes on by itself after some errors, and not after others.
    stream.close();
    setTimeout(listen, REOPEN);
  });
}

let drawing = false;

/** However much happens, what is seen is drawn once a frame. */
function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

/** Why nothing is known, or null. */
function trouble() {
  if (performance.now() - askedAt > SILENCE) return "This page has no answer: avamgr-webui is gone, or the way to it is cut.";
  return answer === null ? null : answer.reason;
}

function draw() {
  const why = trouble();
  document.body.classList.toggle("unknown", why !== null);
  view.show("unknown", why === null ? [] : view.unknown(why, shown));
  view.show("spoken", shown === null || why !== null ? [] : [view.summary(shown.status)]);
  document.title = why === null ? view.title(shown?.status) : "UNKNOWN – avamgr";
  timeline.draw(shown === null ? [] : shown.status.groups.map((it) => it.group));
  if (shown === null) return;
  if (performance.getEntriesByName("first-view").length === 0) performance.mark("first-view");
  const { status } = shown;
  // The moment on the node's clock that is now.
  const now = status.now + (performance.now() - shown.at) * 1e6;
  const steers = maySteer() && why === null;
  view.show("title", `${status.cluster}: ${status.node}`);
  view.show("about", view.about(status, now));
  for (const part of ["groups", "node", "attention", "links", "judges", "resources"]) view.show(part, view[part](status, now, steers));
  view.show("rules", rules(status, now, steers));
}

timeline.onChange(redraw);
document.addEventListener("in", ask);
learn().catch(() => {}).finally(() => { ask(); listen(); });
setInterval(redraw, 1_000);
