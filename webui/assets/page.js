// Hears what happens and shows it. A page that hears nothing says so: the last thing it heard may not be true any more.

import { keep } from "./chart.js";
import * as view from "./view.js";
import { duration } from "./words.js";

/** The daemon's word comes several times a second; after this silence nobody knows. */
const SILENCE = 3_000;
/** As many entries as the page keeps. */
const ENTRIES = 500;

let told = null;
let heardAt = performance.now();
let entries = [];

const stream = new EventSource("/api/v1/events");
stream.addEventListener("status", (event) => {
  told = JSON.parse(event.data);
  heardAt = performance.now();
  for (const peer of told.status?.peers ?? []) {
    for (const link of peer.links) keep(`${peer.node}/${link.link}`, link.rtt_micros === null ? null : link.rtt_micros / 1000);
  }
  draw();
});
stream.addEventListener("history", (event) => {
  entries = JSON.parse(event.data);
  drawHistory();
});
stream.addEventListener("entry", (event) => {
  entries = [...entries, JSON.parse(event.data)].slice(-ENTRIES);
  drawHistory();
});
setInterval(draw, 500);

/** Why nothing is known, or null. */
function trouble() {
  const silence = performance.now() - heardAt;
  if (silence > SILENCE) return `This page has heard nothing for ${duration(silence)}: avamgr-webui does not answer.`;
  return told === null ? null : told.reason;
}

function draw() {
  const why = trouble();
  document.body.classList.toggle("unknown", why !== null);
  view.show("unknown", why === null ? [] : [view.h("strong", "UNKNOWN"), view.h("p", why), view.h("p.faint", "What stands below was so when it was heard last.")]);
  const status = told?.status;
  document.title = why !== null ? "UNKNOWN – avamgr" : title(status);
  if (status === null || status === undefined) return;
  const elapsed = told.age_millis + performance.now() - heardAt;
  view.show("title", `${status.cluster}: ${status.node}`);
  view.show("about", `This page speaks for ${status.node} of cluster ${status.cluster}; safety class ${status.safety_class}; avamgrd ${status.driver.version} runs for ${view.ago(status, elapsed, status.started)}.`);
  for (const part of ["groups", "attention", "links", "judges", "resources", "rules"]) {
    view.show(part, view[part](status, elapsed));
  }
}

function title(status) {
  if (status === null || status === undefined) return "avamgr";
  return `${status.node} ${status.groups.map((group) => `${group.group} ${group.role.toUpperCase()}`).join(", ")}`;
}

const text = document.getElementById("filter-text");
const notable = document.getElementById("filter-notable");

function drawHistory() {
  view.show("history", view.history(entries, text.value, notable.checked));
}

text.addEventListener("input", drawHistory);
notable.addEventListener("change", drawHistory);
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
