// What is shown of a status, as nodes of the document. `now`: the present moment on the clock of the node.

import { chart } from "./chart.js";
import { duration, look, micros } from "./words.js";

/** An element: its class after a dot, then its children; what is null is left out. */
export function h(name, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Makes `old` what `wanted` is and touches nothing else, so that nobody loses the place where he reads. */
export function patch(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) {
    old.replaceWith(wanted);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  const [before, after] = [[...old.childNodes], [...wanted.childNodes]];
  after.forEach((child, place) => (place < before.length ? patch(before[place], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

/** Puts these into the element of this id, in the place of what is there. */
export function show(id, ...children) {
  const old = document.getElementById(id);
  const wanted = old.cloneNode(false);
  wanted.append(...children.flat().filter((child) => child !== null));
  patch(old, wanted);
}

const badge = (word) => h(`span.role.${look(word)}`, word.toUpperCase());
export const state = (word) => h(`span.${look(word)}`, word);

export function table(heads, rows) {
  return h("table", h("thead", h("tr", heads.map(head))), h("tbody", rows.map((row) => h("tr", row.map(cell)))));
}

/** A column of buttons has no name: what they say is enough. */
function head(text) {
  if (text === "") return h("td");
  const element = h("th", text);
  element.scope = "col";
  return element;
}

/** A table with its name above it. */
function captioned(name, ...content) {
  const element = table(...content);
  element.prepend(h("caption", name));
  return element;
}

const cell = (content) => (typeof content === "number" ? h("td.number", String(content)) : h("td", content));

/** How long ago something was. */
export const ago = (now, moment) => duration((now - moment) / 1e6);

/** What stands above everything when nobody knows. It is read out, so nothing in it changes as time goes by. */
export function unknown(why, shown) {
  const last = shown === null ? null : h("p.faint", `What stands below was so at ${shown.clock.toLocaleTimeString()}.`);
  return [h("strong", "UNKNOWN"), h("p", why), last];
}

/** What is read out whenever it changes. */
export function summary(status) {
  const roles = status.groups.map((group) => `${group.group} is ${group.role} on ${status.node}`);
  const count = status.alarms.length + status.holds.length;
  return [...roles, count === 0 ? "nothing needs attention" : `${count} things need attention`].join("; ");
}

/** A button that asks for something, once more before it is done. */
export function order(text, wish, quiet = false) {
  const button = h(quiet ? "button.quiet" : "button", text);
  button.type = "button";
  button.dataset.wish = JSON.stringify(wish);
  return button;
}

/** What an operator can do with the node. */
export function node(status, now, steers) {
  if (!steers) return [];
  const held = (kind) => status.holds.some((hold) => hold.hold === kind);
  const isOut = held("offline") || held("flap");
  return [h("p.buttons",
    isOut ? order("Let it take part again…", { command: "online" }) : order("Take it out…", { command: "offline" }, true), " ",
    held("maintenance") ? order("Switch automatic actions on…", { command: "maintenance", on: false })
      : order("Maintenance: switch automatic actions off…", { command: "maintenance", on: true }, true))];
}

/** Where a group can go. It is always said: what is asked about and what is done must be the same. */
const targets = (status, group) => (group.active_node === null ? []
  : [status.node, ...status.peers.map((peer) => peer.node)].filter((it) => it !== group.active_node));

export const title = (status) =>
  status === undefined ? "avamgr" : `${status.node} ${status.groups.map((it) => `${it.group} ${it.role.toUpperCase()}`).join(", ")}`;

export const about = (status, now) =>
  `This page speaks for ${status.node} of cluster ${status.cluster}; safety class ${status.safety_class}; avamgrd ${status.driver.version} runs for ${ago(now, status.started)}.`;

export function groups(status, now, steers) {
  const rows = status.groups.map((group) => [
    h("strong", group.group),
    h("span", badge(group.role), ` term ${group.term}`),
    ...status.peers.map((peer) => {
      const there = peer.groups.find((it) => it.group === group.group);
      if (there === undefined) return h("span.faint", "never heard");
      const known = peer.state === "alive" || peer.state === "degraded";
      return known ? h("span", badge(there.role), ` term ${there.term}`) : h("span.faint", `was ${there.role}, ${peer.state} now`);
    }),
    ...(steers && status.peers.length > 0 ? [h("span", targets(status, group).map((to) =>
      order(`Switch over to ${to}…`, { command: "switchover", group: group.group, to })))] : []),
  ]);
  const causes = status.groups.map((group) => h("div",
    h("p", h("strong", group.group), ` is `, badge(group.role), ` here for ${ago(now, group.since)}: ${group.cause}`),
    group.switchover === null ? null : h("p.warn", `switchover ${group.switchover}`),
    group.obstacles.length === 0 ? null : h("ul", group.obstacles.map((text) => h("li", text)))));
  const heads = ["Group", `${status.node} (this node)`, ...status.peers.map((peer) => peer.node), ...(steers && status.peers.length > 0 ? [""] : [])];
  return [table(heads, rows), ...causes];
}

export function attention(status, now) {
  const alarms = status.alarms.map((alarm) => h("li", h("span.bad", alarm.text), h("span.faint", ` (for ${ago(now, alarm.since)})`)));
  const holds = status.holds.map((hold) => h("li", h("span.warn", `hold: ${hold.hold}${hold.group === null ? "" : ` of ${hold.group}`}`),
    h("span.faint", ` (for ${ago(now, hold.since)})`)));
  const unready = status.ready.filter((check) => check.ready === false)
    .map((check) => h("li", h("span.warn", `check ${check.check}: ${check.reason}`)));
  const all = [...alarms, ...holds, ...unready];
  if (status.isolated) all.unshift(h("li", h("span.bad", "isolated: all links are silent and the arbitrator does not answer")));
  return all.length === 0 ? h("p.good", "Nothing.") : h("ul", all);
}

export function links(status, now) {
  if (status.peers.length === 0) return h("p.faint", "This node has no peers.");
  return status.peers.map((peer) => h("div",
    h("h3", `${peer.node}: `, state(peer.state),
      h("span.faint", peer.heard === null ? ", never heard" : `, heard ${ago(now, peer.heard)} ago`),
      peer.config_matches === false ? h("span.bad", ", its config is another one") : null),
    table(["Link", "State", "Round trip", "Jitter", "Loss", "Round trip, last minute"], peer.links.map((link) => [
      link.link,
      h("span", state(link.state), ` for ${ago(now, link.since)}`, link.cause === null ? null : `: ${link.cause}`,
        link.carrier ? null : h("span.bad", ", no carrier")),
      micros(link.rtt_micros), micros(link.jitter_micros), link.loss_percent === null ? "–" : `${link.loss_percent} %`,
      chart(`${peer.node}/${link.link}`, `round trip of ${link.link} to ${peer.node}, in milliseconds`),
    ])),
    peer.links.map((link) => bearers(peer, link, now))));
}

/** What carries a link over TIPC. Of others nothing is told. */
function bearers(peer, link, now) {
  const told = link.bearers ?? [];
  if (told.length === 0) return null;
  return captioned(`Bearers of ${link.link} to ${peer.node}`, ["Bearer", "State", "Tolerance", "Priority", "Counted"], told.map((it) => [
    it.bearer,
    h("span", state(it.up ? "up" : "down"), ` for ${ago(now, it.since)}`),
    it.tolerance_millis === undefined ? "–" : duration(it.tolerance_millis),
    it.priority ?? "–",
    counted(it.counters ?? {}),
  ]));
}

/** What TIPC has counted: what came and went, and whatever a healthy bearer has none of. */
function counted(counters) {
  const traffic = ["sent", "received"].filter((name) => name in counters);
  const odd = Object.keys(counters).filter((name) => !traffic.includes(name) && counters[name] > 0);
  if (traffic.length + odd.length === 0) return "–";
  const said = (names) => names.map((name) => `${counters[name]} ${name.replaceAll("_", " ")}`).join(", ");
  return h("span", said(traffic), traffic.length > 0 && odd.length > 0 ? ", " : null, odd.length === 0 ? null : h("span.warn", said(odd)));
}

export function judges(status, now) {
  const lines = [];
  if (status.arbitrator !== null) {
    const each = status.arbitrator.addresses.map((it) =>
      `${it.address} ${it.answered === null ? "never answered" : `answered ${ago(now, it.answered)} ago`}`);
    lines.push(h("p", "Arbitrator: ", state(status.arbitrator.state), h("span.faint", ` (${each.join(", ")})`)));
  }
  if (status.witness !== null) {
    const heard = status.witness.heard === null ? "never answered" : `answered ${ago(now, status.witness.heard)} ago`;
    lines.push(h("p", `${status.witness.voter} at ${status.witness.address}: `, state(status.witness.state), h("span.faint", ` (${heard})`)));
  }
  for (const group of status.groups) {
    if (group.lease === null) continue;
    const left = group.lease.held_until === null ? null : (group.lease.held_until - now) / 1e6;
    const votes = group.lease.votes.map((vote) => `${vote.voter} → ${vote.holder ?? "nobody"}`).join(", ");
    lines.push(h("p", `Lease of ${group.group}: `, left === null || left <= 0 ? h("span.faint", "not held here") : h("span.good", `held here for ${duration(left)} more`),
      h("span.faint", ` (majority ${group.lease.majority}; ${votes})`)));
  }
  return lines.length === 0 ? [h("p.faint", "None.")] : lines;
}

function failure(it, now) {
  if (it.failure === null) return "";
  const age = it.failed === null ? "" : `, ${ago(now, it.failed)} ago`;
  return h(it.state === "started" ? "span.faint" : "span.bad", `last failure${age}: ${it.failure}`);
}

/** What an operator can do with a resource. */
function actions(group, it) {
  const wish = (verb) => ({ command: "resource", resource: `${group.group}/${it.resource}`, verb });
  const fails = it.failures > 0 || it.state === "failed" || it.state === "stuck";
  return h("span",
    group.role === "active" && !it.held ? order("Restart…", wish("restart"), true) : null,
    it.held ? order("Start…", wish("start")) : null,
    fails ? order("Clear…", wish("clear")) : null);
}

export function resources(status, now, steers) {
  return status.groups.map((group) => h("div", h("h3", group.group),
    table(["Resource", "State", "What", "Trouble", ...(steers ? [""] : [])], group.resources.map((it) => [
      h("span", it.resource, h("span.faint", ` ${it.kind}`)),
      h("span", state(it.state), ` for ${ago(now, it.since)}`, it.held ? h("span.warn", ", held by an operator") : null),
      it.what,
      it.unable === null ? failure(it, now) : h("span.bad", it.unable),
      ...(steers ? [actions(group, it)] : []),
    ]))));
}

/** What can be chosen of the groups. */
export function choices(groups) {
  const option = (text, value, id) => {
    const element = h("option", text);
    element.value = value;
    if (id !== undefined) element.dataset.id = id;
    return element;
  };
  return [option("all groups", ""), ...groups.map((name, id) => option(name, name, id))];
}

const time = (entry) => h("span.faint.time", entry.time.replace("T", " ").replace("Z", ""));

/** What led to an event: a list, a word about what went wrong, or null while it is asked. */
function reasons(chain) {
  if (chain === undefined) return null;
  if (chain === null) return h("p.faint", "…");
  if (typeof chain === "string") return h("p.bad", chain);
  if (chain.length === 0) return h("p.faint", "Nothing that this node has noted led to it.");
  return h("ol.chain", chain.map(({ entry }) => h("li", time(entry), " ", h(`span.${look(entry.severity)}`, entry.text))));
}

function why(number, chain) {
  // An older daemon gives no numbers.
  if (!(number > 0)) return null;
  const button = h("button.quiet.why", "Why?");
  button.type = "button";
  button.dataset.number = number;
  button.setAttribute("aria-expanded", String(chain !== undefined));
  button.setAttribute("aria-label", `Why? What led to event ${number}`);
  return button;
}

/** `chains`: what led to which, by number, as far as somebody has asked; `empty`: what is said of no entries. */
export function history(entries, chains, empty) {
  if (entries.length === 0) return h("p.faint", empty);
  return table(["Number", "Time (UTC)", "What", ""], entries.toReversed().map((entry) => {
    const chain = chains.get(entry.number);
    return [entry.number > 0 ? entry.number : "", time(entry), h("span", entry.text, " ", why(entry.number, chain), reasons(chain)),
      h(`span.${look(entry.severity)}`, entry.severity)];
  }));
}
